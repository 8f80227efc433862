"""serve: the runtime over HTTP, and a page to try a voice. Without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from distilvox.errors import require

KEY_VARIABLE = "DISTILVOX_KEY"
"""Of the environment: the key of the service, where no file holds it."""


def serve(
    bundle: Annotated[Positional[Path | None], arg(metavar="[BUNDLE]")] = None,
    /,
    *,
    book: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8321,
    key_file: Path | None = None,
    precision: Literal["float32", "int8"] | None = None,
    threads: int = 2,
    queue: int = 64,
    max_mb: float = 16.0,
    max_seconds: float = 120.0,
    max_wait: float = 30.0,
) -> None:
    """Serve a model: embed, verify, enrol and identify over HTTP, and a page to try a voice in the browser.

    The page is at /, the description of the paths at /docs and /openapi.json. Nothing of a recording is kept but,
    where somebody is enrolled, embeddings. It listens to this machine alone; another --host needs a key, which
    clients send as X-API-Key (the environment may hold it as DISTILVOX_KEY), and belongs behind a proxy with TLS.

    Examples:
        distilvox serve
        distilvox serve bundle/ --book people.book
        distilvox serve --book people.book --host 0.0.0.0 --key-file key.txt

    Args:
        bundle: a folder that `distilvox export` made, or a ready student's name; if not given, the one that the book
            was last used with, without a book the student that comes with the package.
        book: a book of people, made if it does not exist; without one, people are forgotten at the end.
        host: the address to listen at.
        port: the port to listen at.
        key_file: a file that holds the key.
        precision: float32, or int8 (smaller); the book's own if not given.
        threads: recordings judged at once, each on one core.
        queue: requests that may wait beside them; more are answered 503.
        max_mb: the largest body of a request, in units of 1,048,576 bytes.
        max_seconds: the longest recording.
        max_wait: seconds that a body may take to arrive, and that a request may wait for a thread.
    """
    from distilvox.serve.settings import Settings, key_from
    from distilvox.serve.start import serve as start

    require(max_mb > 0, "--max-mb must be above 0", got=max_mb)
    settings = Settings(
        host=host,
        port=port,
        key=key_from(key_file) if key_file else os.environ.get(KEY_VARIABLE),
        threads=threads,
        queue=queue,
        most_bytes=round(max_mb * (1 << 20)),
        most_seconds=max_seconds,
        send_seconds=max_wait,
        wait_seconds=max_wait,
    )
    start(settings, bundle=bundle, book=book, precision=precision)
