"""The file of a book: SQLite, opened so that kills, many processes and damage are survived or named.

Write-ahead log, every commit on the disk before it returns (`synchronous=FULL`), deleted content overwritten
(`secure_delete`), readable by its owner alone (0600).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from distilvox.errors import UserError
from distilvox.files import explain_disk_errors

APPLICATION = 0x64_76_78_62
"""SQLite's application id of a book: "dvxb"."""

VERSION = 1
"""SQLite's user version of a book; raised when an older distilvox would misread it."""

PATIENCE_SECONDS = 60.0
"""How long one process waits for another that writes."""

TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, made TEXT NOT NULL,
    changed INTEGER NOT NULL, count INTEGER NOT NULL, mean BLOB NOT NULL, digest BLOB NOT NULL);
CREATE INDEX people_changed ON people (changed);
CREATE TABLE utterances (
    id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE, source TEXT NOT NULL,
    seconds REAL NOT NULL, audio BLOB NOT NULL, embedding BLOB NOT NULL, fit REAL, forced INTEGER NOT NULL,
    made TEXT NOT NULL, UNIQUE (person, audio));
CREATE TABLE journal (
    id INTEGER PRIMARY KEY, made TEXT NOT NULL, verb TEXT NOT NULL,
    person INTEGER REFERENCES people ON DELETE CASCADE, source TEXT NOT NULL, score REAL NOT NULL,
    threshold REAL, accept INTEGER, note TEXT NOT NULL);
CREATE INDEX journal_person ON journal (person);
"""
"""`about.changes` and `about.removals` count what was enrolled and removed: a copy of the vectors knows its age."""


def connect(path: Path, about: dict[str, object] | None) -> sqlite3.Connection:
    """Opens a book, in autocommit mode; makes it where it does not exist and `about` says what it is to hold.

    Any number of processes may make one at once: one of them does, and all open it.

    Raises:
        UserError: no book here, not a book, of another version, damaged, not readable.
    """
    if not path.exists():
        if about is None:
            raise no_book(path)
        with explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    elif path.is_dir():
        raise UserError(f"a book is a file, this is a folder: {path}", remedy="name a file in it")
    with explained(path):
        book = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
        try:
            _prepare(book, path, about)
        except BaseException:
            book.close()
            raise
    return book


def no_book(path: Path) -> UserError:
    return UserError(f"no book here: {path} does not exist", remedy=f"distilvox enrol {path} NAME FILE...")


def _prepare(book: sqlite3.Connection, path: Path, about: dict[str, object] | None) -> None:
    book.execute("PRAGMA secure_delete = ON")
    book.execute("PRAGMA foreign_keys = ON")
    book.execute("PRAGMA synchronous = FULL")
    book.execute("PRAGMA temp_store = MEMORY")
    if about is not None and _is_blank(book):
        _patiently(book, "PRAGMA journal_mode = WAL")
        with transaction(book):
            if _is_blank(book):
                for statement in TABLES.split(";"):
                    book.execute(statement)
                facts = {"key": secrets.token_hex(8), "changes": 0, "removals": 0, **about}
                book.executemany("INSERT INTO about VALUES (?, ?)", facts.items())
                book.execute(f"PRAGMA application_id = {APPLICATION}")
                book.execute(f"PRAGMA user_version = {VERSION}")
    if _pragma(book, "application_id") != APPLICATION:
        raise UserError(
            f"not a book of distilvox: {path}",
            got="an empty file" if _is_blank(book) else "another program's SQLite file",
            remedy="choose another path; this file is left alone",
        )
    if (version := _pragma(book, "user_version")) != VERSION:
        raise UserError(
            f"this book has another version than this distilvox reads: {path}",
            got=f"version {version}",
            allowed=f"version {VERSION}",
            remedy="update distilvox",
        )


def _is_blank(book: sqlite3.Connection) -> bool:
    """A file without any content, such as one that a kill left before its tables were made."""
    tables = book.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and _pragma(book, "application_id") == 0


def _pragma(book: sqlite3.Connection, name: str) -> int:
    return int(book.execute(f"PRAGMA {name}").fetchone()[0])


def _patiently(book: sqlite3.Connection, statement: str) -> tuple:
    """For the statements at which SQLite itself does not wait for another process."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return book.execute(statement).fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def transaction(book: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, alone among the writers."""
    book.execute("BEGIN IMMEDIATE")
    try:
        yield
        book.execute("COMMIT")
    except BaseException:
        if book.in_transaction:
            book.execute("ROLLBACK")
        raise


def empty_log(book: sqlite3.Connection, path: Path) -> None:
    """Moves the write-ahead log into the file and cuts it to nothing, so that it keeps nothing of the deleted.

    Raises:
        UserError: another process goes on reading what was there before.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while _patiently(book, "PRAGMA wal_checkpoint(TRUNCATE)")[0]:
        if time.monotonic() > end:
            raise UserError(
                f"removed from {path}, but another process still reads the state before",
                got=f"{path.name}-wal holds the removed embeddings until it ends",
                remedy=f"end it, then: distilvox book check {path}",
                exit_code=1,
            )
        time.sleep(0.02)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's complaints about a book into a `UserError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        for start, (what, remedy, code) in MEANING.items():
            if name.startswith(start):
                raise UserError(
                    what.format(path=path), got=str(error), remedy=remedy, exit_code=code
                ) from error
        raise


MEANING = {
    "SQLITE_NOTADB": (
        "not a book, or damaged in its first bytes: {path}",
        "give the file that `distilvox enrol` made, or bring it back from a copy",
        2,
    ),
    "SQLITE_CORRUPT": (
        "this book is damaged: {path}",
        "bring it back from a copy, or enrol anew; `distilvox book export` may still read some of it",
        2,
    ),
    "SQLITE_FULL": (
        "the disk is full: nothing was written, {path} is as it was",
        "free some space, then run the same command again",
        1,
    ),
    "SQLITE_IOERR": (
        "the disk refused: nothing was written, {path} is as it was",
        "see to space, quotas and limits on file sizes, then run the same command again",
        1,
    ),
    "SQLITE_READONLY": (
        "no permission to write {path}",
        "run it as the book's owner; its folder must be writable too",
        1,
    ),
    "SQLITE_CANTOPEN": (
        "cannot open {path}",
        "run it as the book's owner; its folder must be writable too",
        1,
    ),
    "SQLITE_BUSY": (
        "another process has been writing to {path} for too long",
        "run the same command again",
        1,
    ),
}
"""Start of SQLite's name for an error → what is wrong, what to do, the exit code."""


def vector(blob: object, dim: int, path: Path) -> np.ndarray:
    """An embedding as the book keeps it → float32 [D].

    Raises:
        UserError: it has another size, or is not finite: the book is damaged.
    """
    if isinstance(blob, bytes) and len(blob) == 4 * dim:
        found = np.frombuffer(blob, "<f4")
        if np.isfinite(found).all():
            return found
    raise damaged(path, "an embedding of another size, or not of numbers")


def damaged(path: Path, got: str) -> UserError:
    what, remedy, code = MEANING["SQLITE_CORRUPT"]
    return UserError(what.format(path=path), got=got, remedy=remedy, exit_code=code)
