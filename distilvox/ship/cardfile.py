"""The types of what `card.json` says, checked whole before anything of it is used."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from distilvox.schemas import Count, Finite, Rate, Sha256, fitting

Positive = Annotated[int, Meta(ge=1, le=2**31)]


class Model(Struct):
    """Which model it is."""

    name: str
    embedding_dim: Positive
    config: dict[str, Any] = {}
    parameters: Count = 0
    sample_rate: Positive = 16_000
    min_seconds: Finite = 0.5


class Point(Struct):
    """The threshold and what it rests on; ranges that depend on one another are `card.OperatingPoint`'s."""

    threshold: Finite
    false_accept_target: Rate
    trial_list: str
    trials: Count
    target_trials: Count | None = None
    false_accept: Rate | None = None
    miss: Rate | None = None
    how: str = ""


class File(Struct):
    """One file of the bundle."""

    sha256: Sha256
    bytes: Count = 0


class Speech(Struct):
    """How long embeddings of speech are; their order is `lengths.Lengths`'s."""

    low: Finite
    high: Finite
    recordings: Count


class CardFile(Struct):
    """card.json; fields of `distilvox.ship.card.Card`."""

    model: Model
    space: str
    training: dict[str, Any]
    teacher: dict[str, Any] | None
    objective: dict[str, Any]
    metrics: dict[str, Any] | None
    operating_point: dict[str, Any] | None
    parity: dict[str, Any]
    int8: dict[str, Any]
    files: dict[str, File]
    distilvox: str
    speech: dict[str, Speech] = {}


def check_card(value: Any, where: str) -> None:
    """Refuses a card with a field of the wrong type (named)."""
    remedy = "export the run again, or copy the folder again"
    fitting(CardFile, value, noun="bundle card", path=where, remedy=remedy)
    if value["operating_point"] is not None:
        fitting(
            Point,
            value["operating_point"],
            noun="bundle card",
            path=f"{where}, operating_point",
            remedy=remedy,
        )
