"""Recordings → answers: the verifier and the book, asked by a thread of the desk. Nothing of a recording is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.audio import read_sound
from distilvox.errors import UserError
from distilvox.held import Held
from distilvox.serve.answers import Embedded, Enrolled, Identified, Listed, Match, Recorded, Verified
from distilvox.serve.outline import peaks, spans
from distilvox.serve.problems import LOG, Turned
from distilvox.ship.book import Book
from distilvox.ship.enrolment import add, compare_with, nearest, space_of
from distilvox.ship.person import Person, Recording, audio_hash, checked_name
from distilvox.ship.quality import ENROL, VERIFY, Bounds
from distilvox.ship.runtime import Verifier, Voice
from distilvox.sound import SAMPLE_RATE, AudioError


@dataclass(frozen=True)
class Heard:
    """A recording that passed its bounds: its wave float32 [N], its embedding, and what is told of it."""

    wave: np.ndarray
    voice: Voice
    told: Recorded

    @property
    def seconds(self) -> float:
        return self.told.quality.seconds


@dataclass(frozen=True)
class Service:
    """A loaded bundle and a book that exists. Holds nothing between calls: any thread may call.

    Args:
        verifier: the bundle.
        book: of people, made for this bundle.
        most_seconds: of one recording.
    """

    verifier: Verifier
    book: Path
    most_seconds: float

    def hear(self, file: Held, bounds: Bounds = VERIFY) -> Heard:
        """One recording → what is in it.

        Raises:
            AudioError: it cannot be used, is too long, or fails the bounds.
        """
        sound = read_sound(file, max_seconds=self.most_seconds)
        try:
            voice = self.verifier.examine(sound, bounds=bounds)
        except AudioError as error:
            raise AudioError(file, error.reason, remedy="record again, or leave it out") from None
        assert voice.quality is not None  # of a recording, not of a stored embedding
        told = Recorded(
            name=file.name,
            length=round(len(sound.wave) / SAMPLE_RATE, 2),
            quality=voice.quality,
            summary=str(voice.quality),
            notes=sound.notes,
            speech=spans(sound.wave, sound.levels),
            peaks=peaks(sound.wave),
        )
        return Heard(sound.wave, voice, told)

    def embed(self, file: Held) -> Embedded:
        heard = self.hear(file)
        return Embedded(heard.voice.embedding.tolist(), self.verifier.space, heard.told)

    def verify(
        self, first: Held, second: Held, threshold: float | None, false_accept: float | None
    ) -> Verified:
        """Are two recordings of one speaker?"""
        one, two = self.hear(first), self.hear(second)
        decision = self.verifier.compare(one.voice, two.voice, threshold, false_accept)
        return Verified(decision, str(decision), [one.told, two.told])

    def verify_person(
        self, file: Held, name: str, threshold: float | None, false_accept: float | None
    ) -> Verified:
        """Is this recording of the person enrolled under this name?"""
        heard = self.hear(file)
        with self.opened() as book:
            person = known(book, name)
            decision = compare_with(self.verifier, book, person, heard.voice, threshold, false_accept)
        return Verified(decision, str(decision), [heard.told])

    def enrol(self, name: str, files: Sequence[Held], force: bool) -> Enrolled:
        """Adds recordings to a person: all of them, or none."""
        name = checked_name(name)
        heard = [self.hear(file, ENROL) for file in files]
        recordings = [
            Recording(one.voice.embedding, audio_hash(one.wave), one.seconds, one.told.name) for one in heard
        ]
        with self.opened() as book:
            try:
                done = add(self.verifier, book, name, recordings, force=force)
            except UserError as error:
                if error.exit_code == 1:
                    raise
                remedy = (
                    "listen to them; leave out the wrong one, or send force=true if all are of one person"
                )
                raise Turned(409, error.what, got=error.got, allowed=error.allowed, remedy=remedy) from None
        told = [one.told for one in heard]
        return Enrolled(done.name, done.added, done.known, done.count, done.fit, done.misfits, told)

    def identify(self, file: Held, top: int, threshold: float | None) -> Identified:
        """Who of the enrolled is it, and is it anybody at all?"""
        heard = self.hear(file)
        with self.opened() as book:
            if not len(book):
                raise Turned(409, "nobody is enrolled yet", remedy="enrol somebody: POST /enrol")
            found = nearest(self.verifier, book, heard.voice, top, threshold)
        matches = [Match(name, score) for name, score in found.people]
        return Identified(matches, found.decision, str(found.decision), heard.told)

    def people(self) -> list[Listed]:
        """Everybody in the book."""
        with self.opened() as book:
            return [Listed(one.name, one.count, one.made) for one in book.people()]

    def remove(self, name: str) -> None:
        """Deletes a person."""
        with self.opened() as book:
            known(book, name)
            book.remove(name)

    @contextmanager
    def opened(self) -> Iterator[Book]:
        """The book for one call. Where it cannot be used at all, the log says why, and the client that it is so."""
        try:
            book = Book.open(self.book, space_of(self.verifier))
        except UserError as error:
            LOG.error("%s", error)
            raise Turned(
                500, "the book cannot be used", remedy="whoever runs the service finds the reason in its log"
            ) from None
        with book:
            yield book


def known(book: Book, name: str) -> Person:
    """The person of this name; one that nobody in the book has is refused, without saying who is in it."""
    try:
        return book.person(name)
    except UserError as error:
        if error.exit_code == 1:
            raise
        raise Turned(404, "nobody of this name is enrolled", got=repr(name), remedy="GET /people") from None
