"""From recordings to a book and back: enrol, verify a named person, identify. Paths in, records out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from distilvox.errors import UserError, require
from distilvox.ship import journal
from distilvox.ship.book import Book
from distilvox.ship.bookfile import no_book
from distilvox.ship.decision import Decision, decide_voices, noted, percent, printable
from distilvox.ship.person import Enrolment, Person, Recording, Space, audio_hash
from distilvox.ship.quality import ENROL
from distilvox.ship.ready import READY, bundle_of, kept_as
from distilvox.ship.runtime import Verifier, Voice, cosine, forced
from distilvox.ship.samples import sound_of
from distilvox.sound import AudioError

INT8 = "-int8"
"""How the id of an int8 model's space ends."""


@dataclass(frozen=True)
class Identified:
    """Who is nearest to a recording. `people`: (name, cosine), best first; `decision`: about the first of them."""

    people: tuple[tuple[str, float], ...]
    decision: Decision

    def __str__(self) -> str:
        lines = [f"  {cosine:.4f}  {printable(name)}" for name, cosine in self.people]
        return "\n".join([*lines, str(self.decision)])

    def to_json(self) -> str:
        """One line of JSON."""
        people = [{"name": name, "score": cosine} for name, cosine in self.people]
        found = {"people": people, "decision": asdict(self.decision)}
        return json.dumps(found, sort_keys=True, allow_nan=False)


def space_of(verifier: Verifier, model: Path | str = "") -> Space:
    """What a book must state to be used with this verifier."""
    card = verifier.card
    where = kept_as(model) if model else ""
    return Space(verifier.space, card.model["embedding_dim"], card.calibration_id, where)


def precision_of(book: Book) -> str:
    """Which of a bundle's models a book belongs to: the id of its space says it."""
    return "int8" if book.space.id.endswith(INT8) else "float32"


def verifier_for(book: Path, model: Path | None, precision: str | None = None) -> Verifier:
    """The model of a book: the one given, else the one that the book was last used with.

    An int8 book is served by the int8 model without being asked.
    """
    if book.exists():
        with Book.open(book) as opened:
            held = opened.space
            precision = precision or precision_of(opened)
        if model is None and held.model:
            model = Path(held.model)
            require(
                bundle_of(model).exists(),
                f"the bundle that {book} was made with is gone",
                got=model,
                remedy="say where it is now: --model BUNDLE",
            )
    if model is None and not book.exists():
        raise no_book(book)
    if model is None:
        raise UserError(f"{book} needs a model", remedy="give a bundle: --model BUNDLE")
    return Verifier.load(bundle_of(model), precision=precision or "float32")


def model_to_begin(book: Path, model: Path | None) -> Path | None:
    """The model that is given; for a book that is still to be made the ready student, if none is."""
    return Path(READY) if model is None and not book.exists() else model


def enrol_files(
    book: Path | str,
    name: str,
    files: Sequence[Path | str],
    *,
    model: Path | str | None = None,
    precision: str | None = None,
    force: bool = False,
) -> Enrolment:
    """Enrols a person from recordings: all of them, or none.

    Args:
        book: made if it does not exist.
        name: of the person.
        files: recordings, at least one; several sessions make a better enrolment than one.
        model: the bundle; None: the one that the book was last used with, in a new one the ready student.
        precision: "float32" or "int8"; None: the book's own, float32 in a new one.
        force: enrol recordings that do not fit the others, and those that fail the bounds of `quality.ENROL`.

    Raises:
        UserError: a recording cannot be used, is too poor or does not fit, and is named; another model; see `Book`.
    """
    book, model = Path(book), None if model is None else Path(model)
    require(len(files) > 0, "nothing to enrol", allowed="one recording or more")
    model = model_to_begin(book, model)
    verifier = verifier_for(book, model, precision)
    recordings, poor, refused = [], [], []
    for file in map(Path, files):
        try:
            recording, reason = recording_of(verifier, file, force=force)
        except AudioError as error:
            refused.append(f"{file}: {error.reason}")
            continue
        recordings.append(recording)
        poor += [f"{file.name}: {reason}"] if reason is not None else []
    require(
        not refused,
        f"{len(refused)} of {len(files)} recordings cannot be used: nobody was enrolled",
        got="; ".join(refused[:5]),
        remedy="record again, or leave them out; --force enrols what is only poor",
    )
    with Book.open(book, space_of(verifier, model or ""), create=True) as opened:
        return replace(add(verifier, opened, name, recordings, force=force), poor=tuple(poor))


def add(
    verifier: Verifier, book: Book, name: str, recordings: Sequence[Recording], *, force: bool
) -> Enrolment:
    """Enrols recordings in an open book; they fit one another if they pass the verifier's threshold."""
    point = verifier.card.operating_point
    return book.enrol(name, recordings, threshold=None if point is None else point.threshold, force=force)


def recording_of(verifier: Verifier, file: Path, *, force: bool) -> tuple[Recording, str | None]:
    """A file as a book keeps it, and what speaks against it, where that was forced.

    Raises:
        AudioError, Refused: it cannot be used, or fails the bounds of `quality.ENROL`.
    """
    sound = sound_of(file)
    voice = verifier.examine(sound, bounds=ENROL, force=force)
    return Recording(voice.embedding, audio_hash(sound.wave), voice.seconds or 0.0, file.name), voice.refusal


def verify_person(
    book: Path | str,
    name: str,
    file: Path | str,
    *,
    model: Path | str | None = None,
    threshold: float | None = None,
    false_accept: float | None = None,
    keep: bool = False,
    force: bool = False,
) -> Decision:
    """Is this recording of the person enrolled under this name?

    `keep` writes the decision to the journal; `force` decides on a recording that would be refused (`gate.Refused`).
    """
    book, model = Path(book), None if model is None else Path(model)
    verifier = verifier_for(book, model)
    with Book.open(book, space_of(verifier)) as opened:
        person = opened.person(name)
        voice = verifier.examine(file, force=force)
        decision = compare_with(verifier, opened, person, voice, threshold, false_accept)
        if keep:
            journal.write(opened, "verify", person.name, Path(file).name, decision)
    return decision


def compare_with(
    verifier: Verifier,
    book: Book,
    person: Person,
    voice: Voice,
    threshold: float | None = None,
    false_accept: float | None = None,
) -> Decision:
    """Is a voice that of a person of an open book?"""
    score, seconds = cosine(voice.embedding, person.mean), (voice.seconds, book.seconds(person.name))
    decision = decide_voices(verifier.card, score, seconds, threshold, verifier.precision, false_accept)
    several = f"{person.count} recordings enrolled; rates are those of one against one"
    return noted(decision, forced(voice, "the recording"), several if person.count > 1 else "")


def identify_file(
    book: Path | str,
    file: Path | str,
    *,
    model: Path | str | None = None,
    top: int = 5,
    threshold: float | None = None,
    keep: bool = False,
    force: bool = False,
) -> Identified:
    """Who of the enrolled is it, and is it anybody at all? `keep` and `force`: as for `verify_person`."""
    book, model = Path(book), None if model is None else Path(model)
    verifier = verifier_for(book, model)
    with Book.open(book, space_of(verifier)) as opened:
        require(
            len(opened) > 0, f"nobody is enrolled in {book}", remedy=f"distilvox enrol {book} NAME FILE..."
        )
        voice = verifier.examine(file, force=force)
        found = nearest(verifier, opened, voice, top, threshold)
        if keep:
            who = found.people[0][0] if found.decision.accept else None
            journal.write(opened, "identify", who, Path(file).name, found.decision)
    return found


def nearest(
    verifier: Verifier, book: Book, voice: Voice, top: int, threshold: float | None = None
) -> Identified:
    """Who of the people of an open book, at least one, is nearest to a voice, and is it anybody at all?"""
    enrolled, people = len(book), book.identify(voice.embedding, top)
    first, score = people[0]
    seconds = (voice.seconds, book.seconds(first))
    decision = decide_voices(verifier.card, score, seconds, threshold, verifier.precision)
    decision = noted(decision, forced(voice, "the recording"))
    if decision.false_accept_target is not None:
        stranger = 1 - (1 - decision.false_accept_target) ** enrolled
        among = f"a stranger is compared with {enrolled:,} people and passes as one of them"
        decision = noted(decision, f"{among} in up to {percent(stranger)} of cases")
    return Identified(tuple(people), decision)
