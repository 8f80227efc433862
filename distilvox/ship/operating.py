"""The threshold that a bundle ships with: from the trials that the run was judged on, without flattering itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distilvox.errors import UserError
from distilvox.evaluation.calibrate import cross_fit, threshold_at
from distilvox.evaluation.judge import EVALUATION, SCORES
from distilvox.files import read_json
from distilvox.ship.card import OperatingPoint


def operating_point(run: Path, false_accept: float, *, seed: int = 0) -> OperatingPoint:
    """The operating point of a judged run, for `distilvox.ship.export.export`.

    The threshold comes from all of the run's trials. The rates beside it do not: they are what such a
    threshold does to speakers that had no part in choosing it (`evaluation.calibrate.cross_fit`).

    Args:
        run: a run folder with `evaluation.json` and `scores.npz`.
        false_accept: the rate that the threshold is set for, a fraction.

    Raises:
        UserError: the run was not judged; too few trials for such a rate.
    """
    judged = read_json(
        run / EVALUATION, noun="evaluation", remedy="train with --trials, so that the run is judged"
    )
    if not (run / SCORES).is_file():
        raise UserError(f"no scores here: {run / SCORES} does not exist", remedy="train with --trials")
    with np.load(run / SCORES, allow_pickle=False) as held:
        scores, labels, who = held["scores"], held["labels"], held["speakers"]
        sides = who[held["enrol"]], who[held["test"]]
    threshold = threshold_at(scores, labels, false_accept)
    held_out = cross_fit(scores, labels, *sides, false_accept=false_accept, seed=seed)
    return OperatingPoint(
        threshold=threshold,
        false_accept_target=false_accept,
        trial_list=judged["trial_list"],
        trials=len(labels),
        target_trials=int(labels.sum()),
        false_accept=held_out.false_accept,
        miss=held_out.miss,
        how="threshold from all trials; rates by cross-fitting over halves of the speakers",
    )
