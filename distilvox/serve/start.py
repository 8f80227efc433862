"""A bundle and a book → a service that listens until it is told to stop."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from distilvox.console import say
from distilvox.errors import UserError
from distilvox.serve.app import make_app
from distilvox.serve.service import Service
from distilvox.serve.settings import Settings
from distilvox.ship.book import Book
from distilvox.ship.enrolment import model_to_begin, space_of, verifier_for

BACKLOG = 512
"""Connections that the system keeps until they are accepted."""

IDLE_SECONDS, GRACE_SECONDS = 5, 10
"""Without a request before a connection is closed; for what is being worked on when the service ends."""


def serve(settings: Settings, *, bundle: Path | None, book: Path | None, precision: str | None) -> None:
    """Listens until SIGINT or SIGTERM; see `opened` for the arguments."""
    with (
        opened(settings, bundle=bundle, book=book, precision=precision) as app,
        listening(settings.host, settings.port) as door,
    ):
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"distilvox serves at http://{name}:{door.getsockname()[1]} (its paths: /docs); Ctrl-C ends it")
        kept = (
            f"people are kept in {book}" if book else "people are forgotten when it ends; --book keeps them"
        )
        say(f"  no audio is kept; {kept}")
        uvicorn.Server(config(app, settings)).run([door])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: the port is taken or not allowed, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}, port {port}",
            got=error.strerror,
            remedy="another program may have it: give --port 0 for a free one, or another --host",
            exit_code=1,
        ) from None


@contextmanager
def opened(
    settings: Settings, *, bundle: Path | None, book: Path | None, precision: str | None
) -> Iterator[FastAPI]:
    """The application, with everything that it needs checked at the door.

    Args:
        settings: host, key, limits.
        bundle: a folder that `distilvox export` made, or a ready student's name; None: the one that the book was last
            used with, without a book the student that comes with the package.
        book: of people; made where there is none. None: one that is forgotten at the end.
        precision: "float32" or "int8"; None: the book's own, float32 without one.
    """
    with tempfile.TemporaryDirectory(prefix="distilvox-serve-") as folder:
        people = book or Path(folder) / "people.book"
        bundle = model_to_begin(people, bundle)
        verifier = verifier_for(people, bundle, precision)
        Book.open(people, space_of(verifier, bundle or ""), create=True).close()
        yield make_app(Service(verifier, people, settings.most_seconds), settings, keeps=book is not None)


def config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs it: one process, no log of who asked for what, so many connections and no more."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=4 * (settings.threads + settings.queue) + 64,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
