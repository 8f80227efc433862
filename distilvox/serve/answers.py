"""What is answered, field by field; OpenAPI shows these."""

from __future__ import annotations

from dataclasses import dataclass

from distilvox.ship.decision import Decision
from distilvox.ship.quality import Quality


@dataclass(frozen=True)
class Recorded:
    """One recording.

    name: of its file. length: seconds. quality: its figures; `quality.seconds` is the sound in it. summary: these in
    words. notes: what was done to read it. speech: (first, last) second of each span of sound. peaks: its shape, sizes
    in [0, 1] of equal parts of it.
    """

    name: str
    length: float
    quality: Quality
    summary: str
    notes: tuple[str, ...]
    speech: list[tuple[float, float]]
    peaks: list[float]


@dataclass(frozen=True)
class Embedded:
    """embedding: [D], not normalised. space: only embeddings of one space may be compared."""

    embedding: list[float]
    space: str
    recording: Recorded


@dataclass(frozen=True)
class Verified:
    """decision: score, calibrated probability, threshold and what it rests on. words: the same for people."""

    decision: Decision
    words: str
    recordings: list[Recorded]


@dataclass(frozen=True)
class Match:
    """An enrolled person, and the cosine with the recording."""

    name: str
    score: float


@dataclass(frozen=True)
class Identified:
    """people: the nearest, best first. decision: about the first of them. words: the decision for people."""

    people: list[Match]
    decision: Decision
    words: str
    recording: Recorded


@dataclass(frozen=True)
class Enrolled:
    """A person after enrolment.

    added, known: recordings new, and there before. count: all of the person's. fit: the least cosine of one with the
    mean of the others; none for a single one. misfits: those enrolled by force.
    """

    name: str
    added: int
    known: int
    count: int
    fit: float | None
    misfits: tuple[str, ...]
    recordings: list[Recorded]


@dataclass(frozen=True)
class Listed:
    """A person of the book. recordings: how many. enrolled: UTC, ISO 8601."""

    name: str
    recordings: int
    enrolled: str


@dataclass(frozen=True)
class Removed:
    """Who is no longer in the book."""

    name: str


@dataclass(frozen=True)
class Health:
    """What runs here, how busy it is, and the most that it takes.

    threshold: whether the model can accept or reject at all. keeps: whether people stay enrolled when the service ends.
    """

    ready: bool
    version: str
    model: str
    space: str
    threshold: bool
    calibrated: bool
    keeps: bool
    needs_key: bool
    inside: int
    most_inside: int
    most_bytes: int
    most_seconds: float
    most_files: int
