"""Scored trials → a calibration, judged on other people than those it was fitted on. Needs NumPy, and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distilvox.errors import UserError, require
from distilvox.evaluation.calibrate import cllr
from distilvox.evaluation.llr import actual_dcf, fit_logistic, min_cllr, reliability
from distilvox.evaluation.metrics import check_trials, eer, min_dcf
from distilvox.ship.calibration import (
    DURATIONS,
    FEATURES,
    LONGER,
    RATES,
    Calibration,
    Threshold,
    features,
)

FEWEST_FALSE_ACCEPTS = 10
"""Non-target trials above a threshold, and different pairs of people among them: with fewer it is mostly luck."""

FEWEST_SPEAKERS = 20
"""People in the trials of a threshold: an interval over fewer of them is too narrow."""

RIDGE = 1e-4
REPLICATES = 400


@dataclass(frozen=True)
class Scored:
    """n trials with their scores.

    Args:
        name: of the list.
        scores: [n]. labels: [n] True for target trials.
        shorter, longer: [n] seconds of sound of the two recordings.
        enrol, test: [n] speakers, as names or numbers.
    """

    name: str
    scores: np.ndarray
    labels: np.ndarray
    shorter: np.ndarray
    longer: np.ndarray
    enrol: np.ndarray
    test: np.ndarray

    def part(self, rows: np.ndarray) -> Scored:
        arrays = (self.scores, self.labels, self.shorter, self.longer, self.enrol, self.test)
        return Scored(self.name, *(array[rows] for array in arrays))

    @property
    def people(self) -> np.ndarray:
        return np.unique(np.concatenate([self.enrol, self.test]))

    @property
    def durations(self) -> np.ndarray:
        """[n] nominal durations; NaN for longer ones."""
        nominal = np.array([*(nominal for nominal, _ in DURATIONS), np.nan])
        return nominal[np.digitize(self.shorter, [below for _, below in DURATIONS])]


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and how it did on the trials that judged it. `figures`: see `judged`."""

    calibration: Calibration
    figures: dict[str, Any]


def calibrate(fit: Scored, judge: Scored | None = None, *, rates: Sequence[float] = RATES) -> Calibrated:
    """Fits likelihood ratios and thresholds on some trials, and judges them on others.

    Args:
        fit: the trials to fit on.
        judge: trials of other people; None: the people of `fit` are parted into halves, each judges what was
            fitted on the other, and all of them together make what ships.
        rates: of false accepts, for thresholds.

    Raises:
        UserError: one class of trials only, or both lists share people.
    """
    weights = fit_weights(fit)
    chosen = thresholds(fit, rates)
    if judge is not None:
        both = np.intersect1d(fit.people, judge.people)
        require(
            not len(both),
            f"{judge.name} may not judge what was fitted on {fit.name}: people are in both",
            got=f"{len(both)}, for instance {both[:1].tolist()}",
            remedy="judge on other people, or leave the second list out",
        )
        parts = [(weights, chosen, judge)]
    else:
        parts = [(fit_weights(some), thresholds(some, rates), others) for some, others in halves(fit)]
    ratios = np.concatenate([ratios_of(w, part) for w, _, part in parts])
    labels = np.concatenate([part.labels for _, _, part in parts])
    durations = np.concatenate([part.durations for _, _, part in parts])
    found = tuple(measured(k, chosen[k], parts) for k in range(len(chosen)))
    scores = np.concatenate([part.scores for _, _, part in parts])
    figures = judged(scores, ratios, labels, durations)
    done = Calibration(
        weights=weights,
        thresholds=found,
        fitted_on=fit.name,
        judged_on=fit.name if judge is None else judge.name,
        trials=len(fit.labels),
        target_trials=int(fit.labels.sum()),
        speakers=len(fit.people),
        cllr=figures["all"]["cllr"],
        min_cllr=figures["all"]["min_cllr"],
    )
    return Calibrated(done, figures)


def fit_weights(trials: Scored) -> dict[str, float]:
    """Weights of `FEATURES` and the offset; 0 for features that do not vary in these trials."""
    table = features(trials.scores, trials.shorter, trials.longer)
    varies = table.std(axis=0) > 1e-3
    varies[0] = True
    fitted = fit_logistic(table[:, varies], trials.labels, ridge=RIDGE)
    weights = dict.fromkeys(FEATURES, 0.0)
    weights.update(zip(np.array(FEATURES)[varies].tolist(), fitted[:-1].tolist(), strict=True))
    return {**weights, "offset": float(fitted[-1])}


def ratios_of(weights: dict[str, float], trials: Scored) -> np.ndarray:
    """Natural log-likelihood ratios [n]."""
    table = features(trials.scores, trials.shorter, trials.longer)
    return table @ np.array([weights[name] for name in FEATURES]) + weights["offset"]


def thresholds(trials: Scored, rates: Sequence[float]) -> list[Threshold]:
    """One for each duration and rate, or why there is none."""
    durations = trials.durations
    found = []
    for nominal in (*(nominal for nominal, _ in DURATIONS), LONGER):
        rows = np.isnan(durations) if nominal is None else durations == nominal
        found += [threshold(trials.part(rows), nominal, rate) for rate in rates]
    return found


def threshold(trials: Scored, nominal: float | None, rate: float) -> Threshold:
    """The smallest threshold with a share of at most `rate` of the non-target trials above it."""
    require(0 < rate < 1, "a false-accept rate is a share", got=rate, allowed="0 < rate < 1")
    others = trials.part(~trials.labels)
    number, people = len(others.scores), len(others.people)
    empty = Threshold(nominal, rate, None, trials=number, speakers=people)
    allowed = int(rate * number * (1 + 1e-12))
    if allowed < FEWEST_FALSE_ACCEPTS:
        needed = int(np.ceil(FEWEST_FALSE_ACCEPTS / rate * (1 - 1e-12)))
        return replace(empty, note=f"{number:,} trials of different people, at least {needed:,} are needed")
    if people < FEWEST_SPEAKERS:
        return replace(empty, note=f"{people} people, at least {FEWEST_SPEAKERS} are needed")
    order = np.argsort(others.scores)
    value = float(others.scores[order[number - 1 - allowed]])
    above = others.scores > value
    sides = np.sort(np.stack([others.enrol[above], others.test[above]]), axis=0)
    pairs = np.unique(sides, axis=1).shape[1]
    if pairs < FEWEST_FALSE_ACCEPTS:
        why = (
            f"its false accepts come from {pairs} pairs of people, at least {FEWEST_FALSE_ACCEPTS} are needed"
        )
        return replace(empty, note=why)
    return replace(empty, threshold=value)


def halves(trials: Scored) -> list[tuple[Scored, Scored]]:
    """(fit, judge) twice: the people parted in two at random, the same every time; trials across are left out."""
    people = trials.people
    side = dict(
        zip(people.tolist(), (np.random.default_rng(0).permutation(len(people)) % 2).tolist(), strict=True)
    )
    first, second = (
        np.array([side[name] for name in names.tolist()]) for names in (trials.enrol, trials.test)
    )
    parts = [trials.part((first == k) & (second == k)) for k in (0, 1)]
    for part in parts:
        if not part.labels.any() or part.labels.all():
            raise UserError(
                "too few trials to judge a calibration on other people than it was fitted on",
                got=f"{len(people)} people, {int(part.labels.sum())} target trials in one half of them",
                remedy="give more people and pairs, or a second list of other people to judge on",
            )
    return [(parts[0], parts[1]), (parts[1], parts[0])]


def measured(k: int, chosen: Threshold, parts: list[tuple[dict, list[Threshold], Scored]]) -> Threshold:
    """The threshold with what it did to people who did not set it, pooled over the parts that could set one."""
    if chosen.threshold is None:
        return chosen
    usable = [
        (set_there[k].threshold, part) for _, set_there, part in parts if set_there[k].threshold is not None
    ]
    if not usable:
        return replace(
            chosen, note="its rates could not be measured on other people: too few trials in each half"
        )
    accepted, labels, enrol, test = [], [], [], []
    for value, part in usable:
        durations = part.durations
        rows = np.isnan(durations) if chosen.seconds is None else durations == chosen.seconds
        accepted.append(part.scores[rows] > value)
        labels.append(part.labels[rows])
        enrol.append(part.enrol[rows])
        test.append(part.test[rows])
    above, target = np.concatenate(accepted), np.concatenate(labels)
    if target.all() or not target.any():
        return replace(chosen, note="its rates could not be measured on other people: too few trials of them")
    low, high = interval(above[~target], np.concatenate(enrol)[~target], np.concatenate(test)[~target])
    found, miss = float(above[~target].mean()), float((~above[target]).mean())
    return replace(chosen, false_accept=found, miss=miss, low=low, high=high)


def interval(above: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """95 % of the share of accepted non-target trials [n], over people drawn with replacement."""
    names, number = np.unique(np.concatenate([enrol, test]), return_inverse=True)
    first, second = number[: len(enrol)], number[len(enrol) :]
    size = len(names)
    pair = first * size + second
    total = np.bincount(pair, minlength=size * size).reshape(size, size).astype(np.float64)
    taken = np.bincount(pair, above, size * size).reshape(size, size)
    draws = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), REPLICATES).astype(np.float64)
    both = (np.einsum("rs,rs->r", draws @ table, draws) for table in (taken, total))
    some, of = both
    low, high = np.quantile(some[of > 0] / of[of > 0], [0.025, 0.975])
    return float(low), float(high)


def judged(
    scores: np.ndarray, ratios: np.ndarray, labels: np.ndarray, durations: np.ndarray
) -> dict[str, Any]:
    """Figures of all judged trials and of each duration: eer, cllr, min_cllr, dcf and min_dcf at two priors."""
    found: dict[str, Any] = {"all": figures(scores, ratios, labels)}
    for nominal in (*(nominal for nominal, _ in DURATIONS), LONGER):
        rows = np.isnan(durations) if nominal is None else durations == nominal
        if labels[rows].any() and not labels[rows].all():
            found["longer" if nominal is None else f"{nominal:g}"] = figures(
                scores[rows], ratios[rows], labels[rows]
            )
    points = [{"stated": s, "found": f, "trials": n} for s, f, n in reliability(ratios, labels)]
    return {**found, "reliability": points}


def figures(scores: np.ndarray, ratios: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    scores, labels = check_trials(scores, labels)
    return {
        "trials": len(labels),
        "target_trials": int(labels.sum()),
        "eer": eer(scores, labels),
        "cllr": cllr(ratios, labels),
        "min_cllr": min_cllr(ratios, labels),
        "dcf": {f"{p:g}": actual_dcf(ratios, labels, p_target=p) for p in (0.01, 0.05)},
        "min_dcf": {f"{p:g}": min_dcf(ratios, labels, p_target=p) for p in (0.01, 0.05)},
    }
