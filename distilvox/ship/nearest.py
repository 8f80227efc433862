"""Who is most like an embedding: one blocked product with the unit means of everybody.

A large book keeps them in a second file, `BOOK.vectors`, mapped into memory by every process. It knows how often
the book had changed and how often somebody had been removed when it was written. People who changed since are read
from the book; once somebody is removed, only a copy in which those rows are zeroed is used. The copy is only ever a
copy: without it, or with an old one, the answer is the same and takes longer.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.errors import require
from distilvox.files import atomic_file
from distilvox.ship import bookfile
from distilvox.ship.cohesion import unit
from distilvox.ship.person import digest

COPIED_FROM = 10_000
"""People from which on a copy is kept."""

STALE = 0.05
"""Share of people changed since the copy was written from which on it is written anew."""

BLOCK = 1 << 15
"""Rows that are multiplied at a time."""

MAGIC = b"distilvox vectors 1"
HEADER = struct.Struct("<24s16s5q")
"""MAGIC; the book's key; changes, removals, removed, P, D of `Means`. Little endian."""
START = 128
"""Where the ids begin; the units follow them."""


@dataclass(frozen=True)
class Means:
    """Everybody's unit mean as of some moment.

    Args:
        ids: int64 [P], rising.
        units: float32 [P, D].
        changes, removals: the book's counters at that moment; removals is kept up to date.
        removed: how many of the people are removed since, their rows zero.
    """

    ids: np.ndarray
    units: np.ndarray
    changes: int
    removals: int
    removed: int = 0


class Nearest:
    """The means of one book, kept between calls and brought up to date by each."""

    def __init__(self, path: Path, book: sqlite3.Connection, dim: int) -> None:
        self.path, self.book, self.dim = path, book, dim
        self._base: Means | None = None

    def find(self, embedding: np.ndarray, top: int) -> list[tuple[int, float]]:
        """The people nearest to an embedding [D]: (id, cosine), best first, equal ones in order of their ids.

        At least `top` where so many are enrolled; people removed since the copy was written may be among them.
        """
        query = unit(embedding).astype(np.float32)
        require(query.shape == (self.dim,), "this is no embedding of the book's model", got=query.shape)
        with bookfile.explained(self.path):
            base, changed = self._now()
        most = top + base.removed
        newer = np.isin(base.ids, changed.ids, assume_unique=True) if len(changed.ids) else None
        found = best(base, query, most, newer) + best(changed, query, most)
        return sorted(found, key=lambda one: (-one[1], one[0]))[:most]

    def _now(self) -> tuple[Means, Means]:
        """(base, those who were enrolled or changed after it), both as of one moment of the book."""
        self.book.execute("BEGIN")
        try:
            state = dict(self.book.execute("SELECT key, value FROM about"))
            people = self.book.execute("SELECT count(*) FROM people").fetchone()[0]
            base = self._base
            if base is None or base.removals != state["removals"]:
                base = read_copy(self.path, state)
            written = base is not None
            since = self._read(state, 0 if base is None else base.changes)
            if base is None or len(since.ids) + base.removed > max(COPIED_FROM, STALE * people):
                base, since = since if base is None else self._read(state, 0), nobody(self.dim, state)
                written = False
        finally:
            self.book.execute("COMMIT")
        self._base = base
        if not written and people >= COPIED_FROM:
            write_copy(self.path, self.book, base, state["key"])
        return base, since

    def _read(self, state: dict, changes: int) -> Means:
        """Everybody who was enrolled or changed later than a count of changes; checks each row."""
        select = "SELECT {} FROM people WHERE changed > ?"
        count = self.book.execute(select.format("count(*)"), (changes,)).fetchone()[0]
        ids, units = np.empty(count, np.int64), np.empty((count, self.dim), np.float32)
        rows = self.book.execute(select.format("id, name, mean, digest") + " ORDER BY id", (changes,))
        for k, (number, name, mean, said) in enumerate(rows):
            if digest(name, mean) != said:
                raise bookfile.damaged(
                    self.path, f"the embedding of {name!r} is not the one that was enrolled"
                )
            ids[k], units[k] = number, bookfile.vector(mean, self.dim, self.path)
        return Means(ids, units, state["changes"], state["removals"])


def nobody(dim: int, state: dict) -> Means:
    return Means(np.empty(0, np.int64), np.empty((0, dim), np.float32), state["changes"], state["removals"])


def best(
    means: Means, query: np.ndarray, top: int, hidden: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The `top` rows nearest to a unit vector float32 [D]: (id, cosine); `hidden` bool [P] leaves rows out."""
    found: list[tuple[int, float]] = []
    for start in range(0, len(means.ids), BLOCK):
        scores = means.units[start : start + BLOCK] @ query
        if hidden is not None:
            scores[hidden[start : start + BLOCK]] = -np.inf
        some = np.argpartition(-scores, top - 1)[:top] if top < len(scores) else np.arange(len(scores))
        ids = means.ids[start : start + BLOCK]
        found += [(int(ids[k]), clip(float(scores[k]))) for k in some if np.isfinite(scores[k])]
        if len(found) > 64 * top:
            found = sorted(found, key=lambda one: (-one[1], one[0]))[:top]
    return found


def clip(cosine: float) -> float:
    return min(1.0, max(-1.0, cosine))


def copy_of(path: Path) -> Path:
    """Where the copy of a book's vectors lies."""
    return path.with_name(f"{path.name}.vectors")


def write_copy(path: Path, book: sqlite3.Connection, means: Means, key: str) -> None:
    """Writes the copy, unless somebody was removed meanwhile or the folder may not be written."""
    if not (os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)):
        return
    header = HEADER.pack(MAGIC, key.encode(), means.changes, means.removals, 0, *means.units.shape)
    with bookfile.transaction(book):  # a removal waits, so that no copy keeps a removed row
        now = book.execute("SELECT value FROM about WHERE key = 'removals'").fetchone()[0]
        if now != means.removals:
            return
        with atomic_file(copy_of(path)) as temporary, open(private(temporary), "wb") as file:
            file.write(header.ljust(START, b"\0"))
            file.write(means.ids.astype("<i8").tobytes())
            file.write(np.ascontiguousarray(means.units, "<f4").data)


def private(path: Path) -> int:
    """A new file that only its owner reads, opened for writing: its descriptor."""
    return os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)


def read_copy(path: Path, state: dict) -> Means | None:
    """The copy, mapped into memory; None where there is none that belongs to this state of the book."""
    try:
        with open(copy_of(path), "rb") as file:
            head = file.read(HEADER.size)
            size = file.seek(0, 2)
    except FileNotFoundError:
        return None
    if len(head) < HEADER.size:
        return None
    magic, key, changes, removals, removed, people, dim = HEADER.unpack(head)
    known = magic.rstrip(b"\0") == MAGIC and key == state["key"].encode() and dim == state["dim"]
    if not known or removals != state["removals"] or changes > state["changes"]:
        return None
    if size != START + people * (8 + 4 * dim):
        return None
    ids = np.memmap(copy_of(path), "<i8", "r", START, (people,))
    units = np.memmap(copy_of(path), "<f4", "r", START + 8 * people, (people, dim))
    return Means(ids, units, changes, removals, removed)


def forget(path: Path, person: int, removals: int) -> None:
    """Zeroes a person's row in the copy, which then holds for the book after this removal.

    Called while the book is locked for writing. The copy's counter is raised first: if a kill or a full disk undoes
    the removal, the copy no longer fits the book, and goes.
    """
    copy = copy_of(path)
    if not copy.exists():
        return
    with open(copy, "rb+") as file:
        head = file.read(HEADER.size)
        magic, key, changes, before, removed, people, dim = HEADER.unpack(head.ljust(HEADER.size, b"\0"))
        fits = magic.rstrip(b"\0") == MAGIC and before == removals - 1
        fits = fits and file.seek(0, 2) == START + people * (8 + 4 * dim)
        if fits:
            ids = np.fromfile(file, "<i8", people) if file.seek(START) else np.empty(0)
            row = int(np.searchsorted(ids, person))
            there = row < people and ids[row] == person
            file.seek(0)
            file.write(HEADER.pack(magic, key, changes, removals, removed + there, people, dim))
            file.flush()
            os.fsync(file.fileno())
            if there:
                file.seek(START + 8 * people + 4 * dim * row)
                file.write(bytes(4 * dim))
                file.flush()
                os.fsync(file.fileno())
    if not fits:
        copy.unlink()
