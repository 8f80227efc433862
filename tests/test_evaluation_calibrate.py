from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from distilvox.errors import UserError
from distilvox.evaluation.calibrate import cllr, cross_fit, fit_llr, threshold_at
from distilvox.evaluation.metrics import eer

Trials = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def trials(rng: np.random.Generator) -> Trials:
    """All pairs of 80 speakers and 10 target trials of each."""
    a, b = np.triu_indices(80, 1)
    own = np.repeat(np.arange(80), 10)
    enrol, test = np.concatenate([own, a]), np.concatenate([own, b])
    labels = enrol == test
    return rng.standard_normal(len(labels)) + 2.5 * labels, labels, enrol, test


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29, 0.5, 0.99])
@pytest.mark.parametrize("tied", [False, True])
def test_smallest_threshold_that_keeps_the_rate(trials: Trials, rate: float, tied: bool) -> None:
    scores, labels, *_ = trials
    scores = np.round(scores, 1) if tied else scores
    threshold = threshold_at(scores, labels, rate)
    others = scores[~labels]
    assert (others > threshold).mean() <= rate
    assert (others > np.nextafter(threshold, -np.inf)).mean() > rate


def test_rounding_does_not_lose_a_trial() -> None:
    scores, labels = np.arange(101.0), np.arange(101) == 100
    assert 0.29 * 100 < 29
    assert (scores[:100] > threshold_at(scores, labels, 0.29)).sum() == 29


def test_too_few_non_target_trials(trials: Trials) -> None:
    scores, labels, *_ = trials
    with pytest.raises(UserError, match=r"(?s)rate of 0.001.*got: +3160 non-target.*at least 10000,"):
        threshold_at(scores, labels, 0.001)
    few = np.concatenate([np.flatnonzero(labels), np.flatnonzero(~labels)[:1000]])
    assert threshold_at(scores[few], labels[few], 0.01) > 0
    with pytest.raises(UserError, match="999 non-target trials"):
        threshold_at(scores[few[:-1]], labels[few[:-1]], 0.01)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_bad_rate(trials: Trials, rate: float) -> None:
    with pytest.raises(UserError, match="false_accept is a rate"):
        threshold_at(*trials[:2], rate)


def test_cross_fit_gives_about_the_rate_on_other_speakers(trials: Trials) -> None:
    scores, labels, *_ = trials
    result = cross_fit(*trials, false_accept=0.1, seed=0)
    assert result.false_accept == pytest.approx(0.1, abs=0.04)
    assert result.miss == pytest.approx(
        (scores[labels] <= np.quantile(scores[~labels], 0.9)).mean(), abs=0.03
    )
    assert result.target_trials == labels.sum()  # every target trial lies inside one half
    assert result.trials == labels.sum() + 2 * (40 * 39 // 2)
    assert cross_fit(*trials, false_accept=0.1, seed=0) == result
    assert cross_fit(*trials, false_accept=0.1, seed=1) != result


@pytest.mark.parametrize("folds", [2, 4])
def test_threshold_never_sees_the_trials_it_is_judged_on(trials: Trials, folds: int) -> None:
    """Raise all scores of one speaker: only the threshold that judges this speaker stays where it was."""
    scores, labels, enrol, test = trials
    before = cross_fit(*trials, false_accept=0.1, seed=0, folds=folds)
    mine = (enrol == 0) | (test == 0)
    after = cross_fit(scores + 9 * mine, labels, enrol, test, false_accept=0.1, seed=0, folds=folds)
    same = [x == y for x, y in zip(before.thresholds, after.thresholds, strict=True)]
    assert same.count(True) == 1


def test_cross_fit_bad_input(trials: Trials) -> None:
    with pytest.raises(UserError, match="this many folds cannot split"):
        cross_fit(*trials, false_accept=0.1, seed=0, folds=1)
    with pytest.raises(UserError, match="folds cannot split"):
        cross_fit(*trials, false_accept=0.1, seed=0, folds=41)
    with pytest.raises(UserError, match="780 non-target trials"):
        cross_fit(*trials, false_accept=0.01, seed=0)
    scores, labels, enrol, test = trials
    kept = ~labels | (enrol == 3)
    with pytest.raises(UserError, match="too few trials inside one part of the speakers"):
        cross_fit(scores[kept], labels[kept], enrol[kept], test[kept], false_accept=0.1, seed=0)


def test_llr_of_gaussians_is_known(rng: np.random.Generator) -> None:
    """Two normal classes of one variance: the log-likelihood ratio is (m1 - m0) (s - (m0 + m1) / 2) / v."""
    labels = rng.random(60_000) < 0.2
    scores = 0.1 * (rng.standard_normal(60_000) + 2 * labels) + 0.3
    a, b = fit_llr(scores, labels)
    assert a == pytest.approx(20, rel=0.03)
    assert b == pytest.approx(-20 * 0.4, rel=0.03)
    for prior in (0.01, 0.9):
        assert fit_llr(scores, labels, prior) == pytest.approx((a, b), rel=0.1)


@pytest.mark.parametrize("prior", [0.05, 0.5])
def test_fit_is_the_minimum_a_general_optimiser_finds(trials: Trials, prior: float) -> None:
    scores, labels, *_ = trials
    offset = np.log(prior / (1 - prior))

    def cost(value: np.ndarray) -> float:
        z = value[0] * scores + value[1] + offset
        return prior * np.logaddexp(0, -z[labels]).mean() + (1 - prior) * np.logaddexp(0, z[~labels]).mean()

    best = minimize(cost, np.zeros(2), tol=1e-10)
    ours = np.array(fit_llr(scores, labels, prior))
    np.testing.assert_allclose(ours, best.x, atol=1e-3)
    assert cost(ours) <= best.fun + 1e-12


def test_calibration_laws(trials: Trials) -> None:
    scores, labels, *_ = trials
    a, b = fit_llr(scores, labels)
    moved = fit_llr(5 * scores - 100, labels)
    np.testing.assert_allclose(moved[0] * (5 * scores - 100) + moved[1], a * scores + b, atol=1e-8)
    down = fit_llr(-scores, labels)
    assert down == pytest.approx((-a, b), abs=1e-8)
    assert 0 < cllr(a * scores + b, labels) < min(1, cllr(scores, labels))
    assert fit_llr(a * scores + b, labels) == pytest.approx((1, 0), abs=1e-8)
    assert eer(a * scores + b, labels) == eer(scores, labels)


def test_cllr_values() -> None:
    labels = np.array([True, False, False])
    assert cllr(np.zeros(3), labels) == pytest.approx(1)
    assert cllr(np.array([500.0, -500.0, -900.0]), labels) == pytest.approx(0, abs=1e-15)
    assert cllr(np.array([-1000.0, 1000.0, 1000.0]), labels) == pytest.approx(1000 / np.log(2))


def test_separated_classes_have_no_finite_calibration() -> None:
    scores, labels = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    with pytest.raises(UserError, match="do not overlap"):
        fit_llr(scores, labels)
    with pytest.raises(UserError, match="do not overlap"):
        fit_llr(-scores, labels)
    with pytest.raises(UserError, match="prior"):
        fit_llr(scores, labels, 1.0)
