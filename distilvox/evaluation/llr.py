"""Scores as evidence: what a log-likelihood ratio should be, what it costs as it is, what it could have cost at best.

`fit_llr` and `cllr` in `calibrate` are the one-score case; here a ratio may rest on several features of a trial,
such as how long its recordings are.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require
from distilvox.evaluation.metrics import check_trials

STEPS = 100


def fit_logistic(
    features: Float[np.ndarray, "n d"], labels: np.ndarray, *, prior: float = 0.5, ridge: float = 0.0
) -> Float[np.ndarray, " d+1"]:
    """Weights w and offset b so that features @ w + b is a natural log-likelihood ratio: logistic regression.

    Each class carries its prior's weight whatever its number of trials; at prior 0.5 and without a ridge it
    minimises `cllr`.

    Args:
        features: [n, d], each with some spread.
        labels: [n] True for target trials.
        prior: probability of a target trial that the fit is weighted for, in (0, 1).
        ridge: penalty on the squared weights, of features brought to spread 1, beside a mean cost of about 0.1.

    Returns:
        [d + 1]: w, then b.

    Raises:
        UserError: a feature is constant, or the classes do not overlap, so that the best weights are infinite.
    """
    require(0 < prior < 1, "prior is a probability", got=prior, allowed="0 < prior < 1")
    _, labels = check_trials(features[:, 0], labels)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    require(bool((spread > 0).all()), "a feature to calibrate on is the same in all trials")
    x = np.column_stack([(features - middle) / spread, np.ones(len(features))])
    weight = np.where(labels, prior / labels.sum(), (1 - prior) / (~labels).sum())
    sign, offset = np.where(labels, 1.0, -1.0), math.log(prior / (1 - prior))
    penalty = np.append(np.full(features.shape[1], ridge), 0.0)

    def cost(value: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -sign * (x @ value + offset)) + penalty @ value**2 / 2)

    value = np.zeros(x.shape[1])
    for _ in range(STEPS):
        posterior = 0.5 * (1 + np.tanh((x @ value + offset) / 2))
        gradient = x.T @ (weight * (posterior - labels)) + penalty * value
        if float(np.abs(gradient).max()) < 1e-10:
            break
        curvature = (x * (weight * posterior * (1 - posterior))[:, None]).T @ x + np.diag(penalty + 1e-14)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while cost(value - size * step) > cost(value) and size > 1e-6:
            size /= 2
        value = value - size * step
    if ridge == 0 and bool((sign * (x @ value + offset) > 0).all()):
        raise UserError(
            "scores of target and non-target trials do not overlap: no finite calibration fits them",
            got=f"{len(labels)} trials, {int(labels.sum())} of them target",
            remedy="use a longer or harder trial list",
        )
    w = value[:-1] / spread
    return np.append(w, value[-1] - w @ middle)


def best_ratios(scores: np.ndarray, labels: np.ndarray) -> Float[np.ndarray, " n"]:
    """The cheapest log-likelihood ratios [n] that rise with the score: pool adjacent violators; may be infinite.

    Source: Brümmer and du Preez, "The PAV algorithm optimizes binary proper scoring rules", 2009.
    """
    scores, labels = check_trials(scores, labels)
    values, group = np.unique(scores, return_inverse=True)
    targets = np.bincount(group, labels, len(values))
    counts = np.bincount(group, minlength=len(values)).astype(np.float64)
    blocks: list[
        list[float]
    ] = []  # targets, trials, distinct scores of each; shares rise from block to block
    for block in np.stack([targets, counts, np.ones(len(values))], axis=1).tolist():
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = [a + b for a, b in zip(last, block, strict=True)]
        blocks.append(block)
    pooled = np.array(blocks)
    share = np.repeat(pooled[:, 0] / pooled[:, 1], pooled[:, 2].astype(np.int64))[group]
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log1p(-share) - math.log(labels.sum() / (~labels).sum())


def min_cllr(scores: np.ndarray, labels: np.ndarray) -> float:
    """The least `calibrate.cllr` that any rising map of these scores has on these trials, in bits; 0 … 1."""
    ratios = best_ratios(scores, labels)
    labels = np.asarray(labels).astype(bool)
    target, other = np.logaddexp(0, -ratios[labels]).mean(), np.logaddexp(0, ratios[~labels]).mean()
    return float((target + other) / 2 / math.log(2))


def actual_dcf(
    ratios: np.ndarray, labels: np.ndarray, *, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> float:
    """Normalised detection cost of deciding by log-likelihood ratios at the threshold that theory gives.

    At least `metrics.min_dcf` of the same trials; equal to it where the ratios are what they claim to be.

    Args:
        ratios: [n] natural log-likelihood ratios; labels: [n] True for target trials.
        p_target, c_miss, c_fa: as for `metrics.min_dcf`.
    """
    require(0 < p_target < 1, "p_target is a probability", got=p_target, allowed="0 < p_target < 1")
    ratios, labels = check_trials(ratios, labels)
    miss_cost, fa_cost = c_miss * p_target, c_fa * (1 - p_target)
    accepted = ratios > math.log(fa_cost / miss_cost)
    cost = miss_cost * (~accepted[labels]).mean() + fa_cost * accepted[~labels].mean()
    return float(cost / min(miss_cost, fa_cost))


def reliability(ratios: np.ndarray, labels: np.ndarray, *, bins: int = 10) -> list[tuple[float, float, int]]:
    """How true stated probabilities are, at even odds: (stated, found, trials) of each bin that holds any.

    stated: mean probability of "same speaker" in the bin; found: share of target trials in it, each class
    counted as one half of all. On the diagonal, the ratios are what they claim to be.

    Args:
        ratios: [n] natural log-likelihood ratios; labels: [n] True for target trials.
        bins: of equal width in probability.
    """
    ratios, labels = check_trials(ratios, labels)
    stated = 0.5 * (1 + np.tanh(ratios / 2))
    weight = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    bin_of = np.minimum((stated * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    total = np.bincount(bin_of, weight, bins)
    said = np.bincount(bin_of, weight * stated, bins)
    true = np.bincount(bin_of, weight * labels, bins)
    return [
        (float(said[k] / total[k]), float(true[k] / total[k]), int(count[k])) for k in range(bins) if count[k]
    ]
