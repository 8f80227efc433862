"""From scores to decisions: thresholds set for a false-accept rate, and scores turned into likelihood ratios.

A threshold is chosen on some speakers and judged on others: a rate read off the very trials that the
threshold was chosen on is too good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require
from distilvox.evaluation.confidence import number_speakers
from distilvox.evaluation.metrics import check_trials

FEWEST_FALSE_ACCEPTS = 10
"""A threshold rests on at least this many non-target trials above it; with fewer it is mostly luck."""


@dataclass(frozen=True)
class CrossFit:
    """Rates of thresholds on speakers that did not choose them, pooled over the folds.

    thresholds: one a fold. trials, target_trials: how many trials the rates were measured on.
    """

    false_accept: float
    miss: float
    thresholds: tuple[float, ...]
    trials: int
    target_trials: int


def threshold_at(scores: np.ndarray, labels: np.ndarray, false_accept: float) -> float:
    """The smallest threshold with a share of at most `false_accept` of non-target trials above it.

    A pair is accepted when its score is greater than the threshold; tied trials count in full, so the share
    on these trials is never above the one asked for.

    Args:
        scores, labels: [n], as for `metrics.eer`.
        false_accept: rate in (0, 1).

    Raises:
        UserError: fewer than 10 / false_accept non-target trials: the threshold would rest on too few.
    """
    require(0 < false_accept < 1, "false_accept is a rate", got=false_accept, allowed="0 < false_accept < 1")
    scores, labels = check_trials(scores, labels)
    others = np.sort(scores[~labels])
    allowed = math.floor(false_accept * len(others) * (1 + 1e-12))  # 0.29 · 100 falls below 29
    if allowed < FEWEST_FALSE_ACCEPTS:
        needed = math.ceil(FEWEST_FALSE_ACCEPTS / false_accept * (1 - 1e-12))
        raise UserError(
            f"too few non-target trials to set a threshold for a false-accept rate of {false_accept:g}",
            got=f"{len(others)} non-target trials",
            allowed=f"at least {needed}, so that {FEWEST_FALSE_ACCEPTS} of them lie above the threshold",
            remedy=f"use a longer trial list, or a rate of {FEWEST_FALSE_ACCEPTS / len(others):.2g} or more",
        )
    return float(others[len(others) - 1 - allowed])


def cross_fit(
    scores: np.ndarray,
    labels: np.ndarray,
    enrol_speaker: Sequence[object] | np.ndarray,
    test_speaker: Sequence[object] | np.ndarray,
    *,
    false_accept: float,
    seed: int,
    folds: int = 2,
) -> CrossFit:
    """What a threshold set for `false_accept` does to speakers that had no part in setting it.

    The speakers are split at random into `folds` groups. Each group in turn is judged: trials inside it, at
    the threshold chosen on trials inside the others together. Trials across the border are not used.

    Args:
        scores, labels, enrol_speaker, test_speaker: [n], as for `confidence.bootstrap_eer`.
        folds: at least 2, at most half the number of speakers.

    Raises:
        UserError: too few trials remain inside a fold to choose a threshold, or to measure a rate.
    """
    scores, labels = check_trials(scores, labels)
    enrol, test, speakers = number_speakers(labels, enrol_speaker, test_speaker)
    require(
        2 <= folds <= speakers // 2,
        "this many folds cannot split the speakers",
        got=f"{folds} folds, {speakers} speakers",
        allowed="at least 2 folds, of at least 2 speakers each",
    )
    fold = np.random.default_rng(seed).permutation(np.arange(speakers) % folds)
    thresholds, accepted, rejected, targets, total = [], 0, 0, 0, 0
    for k in range(folds):
        choose = (fold[enrol] != k) & (fold[test] != k)
        judge = (fold[enrol] == k) & (fold[test] == k)
        for part, noun in ((choose, "choose a threshold"), (judge, "measure its rates")):
            require(
                bool(labels[part].any() and not labels[part].all()),
                f"too few trials inside one part of the speakers to {noun}",
                got=f"{int(labels[part].sum())} target trials of {int(part.sum())}",
                remedy="use a trial list with more speakers, or fewer folds",
            )
        threshold = threshold_at(scores[choose], labels[choose], false_accept)
        above, inside = scores[judge] > threshold, labels[judge]
        accepted += int((above & ~inside).sum())
        rejected += int((~above & inside).sum())
        targets += int(inside.sum())
        total += len(inside)
        thresholds.append(threshold)
    return CrossFit(accepted / (total - targets), rejected / targets, tuple(thresholds), total, targets)


def cllr(ratios: np.ndarray, labels: np.ndarray) -> float:
    """Cost of log-likelihood ratios, in bits, at least 0; 1 is what "always 0" costs.

    Args:
        ratios: [n] natural log-likelihood ratios of "same speaker" to "different speakers".
        labels: [n] True for target trials.

    Source: Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    ratios, labels = check_trials(ratios, labels)
    target = np.logaddexp(0, -ratios[labels]).mean()
    other = np.logaddexp(0, ratios[~labels]).mean()
    return float((target + other) / 2 / math.log(2))


def fit_llr(scores: np.ndarray, labels: np.ndarray, prior: float = 0.5) -> tuple[float, float]:
    """(a, b) so that a · score + b is a natural log-likelihood ratio: logistic regression.

    Each class carries its prior's weight whatever its number of trials; at prior 0.5 it minimises `cllr`.

    Args:
        scores, labels: [n], as for `metrics.eer`.
        prior: probability of a target trial that the fit is weighted for, in (0, 1).

    Raises:
        UserError: the classes do not overlap, so that the best a is infinite.
    """
    require(0 < prior < 1, "prior is a probability", got=prior, allowed="0 < prior < 1")
    scores, labels = check_trials(scores, labels)
    target, other = scores[labels], scores[~labels]
    if target.min() >= other.max() or target.max() <= other.min():
        raise UserError(
            "scores of target and non-target trials do not overlap: no finite calibration fits them",
            got=f"targets {target.min():g} to {target.max():g}, others {other.min():g} to {other.max():g}",
            remedy="use a longer or harder trial list",
        )
    middle, spread = float(scores.mean()), float(scores.std())
    x = np.stack([(scores - middle) / spread, np.ones_like(scores)], axis=1)
    weight = np.where(labels, prior / len(target), (1 - prior) / len(other))
    offset = math.log(prior / (1 - prior))
    sign = np.where(labels, 1.0, -1.0)

    def cost(value: Float[np.ndarray, " 2"]) -> float:
        return float(weight @ np.logaddexp(0, -sign * (x @ value + offset)))

    value = np.zeros(2)
    for _ in range(100):
        posterior = 0.5 * (1 + np.tanh((x @ value + offset) / 2))
        gradient = x.T @ (weight * (posterior - labels))
        curvature = (x * (weight * posterior * (1 - posterior))[:, None]).T @ x
        step = np.linalg.solve(curvature + 1e-14 * np.eye(2), gradient)
        size = 1.0
        while cost(value - size * step) > cost(value) and size > 1e-6:
            size /= 2
        value = value - size * step
        if float(np.abs(gradient).max()) < 1e-12:
            break
    a = float(value[0]) / spread
    return a, float(value[1]) - a * middle
