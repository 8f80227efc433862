"""What training keeps of its teacher: what a step asks for, and no teacher where a cache has it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from distilvox.evaluation.judge import Judge
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.heads import FittedHead
from distilvox.teachers.member import Reader
from distilvox.teachers.taught import Taught


@dataclass(frozen=True)
class Targets:
    """The teacher's side of a stage, ready for the loop.

    Attributes:
        embed: (views, number of the view) → the teacher's embeddings [B, D_t], centred if so configured.
        head: class centres over the training speakers.
        utterances: reads the teacher's embeddings [U, D_t] of the training utterances, in their first view. Nothing
            of that size is held: the caches are maps of half precision, and a step gathers its rows.
        sizes: the parts of D_t whose probabilities are averaged (`Objective`); none but for such an ensemble.
        trials: the teacher's embeddings [U, D_t] of the dev trials' utterances, whole and clean, centred if so
            configured; None without trials.
    """

    embed: Reader
    head: FittedHead
    utterances: Callable[[], Tensor]
    sizes: tuple[int, ...] = ()
    trials: np.ndarray | None = None

    @classmethod
    def of(cls, taught: Taught, judge: Judge | None = None) -> Targets:
        trials = None if judge is None else taught.trials(judge)
        return cls(taught.reader(), taught.centres, taught.utterances(), taught.sizes, trials)


def view_of_epoch(targets: TargetConfig | None, epoch: int) -> int:
    """Which view of every utterance an epoch shows: a cache of V views of crops is gone through in turns."""
    if targets is None or targets.live or targets.sees == "utterance":
        return epoch
    return epoch % targets.views


def stage_cache(cache: Path | None, seconds: float) -> Path | None:
    """Where the caches of a later stage lie that hears other crops: beside those of the first."""
    return cache and cache.with_name(f"{cache.name}-{seconds:g}s")
