"""What would make a usable teacher teach better: advice, where `look.judge` passes verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.errors import require
from distilvox.files import read_json
from distilvox.losses.ensemble import teacher_logits
from distilvox.teachers.vectors import Vectors

SHARP = 0.95
SENSIBLE = 0.85
"""The mean target probability that is suggested: the other speakers keep 15 % of conventional KD's weight."""
LESS = 0.95
"""Own rows that are right less often than means of the embeddings, by this factor, are advised against."""
MOST_LOGITS = 2**21
LADDER = np.geomspace(1 / 16, 1024, 29)


class Suggestion(NamedTuple):
    """For a mean target probability of 0.85: the scale; or, at the scale given, the temperature. None if
    no value gives it (a teacher that is right less often than that)."""

    scale: float | None
    temperature: float | None


@dataclass(frozen=True)
class Baseline:
    """A run to compare the teacher with: its folder, and its EER on the same trials, as a fraction."""

    name: str
    eer: float


def read_baseline(run: Path, *, trial_list: str, trials: int) -> Baseline:
    """The EER that a run left in its `evaluation.json`.

    Args:
        run: a run folder that was trained with trials.
        trial_list, trials: the name and the length of the list that the teacher is judged by.

    Errors:
        UserError if it holds no evaluation, or one on other trials.
    """
    found = read_json(run / "evaluation.json", noun="evaluation", remedy="give a run trained with --trials")
    keys = ("trial_list", "trials", "eer")
    require(
        isinstance(found, dict) and all(key in found for key in keys),
        f"this evaluation is damaged: {run / 'evaluation.json'}",
    )
    require(
        (found["trial_list"], found["trials"]) == (trial_list, trials),
        f"{run} and the teacher are judged by different trials",
        got=f"{found['trial_list']} with {found['trials']} trials",
        allowed=f"{trial_list} with {trials} trials",
        remedy="evaluate both on one list",
    )
    return Baseline(str(run), float(found["eer"]))


def suggest(
    weight: Float[Tensor, "C D"],
    units: Vectors,
    labels: Int[Tensor, " U"],
    *,
    scale: float,
    sizes: Sequence[int] = (),
) -> Suggestion:
    """The scale, and the temperature at `scale`, that bring the mean target probability to 0.85.

    Args:
        weight, units: class centres and embeddings of length 1.
        labels: in [0, C).
        scale: of the logits, above 0.
        sizes: of the parts of an ensemble whose probabilities are averaged.
    """
    count = min(len(units), max(64, MOST_LOGITS // len(weight)))
    rows = torch.linspace(0, len(units) - 1, count, dtype=torch.float64).round().long()
    unit, label, column = units[rows], labels[rows], labels[rows][:, None]

    def target(logits: Tensor) -> float:
        return float(logits.softmax(1).gather(1, column).double().mean())

    def at(factor: float) -> Tensor:
        return teacher_logits(unit, weight, label, sizes=sizes, scale=factor)

    given, cosines = at(scale), at(1.0)
    by_scale = reach(lambda factor: target(cosines * factor if len(sizes) < 2 else at(factor)), SENSIBLE)
    by_sharpness = reach(lambda factor: target(given * factor), SENSIBLE)
    return Suggestion(by_scale, None if by_sharpness is None else 1 / by_sharpness)


def reach(function: Callable[[float], float], goal: float) -> float | None:
    """The smallest x > 0 where a continuous function that begins below the goal comes to it, to 0.1 %.

    Looked for on a ladder from 1/16 to 1024, then by bisection; None where no rung is there.
    """
    low = 0.0
    for high in LADDER.tolist():
        if function(high) >= goal:
            break
        low = high
    else:
        return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) >= goal else (middle, high)
    return high


def advise(
    *,
    scale: float,
    target_probability: float,
    suggestion: Suggestion,
    dev_eer: float | None,
    baseline: Baseline | None,
    own_accuracy: float | None = None,
    means_accuracy: float | None = None,
) -> list[str]:
    """Warnings, as sentences: this teacher can teach, but worse than it might, or than nobody."""
    said = []
    if baseline is not None and dev_eer is not None and dev_eer >= baseline.eer:
        said.append(
            f"the teacher is worse ({dev_eer:.2%} EER) than this student trained alone ({baseline.eer:.2%}, "
            f"{baseline.name}): what it teaches will hardly help"
        )
    if own_accuracy is not None and means_accuracy is not None and own_accuracy < LESS * means_accuracy:
        said.append(
            f"the teacher's own rows are right for {own_accuracy:.1%} of the training views, means of its embeddings "
            f"for {means_accuracy:.1%}: --targets.head means may teach better"
        )
    if target_probability > SHARP:
        ways = [f"--kd-scale {suggestion.scale:.3g}"] if suggestion.scale else []
        ways += [f"--temperature {suggestion.temperature:.3g}"] if suggestion.temperature else []
        said.append(
            f"the head is sharp at scale {scale:g}: with a mean target probability of {target_probability:.3f}, "
            f"conventional KD (kld) gives the other speakers a weight of {1 - target_probability:.1%}"
            + (f"; {' or '.join(ways)} brings it to {1 - SENSIBLE:.0%}" if ways else "")
        )
    return said
