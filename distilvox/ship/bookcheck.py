"""Is a book whole? Every page as SQLite sees it, every row as distilvox wrote it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distilvox.ship import bookfile
from distilvox.ship.book import Book
from distilvox.ship.cohesion import mean_of


@dataclass(frozen=True)
class Checked:
    """How much was looked at, and nothing was wrong."""

    people: int
    recordings: int


def check_book(book: Book) -> Checked:
    """Reads the whole book, and empties its log.

    Each mean must be that of its recordings, and each person's recordings as many as were counted.

    Raises:
        UserError: damaged: says where.
    """
    with bookfile.explained(book.path):
        said = [row[0] for row in book.connection.execute("PRAGMA integrity_check(5)")]
        if said != ["ok"]:
            raise bookfile.damaged(book.path, "; ".join(said))
        orphans = "SELECT count(*) FROM utterances WHERE person NOT IN (SELECT id FROM people)"
        if lost := book.connection.execute(orphans).fetchone()[0]:
            raise bookfile.damaged(book.path, f"{lost} recordings of nobody")
        people = recordings = 0
        for person in book.people():
            vectors = [vector for _, vector in book.recordings(person.name)]
            mean = mean_of(np.stack(vectors)) if vectors else None
            if len(vectors) != person.count or mean is None or not np.allclose(mean, person.mean, atol=1e-5):
                raise bookfile.damaged(book.path, f"the recordings of {person.name!r} do not make its mean")
            people, recordings = people + 1, recordings + len(vectors)
        bookfile.empty_log(book.connection, book.path)
    return Checked(people, recordings)
