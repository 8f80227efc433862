"""What a book holds of people: their names as data, their recordings' embeddings, and the space of these."""

from __future__ import annotations

import datetime
import hashlib
import unicodedata
from dataclasses import dataclass

import numpy as np

from distilvox.errors import require

MOST_LETTERS = 200
"""In a name."""

JOINERS = "\u200c\u200d"
"""Not printable by themselves, and part of names in many scripts."""


@dataclass(frozen=True)
class Space:
    """What embeddings can be compared with, and what the decisions about them rest on.

    Args:
        id: of the embedding space (`Verifier.space`).
        dim: D.
        calibration: 16 hex digits over the thresholds and the calibration (`Card.calibration_id`).
        model: the bundle's folder as last given; a hint, used where no other bundle is named.
    """

    id: str
    dim: int
    calibration: str
    model: str = ""


@dataclass(frozen=True)
class Recording:
    """One recording to enrol. `audio`: sha256 of its samples; `seconds`: its length; `source`: its file's name."""

    embedding: np.ndarray
    audio: bytes
    seconds: float
    source: str = ""


@dataclass(frozen=True)
class Person:
    """An enrolled person. `mean`: float32 [D] of length 1; `count`: recordings; `made`: UTC, ISO 8601."""

    id: int
    name: str
    count: int
    made: str
    mean: np.ndarray


@dataclass(frozen=True)
class Enrolment:
    """What `Book.enrol` did.

    added, known: recordings new, and in the book before. count: all of the person's. fit: the least cosine of one
    with the mean of the others, None for a single one. misfits: those enrolled by force though they do not fit.
    poor: those enrolled by force though they are refused, each with the reason.
    """

    name: str
    added: int
    known: int
    count: int
    fit: float | None
    misfits: tuple[str, ...]
    poor: tuple[str, ...] = ()


def checked_name(name: str) -> str:
    """The name as a book keeps it (Unicode NFC).

    Raises:
        UserError: empty, too long, blanks at an end, or letters that cannot be printed.
    """
    name = normal(name)
    require(bool(name), "a person needs a name", got="an empty one")
    require(
        len(name) <= MOST_LETTERS,
        "a name is too long",
        got=f"{len(name)} letters",
        allowed=f"at most {MOST_LETTERS}",
    )
    odd = [letter for letter in name if not letter.isprintable() and letter not in JOINERS]
    require(
        not odd,
        "a name holds only letters that can be printed",
        got=f"{name!r}, with {', '.join(f'U+{ord(letter):04X}' for letter in dict.fromkeys(odd))}",
        allowed="any script, digits, signs and blanks",
    )
    require(name == name.strip(), "a name has no blanks at its ends", got=repr(name))
    return name


def normal(name: str) -> str:
    """One spelling for names that look alike: Unicode NFC."""
    return unicodedata.normalize("NFC", name)


def digest(name: str, mean: bytes) -> bytes:
    """16 bytes over a name and a mean embedding: tells damage inside a row, which SQLite cannot see."""
    return hashlib.blake2b(name.encode(errors="replace") + b"\0" + mean, digest_size=16).digest()


def audio_hash(wave: np.ndarray) -> bytes:
    """sha256 of samples float32 [N]: the same recording is not enrolled twice."""
    return hashlib.sha256(np.ascontiguousarray(wave, "<f4").tobytes()).digest()


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
