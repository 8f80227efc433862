"""TargetConfig: how a teacher is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from distilvox.errors import require, unknown

Centre = Literal["auto", "yes", "no"]


def check_literals(config: Any, *names: str) -> None:
    """Refuses a value that is not one of its field's literals: a typo must not train something else."""
    hints = get_type_hints(type(config))
    for name in names:
        if getattr(config, name) not in get_args(hints[name]):
            raise unknown(name, str(getattr(config, name)), get_args(hints[name]))


@dataclass(frozen=True)
class TargetConfig:
    """How the teacher is used.

    Attributes:
        sees: the same `view` as the student (crop, noise and all), or the whole clean `utterance`.
        views: how many views of the corpus the cache holds; epoch e sees view e mod `views`, the student too.
        live: run the teacher on every step. Slow; the reference for the cache, which is still made: the class
            centres are fitted on it.
        centre: remove the mean of the teacher's training embeddings before every cosine: `yes`, `no`, or `auto`,
            which does so for a teacher that brings no class centres of its own (its space was not trained for them).
        head: the class centres: `auto` (the teacher's own, matched by name; the rest by `unmatched`), `matched` (all
            of them the teacher's own), `fitted`, `means`.
        unmatched: how `auto` makes the centres of speakers that the teacher has no row for.
        ensemble: what an ensemble `A,B` averages: the scaled cosines (`logits`), or each teacher's `probabilities`.
    """

    sees: Literal["view", "utterance"] = "utterance"
    views: int = 5
    live: bool = False
    centre: Centre = "auto"
    head: Literal["auto", "matched", "fitted", "means"] = "auto"
    unmatched: Literal["means", "fitted"] = "means"
    ensemble: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        require(self.views >= 1, "the cache needs at least one view", got=self.views, allowed="1 or more")
        check_literals(self, "sees", "centre", "head", "unmatched", "ensemble")
