"""Deleting that deletes: a person's rows go, and the bytes of the embeddings with them.

`secure_delete` overwrites what is deleted, but where SQLite had split a page, an older copy of a row may stand in a
page's unused part. So the files are searched afterwards, and rewritten (VACUUM) where anything is found.
"""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from distilvox.errors import UserError
from distilvox.ship import bookfile, nearest
from distilvox.ship.person import Person

PIECE = 16
"""Bytes of the middle of an embedding that are searched for: long enough not to occur by chance."""


def remove(path: Path, book: sqlite3.Connection, person: Person) -> None:
    """Deletes a person from the book, its log, and the copy of the vectors beside it.

    Raises:
        UserError: another process keeps the old state open, or traces remain.
    """
    with bookfile.explained(path):
        with bookfile.transaction(book):
            rows = book.execute("SELECT audio, embedding FROM utterances WHERE person = ?", (person.id,))
            traces = [person.mean.tobytes(), *(part for row in rows for part in row)]
            book.execute("DELETE FROM people WHERE id = ?", (person.id,))
            book.execute("UPDATE about SET value = value + 1 WHERE key = 'removals'")
            removals = book.execute("SELECT value FROM about WHERE key = 'removals'").fetchone()[0]
            nearest.forget(path, person.id, removals)
        bookfile.empty_log(book, path)
        pieces = [*map(middle, traces), person.name.encode()]
        if holds(path, pieces):
            book.execute("VACUUM")
            bookfile.empty_log(book, path)
        left = holds(path, pieces[:-1])  # the name may be part of another's
    if left:
        raise UserError(
            f"{person.name!r} was removed, but the bytes of an embedding are still in {path}",
            remedy=f"distilvox book export {path} OUT, and enrol the others in a new book",
            exit_code=1,
        )


def middle(data: bytes) -> bytes:
    """The `PIECE` bytes in the middle."""
    start = max(0, (len(data) - PIECE) // 2)
    return data[start : start + PIECE]


def holds(path: Path, pieces: Iterable[bytes]) -> bool:
    """Whether any piece stands anywhere in the book's files."""
    for file in (path, path.with_name(f"{path.name}-wal")):
        if not file.exists() or not file.stat().st_size:
            continue
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if any(content.find(piece) >= 0 for piece in pieces):
                return True
    return False
