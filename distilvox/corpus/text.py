"""Tables and lists as people save them: UTF-8, or UTF-16 with its mark; anything else is refused with what to do."""

from __future__ import annotations

import codecs
from pathlib import Path

from distilvox.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, noun: str, *, allowed: str | None = None) -> str:
    """The text of a file that messages call a `noun`; line ends stay as they are.

    Raises:
        UserError: no such file, a folder, not text, or in an encoding that does not name itself.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no such {noun}: {path}", allowed=allowed) from None
    except IsADirectoryError:
        raise UserError(f"the {noun} is a folder: {path}", allowed=allowed) from None
    except OSError as error:
        raise UserError(f"the {noun} cannot be read: {path}", got=error.strerror) from None
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        remedy = f"save it as UTF-8, for instance with `iconv -f {_guess(data)} -t utf-8`"
        what = f"the {noun} is not text in UTF-8: {path}"
        raise UserError(what, got=str(error), allowed=allowed, remedy=remedy) from None
    if "\0" in text:
        remedy = (
            f"save it as UTF-8, for instance with `iconv -f {_guess(data)} -t utf-8`, if it is text at all"
        )
        raise UserError(f"the {noun} is not text: {path}", got="NUL bytes", allowed=allowed, remedy=remedy)
    return text


def _guess(data: bytes) -> str:
    """The encoding that text with such bytes is likely to be in."""
    if b"\0" not in data:
        return "windows-1252"
    return "utf-16be" if data[:1] == b"\0" else "utf-16le"
