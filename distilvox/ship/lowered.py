"""Is the 8-bit model as good as the float32 one where it matters? Both on the same trials, near the threshold.

A mean cosine of 0.99 between their embeddings says little: what counts is whether errors grow and whether decisions
turn. A model that loses more than `MOST_LOSS`, or turns more decisions than `MOST_FLIPS`, is not shipped unasked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distilvox.errors import UserError
from distilvox.evaluation.confidence import number_speakers, paired_bootstrap
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.metrics import eer_threshold, min_dcf
from distilvox.evaluation.score import cosine_scores
from distilvox.ship.calibrating import interval

MOST_LOSS = 0.03
"""Of the EER, relative."""

MOST_FLIPS = {"target": 0.03, "non_target": 0.005}
"""Share of the trials of each class whose decision at the threshold is another one in 8 bits."""

PRIORS = (0.01, 0.05)


def compare(full: np.ndarray, lowered: np.ndarray, judge: Judge, threshold: float | None) -> dict[str, Any]:
    """What 8 bits cost on trials, for the card.

    Args:
        full, lowered: embeddings [U, D] of the trials' utterances in float32 and in 8 bits.
        judge: the trials.
        threshold: of the model; None: the one where float32 errs alike on both classes.

    Returns:
        trial_list, trials, speakers, threshold; eer and min_dcf of both; relative (growth of the EER) and flips of
        both classes, each with its 95 % interval over speakers.
    """
    labels = np.asarray(judge.trials.labels, bool)
    enrol, test, speakers = number_speakers(labels, judge.enrol_speaker, judge.test_speaker)
    scores = [cosine_scores(each, judge.trials.enrol, judge.trials.test) for each in (full, lowered)]
    pair = paired_bootstrap([scores[0]], [scores[1]], labels, judge.enrol_speaker, judge.test_speaker)
    at = eer_threshold(scores[0], labels) if threshold is None else threshold
    turned = (scores[0] > at) != (scores[1] > at)
    flips = {}
    for name, rows in (("target", labels), ("non_target", ~labels)):
        low, high = interval(turned[rows], enrol[rows], test[rows])
        flips[name] = {"share": float(turned[rows].mean()), "low": low, "high": high}
    costs = [{f"{p:g}": min_dcf(some, labels, p_target=p) for p in PRIORS} for some in scores]
    return {
        "trial_list": judge.trials.name,
        "trials": len(labels),
        "speakers": speakers,
        "threshold": at,
        "eer": {"float32": pair.eer_a, "int8": pair.eer_b},
        "min_dcf": {"float32": costs[0], "int8": costs[1]},
        "relative": {"growth": pair.relative, "low": pair.relative_low, "high": pair.relative_high},
        "flips": flips,
    }


def faults(found: dict[str, Any]) -> list[str]:
    """Why the 8-bit model should not ship, from what `compare` found; nothing where it may."""
    eer, growth = found["eer"], found["relative"]["growth"]
    grown = eer["int8"] > eer["float32"] if growth is None else growth > MOST_LOSS
    said = (
        [f"an EER of {eer['int8']:.2%} instead of {eer['float32']:.2%}, at most {MOST_LOSS:.0%} more"]
        if grown
        else []
    )
    for name, most in MOST_FLIPS.items():
        if (share := found["flips"][name]["share"]) > most:
            words = name.replace("_", "-")
            said.append(f"{share:.2%} of the decisions on {words} trials are others, at most {most:.1%}")
    return said


def check(found: dict[str, Any], *, force: bool) -> str:
    """A note for the card: empty, or what was shipped by force.

    Raises:
        UserError: the 8-bit model loses too much, and `force` is not given.
    """
    said = faults(found)
    if said and not force:
        raise UserError(
            "the 8-bit model is not as good as the float32 one: no bundle was written",
            got="; ".join(said),
            remedy="give --corpus with more speech like that of the trials, or ship it all the same: --force",
            exit_code=1,
        )
    return f"shipped by force: {'; '.join(said)}" if said else ""
