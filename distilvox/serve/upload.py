"""A request's body → recordings and values. Bounded in bytes, parts and time, and held in memory alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from distilvox.errors import unknown
from distilvox.held import Held
from distilvox.serve.problems import Turned
from distilvox.serve.settings import Settings

FORM = "multipart/form-data"
MOST_VALUE_BYTES = 2_000
MOST_NAME_LETTERS = 120


class InMemory(MultiPartParser):
    """Starlette's parser, which would write an upload of more than a megabyte to the disk."""

    spool_max_size = 1 << 62


@dataclass(frozen=True)
class Upload:
    """What a form held: recordings and values, by the names of their fields."""

    files: dict[str, list[Held]]
    values: dict[str, str]

    def one(self, name: str) -> Held:
        """The one recording of a field."""
        found = self.files.get(name, [])
        if len(found) != 1:
            raise Turned(400, f"the form needs one recording in the field {name!r}", got=f"{len(found)}")
        return found[0]

    def some(self, name: str) -> list[Held]:
        """The recordings of a field, at least one."""
        if name not in self.files:
            raise Turned(400, f"the form needs a recording in the field {name!r}", got="none")
        return self.files[name]

    def text(self, name: str) -> str:
        """A value that must be there."""
        if name not in self.values:
            raise Turned(400, f"the form needs a value in the field {name!r}", got="none")
        return self.values[name]

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within bounds; None where the form has none."""
        if (said := self.values.get(name)) is None:
            return None
        try:
            found = float(said)
        except ValueError:
            found = float("nan")
        if not low <= found <= high:
            raise Turned(400, f"{name} is a number", got=repr(said[:100]), allowed=f"{low:g} to {high:g}")
        return found

    def flag(self, name: str) -> bool:
        """True or false; false where the form says nothing."""
        said = self.values.get(name, "false")
        if said not in ("true", "false"):
            raise Turned(400, f"{name} is true or false", got=repr(said[:100]), allowed="true, false")
        return said == "true"


async def read_form(request: Request, settings: Settings, known: Collection[str]) -> Upload:
    """The form that a request sends.

    Args:
        known: the fields that it may have.

    Raises:
        Turned: no form, too large, too slow, too many parts, an unknown field.
    """
    stated = request.headers.get("content-type", "")
    if stated.partition(";")[0].strip().lower() != FORM:
        raise Turned(415, "the body must be a form", got=stated[:100] or "no Content-Type", allowed=FORM)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > settings.most_bytes:
        raise too_large(settings.most_bytes, f"{int(length):,} bytes")
    parser = InMemory(
        request.headers,
        bounded(request, settings.most_bytes),
        max_files=settings.most_files,
        max_fields=len(known),
        max_part_size=MOST_VALUE_BYTES,
    )
    try:
        async with asyncio.timeout(settings.send_seconds):
            form = await parser.parse()
    except TimeoutError:
        limit = f"{settings.send_seconds:g} s"
        raise Turned(408, "the body came too slowly", got=f"more than {limit}", allowed=limit) from None
    except MultiPartException as error:
        raise Turned(400, "this form cannot be read", got=error.message, remedy="see /docs") from None
    except ClientDisconnect:
        raise Turned(400, "the client hung up before its body was whole") from None
    try:
        return await sorted_out(form, known)
    finally:
        await form.close()


async def bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body's pieces, until they are too many bytes."""
    seen = 0
    async for piece in request.stream():
        seen += len(piece)
        if seen > most:
            raise too_large(most, f"more than {most:,} bytes")
        yield piece


def too_large(most: int, got: str) -> Turned:
    return Turned(
        413,
        "the body is too large",
        got=got,
        allowed=f"{most:,} bytes",
        remedy="send a shorter recording or a compressed one (FLAC, Opus), or start with a larger --max-mb",
    )


async def sorted_out(form: FormData, known: Collection[str]) -> Upload:
    files: dict[str, list[Held]] = {}
    values: dict[str, str] = {}
    for name, value in form.multi_items():
        if name not in known:
            raise unknown("field", name[:100], known, remedy="see /docs")
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(Held(file_name(value.filename), await value.read()))
        elif name in values:
            raise Turned(400, f"the field {name!r} is there twice")
        else:
            values[name] = value
    return Upload(files, values)


def file_name(said: str | None) -> str:
    r"""What a client calls its file: the last part of a path, printable, not too long.

    >>> file_name("../../etc/passwd"), file_name("C:\\a.wav"), file_name(None)
    ('passwd', 'a.wav', 'the recording')
    """
    last = (said or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in last)
    return shown[-MOST_NAME_LETTERS:].strip() or "the recording"
