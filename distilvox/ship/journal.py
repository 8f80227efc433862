"""What was decided about whom, kept in the book where it is asked for; it goes when the person goes."""

from __future__ import annotations

from dataclasses import dataclass

from distilvox.ship import bookfile
from distilvox.ship.book import Book
from distilvox.ship.decision import Decision
from distilvox.ship.person import now


@dataclass(frozen=True)
class Entry:
    """One decision. `name`: of the person it was about, None for nobody; `made`: UTC, ISO 8601."""

    made: str
    verb: str
    name: str | None
    source: str
    score: float
    threshold: float | None
    accept: bool | None
    note: str


def write(book: Book, verb: str, name: str | None, source: str, decision: Decision) -> None:
    """Adds a decision about a person of the book, or about nobody (an unknown voice)."""
    person = None if name is None else book.person(name).id
    accept = None if decision.accept is None else int(decision.accept)
    row = (now(), verb, person, source, decision.score, decision.threshold, accept, decision.note)
    columns = "made, verb, person, source, score, threshold, accept, note"
    with bookfile.explained(book.path), bookfile.transaction(book.connection):
        book.connection.execute(f"INSERT INTO journal ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def read(book: Book) -> list[Entry]:
    """All entries, oldest first."""
    text = (
        "SELECT journal.made, verb, name, source, score, threshold, accept, note"
        " FROM journal LEFT JOIN people ON people.id = journal.person ORDER BY journal.id"
    )
    with bookfile.explained(book.path):
        rows = book.connection.execute(text).fetchall()
    return [
        Entry(made, verb, name, source, score, threshold, None if accept is None else bool(accept), note)
        for made, verb, name, source, score, threshold, accept, note in rows
    ]
