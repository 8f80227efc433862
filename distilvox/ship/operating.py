"""The threshold that a bundle ships with: from the trials that the run was judged on, without flattering itself."""

from __future__ import annotations

from pathlib import Path

from distilvox.errors import UserError, require
from distilvox.evaluation.calibrate import cross_fit, threshold_at
from distilvox.evaluation.confidence import number_speakers
from distilvox.evaluation.judge import EVALUATION, load_scores
from distilvox.files import read_json
from distilvox.ship.card import OperatingPoint


class TooFewTrials(UserError):
    """The run is sound, and its trials do not support a threshold: it ships without one."""


def operating_point(run: Path, false_accept: float, *, seed: int = 0) -> OperatingPoint:
    """The operating point of a judged run, for `distilvox.ship.export.export`.

    The threshold comes from all of the run's trials. The rates beside it do not: they are what such a
    threshold does to speakers that had no part in choosing it (`evaluation.calibrate.cross_fit`).

    Args:
        run: a run folder with `evaluation.json` and `scores.npz`.
        false_accept: the rate that the threshold is set for, a fraction.

    Raises:
        UserError: the run was not judged, or its files contradict each other.
        TooFewTrials: too few trials or speakers for such a rate.
    """
    require(0 < false_accept < 1, "false_accept is a rate", got=false_accept, allowed="0 < false_accept < 1")
    judged = read_json(
        run / EVALUATION, noun="evaluation", remedy="train with --trials, so that the run is judged"
    )
    scores, labels, *sides = load_scores(run)
    require(
        judged["trials"] == len(labels),
        f"the evaluation of {run} and its scores are not of one judgement",
        got=f"{judged['trials']} trials, {len(labels)} scores",
        remedy="judge the run again",
    )
    number_speakers(labels.astype(bool), *sides)
    try:
        held_out = cross_fit(scores, labels, *sides, false_accept=false_accept, seed=seed)
    except UserError as error:
        raise TooFewTrials(
            f"{error.what} (one half of the speakers of {judged['trial_list']} sets it, the other half judges it)",
            got=error.got,
            allowed=error.allowed,
            remedy="judge the run on more trials of more speakers, or give a larger --false-accept",
        ) from error
    threshold = threshold_at(scores, labels, false_accept)
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
