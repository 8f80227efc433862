"""Error rates of a set of scored trials: DET curve, equal error rate, minimum detection cost.

Conventions, the same everywhere in distilvox.evaluation:

- A trial is accepted when its score is *greater than* the threshold.
- Trials with equal scores move together: no threshold can part them, so nothing here depends on the order
  of tied trials. (Tools that sort trial by trial, WeSpeaker among them, agree wherever scores are distinct.)
- Between two neighbouring operating points the EER is interpolated linearly, as in NIST's scoring tools.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from distilvox.errors import UserError, require


class DetCurve(NamedTuple):
    """Operating points by rising threshold, from "accept all" (threshold -inf) to "reject all".

    p_miss: share of target trials rejected, rising from 0 to 1. p_fa: share of non-target trials
    accepted, falling from 1 to 0. thresholds: -inf, then every distinct score.
    """

    p_miss: Float[np.ndarray, " K"]
    p_fa: Float[np.ndarray, " K"]
    thresholds: Float[np.ndarray, " K"]


def check_trials(
    scores: np.ndarray, labels: np.ndarray
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The check at the door: finite scores, labels 0 or 1, one label a score, both classes present."""
    scores = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(labels)
    require(scores.ndim == 1, "scores must be one-dimensional", got=f"shape {scores.shape}")
    require(
        scores.shape == labels.shape,
        "every score needs one label",
        got=f"{len(scores)} scores, labels of shape {labels.shape}",
    )
    require(len(scores) > 0, "there are no trials to score", remedy="give a trial list with both classes")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(scores)} scores are not finite, the first is score {bad[0]} (from 0)",
            got=scores[bad[0]],
            remedy="look for zero or non-finite embeddings",
        )
    odd = np.flatnonzero((labels != 0) & (labels != 1))
    if len(odd):
        raise UserError(
            f"{len(odd)} trial labels are neither target nor non-target, the first is trial {odd[0]}",
            got=labels[odd[0]],
            allowed="1 or True (target), 0 or False (non-target)",
        )
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        raise UserError(
            f"all {len(labels)} trials are {'target' if labels[0] else 'non-target'} trials",
            allowed="both target and non-target trials: no error rate is defined without",
            remedy="give a trial list with both classes",
        )
    return scores, labels


def block_ends(ordered: Float[np.ndarray, " n"]) -> np.ndarray:
    """The last position of every run of equal values in an ascending array [n]."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)


def det_curve(scores: np.ndarray, labels: np.ndarray) -> DetCurve:
    """All operating points of the trials.

    Args:
        scores: [n] finite, higher means more alike.
        labels: [n] True or 1 for target trials; both classes must occur.

    >>> det_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1])).p_miss.tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    scores, labels = check_trials(scores, labels)
    order = np.argsort(scores)
    ordered = scores[order]
    ends = block_ends(ordered)
    rejected_targets = np.cumsum(labels[order])[ends]
    rejected = ends + 1
    targets = int(labels.sum())
    others = len(labels) - targets
    accepted_others = others - (rejected - rejected_targets)
    return DetCurve(
        p_miss=np.concatenate([[0.0], rejected_targets / targets]),
        p_fa=np.concatenate([[1.0], accepted_others / others]),
        thresholds=np.concatenate([[-np.inf], ordered[ends]]),
    )


def interpolate(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Where the line between two (p_miss, p_fa) points meets p_miss = p_fa.

    `before` has p_miss < p_fa, `after` has p_miss >= p_fa.
    """
    (miss0, fa0), (miss1, fa1) = before, after
    share = (miss1 - fa1) / ((fa0 - fa1) - (miss0 - miss1))
    return float(miss1 + share * (miss0 - miss1))


def _crossing(curve: DetCurve) -> int:
    """The first point with p_miss >= p_fa; never 0, where p_miss is 0 and p_fa is 1."""
    return int(np.argmax(curve.p_miss >= curve.p_fa))


def curve_eer(curve: DetCurve) -> tuple[float, float]:
    """(EER, its threshold) of a DET curve; see `eer` and `eer_threshold`."""
    k = _crossing(curve)
    before = (float(curve.p_miss[k - 1]), float(curve.p_fa[k - 1]))
    after = (float(curve.p_miss[k]), float(curve.p_fa[k]))
    return interpolate(before, after), float(curve.thresholds[k])


def eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Equal error rate in [0, 1]: where the share of misses equals the share of false accepts.

    0 when all targets score above all non-targets, 0.5 by chance and when all scores are equal.
    """
    return curve_eer(det_curve(scores, labels))[0]


def eer_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The smallest score that, as a threshold, misses at least as large a share as it falsely accepts."""
    return curve_eer(det_curve(scores, labels))[1]


def min_dcf(
    scores: np.ndarray, labels: np.ndarray, *, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Minimum normalised detection cost in [0, 1] (NIST SRE).

    The least of c_miss p_target p_miss + c_fa (1 - p_target) p_fa over all thresholds, divided by the cost
    of the better blind decision, min(c_miss p_target, c_fa (1 - p_target)): 1 means no better than blind.

    Args:
        p_target: prior probability of a target trial, in (0, 1).
        c_miss, c_fa: costs of a miss and of a false accept, greater than 0.
    """
    return curve_min_dcf(det_curve(scores, labels), p_target=p_target, c_miss=c_miss, c_fa=c_fa)


def curve_min_dcf(curve: DetCurve, *, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """`min_dcf` of a DET curve already at hand."""
    require(0 < p_target < 1, "p_target is a probability", got=p_target, allowed="0 < p_target < 1")
    require(c_miss > 0 and c_fa > 0, "costs are positive", got=(c_miss, c_fa), allowed="greater than 0")
    miss_cost, fa_cost = c_miss * p_target, c_fa * (1 - p_target)
    cost = miss_cost * curve.p_miss + fa_cost * curve.p_fa
    return float(cost.min() / min(miss_cost, fa_cost))
