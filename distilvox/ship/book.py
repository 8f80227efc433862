"""Enrolled people in one SQLite file, used by any number of processes at once.

>>> from distilvox.ship.book import Book
>>> with Book.open("people.book") as book:  # doctest: +SKIP
...     print(len(book), [person.name for person in book.people()])

Every change is one transaction: after a kill, a full disk or an error the book is as it was before. An enrolment
keeps the embeddings of its recordings and their mean, and no audio. `distilvox.ship.enrolment` goes from files to
books.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from distilvox.errors import UserError, require
from distilvox.ship import bookfile, removal
from distilvox.ship.cohesion import bound_of, fits, mean_of, unit
from distilvox.ship.nearest import Nearest
from distilvox.ship.person import Enrolment, Person, Recording, Space, checked_name, digest, normal, now

PEOPLE = "SELECT id, name, count, made, mean, digest FROM people"


class Book:
    """An opened book; `with` closes it. One object serves one thread; processes and threads open their own."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.dim = int(self.about()["dim"])
        self.nearest = Nearest(path, connection, self.dim)

    @classmethod
    def open(cls, path: Path | str, space: Space | None = None, *, create: bool = False) -> Book:
        """Opens a book, and checks that it belongs to a model.

        Args:
            path: the file.
            space: of the model that is to be used with it; None checks nothing, for listing and removing.
            create: make the book if there is none; needs `space`.

        Raises:
            UserError: no book, not a book, a damaged one, one of another model or of another calibration.
        """
        path = Path(path)
        about: dict[str, object] | None = None
        if create:
            if space is None:
                raise UserError("a new book needs the model that it belongs to", remedy="give --model BUNDLE")
            about = {"space": space.id, "dim": space.dim, "calibration": space.calibration}
            about |= {"model": space.model, "made": now()}
        connection = bookfile.connect(path, about)
        try:
            book = cls(path, connection)
            if space is not None:
                book.check_space(space)
        except BaseException:
            connection.close()
            raise
        return book

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def about(self) -> dict[str, Any]:
        """The book's own facts: key, space, dim, calibration, model, made, and how often it changed."""
        with bookfile.explained(self.path):
            return dict(self.connection.execute("SELECT key, value FROM about"))

    @property
    def space(self) -> Space:
        """What the book was made for."""
        held = self.about()
        return Space(held["space"], self.dim, held["calibration"], held["model"])

    def check_space(self, space: Space) -> None:
        """Refuses a model that the book was not made for, or whose thresholds are not those it was made under."""
        held = self.space
        if (held.id, held.dim) != (space.id, space.dim):
            raise UserError(
                f"{self.path} was made with another model, and their embeddings must not be compared",
                got=f"a model of space {space.id}",
                allowed=f"a model of space {held.id}" + (f", such as {held.model}" if held.model else ""),
                remedy="give the bundle that the book was made with, or enrol everybody anew in another book",
            )
        if held.calibration != space.calibration:
            raise UserError(
                f"{self.path} was made under another calibration of the same model: decisions would change",
                got=f"calibration {space.calibration}",
                allowed=f"calibration {held.calibration}",
                remedy=f"if that is wanted: distilvox book adopt {self.path} --model BUNDLE",
            )

    def adopt(self, space: Space) -> None:
        """Takes over the calibration, and the place, of another bundle of the same model."""
        if (held := self.space).id != space.id:
            self.check_space(space)
        with bookfile.explained(self.path), bookfile.transaction(self.connection):
            for key, value in (("calibration", space.calibration), ("model", space.model or held.model)):
                self.connection.execute("UPDATE about SET value = ? WHERE key = ?", (value, key))

    def enrol(
        self,
        name: str,
        recordings: Sequence[Recording],
        *,
        threshold: float | None = None,
        force: bool = False,
    ) -> Enrolment:
        """Adds recordings to a person, new or known. One that is in the book already is not added twice.

        Args:
            name: of the person.
            recordings: at least one.
            threshold: cosine that each must have with the mean of the others; None: see `cohesion.bound_of`.
            force: enrol recordings that do not fit the others.

        Raises:
            UserError: one does not fit, and is named; nothing is enrolled then.
        """
        name = checked_name(name)
        require(len(recordings) > 0, "nothing to enrol", allowed="one recording or more")
        for one in recordings:
            require(
                one.embedding.shape == (self.dim,) and bool(np.isfinite(one.embedding).all()),
                f"this is no embedding of the book's model: {one.source}",
                got=f"shape {one.embedding.shape}",
                allowed=f"shape ({self.dim},), finite",
            )
        with bookfile.explained(self.path), bookfile.transaction(self.connection):
            return self._enrol(name, recordings, threshold, force)

    def _enrol(
        self, name: str, recordings: Sequence[Recording], threshold: float | None, force: bool
    ) -> Enrolment:
        run = self.connection.execute
        found = run("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        held = [] if found is None else self._recordings(found[0])
        known = {audio for audio, _, _ in held}
        new = list({one.audio: one for one in recordings if one.audio not in known}.values())
        sources = [source for _, source, _ in held] + [one.source for one in new]
        vectors = np.stack([vector for _, _, vector in held] + [one.embedding for one in new])
        fit = fits(vectors)
        bound = bound_of(fit, threshold)
        misfits = [k for k in range(len(held), len(fit)) if bound is not None and fit[k] <= bound]
        if misfits and not force:
            raise _misfit(name, [(sources[k], float(fit[k])) for k in misfits], bound)
        if new:
            made, mean = now(), mean_of(vectors).astype("<f4").tobytes()
            facts = (self._count("changes"), len(vectors), mean, digest(name, mean))
            if found is None:
                text = (
                    "INSERT INTO people (name, made, changed, count, mean, digest) VALUES (?, ?, ?, ?, ?, ?)"
                )
                person = run(text, (name, made, *facts)).lastrowid
            else:
                text = "UPDATE people SET changed = ?, count = ?, mean = ?, digest = ? WHERE id = ?"
                run(text, (*facts, found[0]))
                person = found[0]
            for k, one in enumerate(new, start=len(held)):
                vector = np.asarray(one.embedding).astype("<f4").tobytes()
                near = None if np.isnan(fit[k]) else float(fit[k])
                run(
                    "INSERT INTO utterances (person, source, seconds, audio, embedding, fit, forced, made)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (person, one.source, one.seconds, one.audio, vector, near, k in misfits, made),
                )
        least = float(fit.min()) if len(fit) > 1 else None
        forced = tuple(sources[k] for k in misfits)
        return Enrolment(name, len(new), len(recordings) - len(new), len(vectors), least, forced)

    def _count(self, key: str) -> int:
        """Raises one of the book's counters, inside a transaction, and returns it."""
        self.connection.execute("UPDATE about SET value = value + 1 WHERE key = ?", (key,))
        return int(self.connection.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()[0])

    def person(self, name: str) -> Person:
        """One enrolled person.

        Raises:
            UserError: nobody has this name; says who has a similar one.
        """
        with bookfile.explained(self.path):
            row = self.connection.execute(f"{PEOPLE} WHERE name = ?", (normal(name),)).fetchone()
        if row is None:
            raise self.nobody(name)
        return self._person(row)

    def nobody(self, name: str) -> UserError:
        """The error for a name that is not in the book."""
        with bookfile.explained(self.path):
            some = [row[0] for row in self.connection.execute("SELECT name FROM people LIMIT 10000")]
        near = get_close_matches(normal(name), some, n=1)
        return UserError(
            f"nobody of this name is enrolled in {self.path}",
            got=repr(name),
            allowed=f"one of {len(self):,} names: distilvox book list {self.path}",
            remedy=f"did you mean {near[0]!r}?" if near else None,
        )

    def people(self) -> Iterator[Person]:
        """Everybody, in the order of enrolment."""
        with bookfile.explained(self.path):
            for row in self.connection.execute(f"{PEOPLE} ORDER BY id"):
                yield self._person(row)

    def recordings(self, name: str) -> list[tuple[str, np.ndarray]]:
        """Of each recording of a person, the name of its file and its embedding, float32 [D]."""
        person = self.person(name).id
        with bookfile.explained(self.path):
            return [(source, vector) for _, source, vector in self._recordings(person)]

    def seconds(self, name: str) -> float:
        """Of sound in all recordings of a person."""
        person = self.person(name).id
        text = "SELECT total(seconds) FROM utterances WHERE person = ?"
        with bookfile.explained(self.path):
            return float(self.connection.execute(text, (person,)).fetchone()[0])

    def _recordings(self, person: int) -> list[tuple[bytes, str, np.ndarray]]:
        text = "SELECT audio, source, embedding FROM utterances WHERE person = ? ORDER BY id"
        rows = self.connection.execute(text, (person,))
        return [(audio, source, bookfile.vector(blob, self.dim, self.path)) for audio, source, blob in rows]

    def _person(self, row: tuple) -> Person:
        number, name, count, made, mean, said = row
        if digest(name, mean) != said:
            raise bookfile.damaged(self.path, f"the embedding of {name!r} is not the one that was enrolled")
        return Person(number, name, count, made, bookfile.vector(mean, self.dim, self.path))

    def __len__(self) -> int:
        """How many people are enrolled."""
        with bookfile.explained(self.path):
            return int(self.connection.execute("SELECT count(*) FROM people").fetchone()[0])

    def identify(self, embedding: np.ndarray, top: int = 5) -> list[tuple[str, float]]:
        """The `top` enrolled people whose means are most like an embedding [D]: (name, cosine), best first."""
        require(top >= 1, "top is a number of people", got=top, allowed="1, 2, 3 …")
        found = [number for number, _ in self.nearest.find(embedding, top)]
        with bookfile.explained(self.path):
            rows = [self.connection.execute(f"{PEOPLE} WHERE id = ?", (one,)).fetchone() for one in found]
        people = [self._person(row) for row in rows if row is not None]  # the copy only proposes
        scored = [(person.name, float(unit(person.mean) @ unit(embedding))) for person in people]
        return sorted(scored, key=lambda one: (-one[1], one[0]))[:top]

    def remove(self, name: str) -> None:
        """Deletes a person, and looks that no byte of the embeddings is left in the book's files.

        The journal's lines about the person go too.
        """
        person = self.person(name)
        removal.remove(self.path, self.connection, person)


def _misfit(name: str, found: list[tuple[str, float]], bound: float | None) -> UserError:
    shown = ", ".join(f"{source or 'a recording'} at {fit:.3f}" for source, fit in found[:5])
    return UserError(
        f"{len(found)} of the recordings of {name!r} do not fit the others: nobody was enrolled",
        got=f"cosine with the mean of the others: {shown}",
        allowed=f"above {bound:.3f}",
        remedy="listen to them; leave out the wrong one, or give --force if all are of one person",
    )
