"""Likelihood ratios from several features, against the one-score case, brute force, and laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.calibrate import cllr, fit_llr
from distilvox.evaluation.llr import actual_dcf, best_ratios, fit_logistic, min_cllr, reliability
from distilvox.evaluation.metrics import min_dcf


def gaussian(rng: np.random.Generator, n: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Two normal classes of unit variance, two apart: the true ratio is 2 x - 2."""
    labels = rng.random(n) < 0.3
    return rng.standard_normal(n) + 2 * labels, labels


def test_one_feature_is_the_known_case(rng: np.random.Generator) -> None:
    scores, labels = gaussian(rng)
    for prior in (0.5, 0.05):
        np.testing.assert_allclose(
            fit_logistic(scores[:, None], labels, prior=prior), fit_llr(scores, labels, prior), rtol=1e-6
        )


def test_the_true_ratio_is_found(rng: np.random.Generator) -> None:
    scores, labels = gaussian(rng, 40_000)
    noise = rng.standard_normal(len(scores))
    weights = fit_logistic(np.stack([scores, noise], axis=1), labels)
    np.testing.assert_allclose(weights, [2, 0, -2], atol=0.12)


def test_the_fit_does_not_depend_on_the_unit_of_a_feature(rng: np.random.Generator) -> None:
    scores, labels = gaussian(rng)
    table = np.stack([scores, rng.random(len(scores))], axis=1)
    first, second = (fit_logistic(table * unit, labels, ridge=1e-3) for unit in ([1, 1], [100, 0.01]))
    np.testing.assert_allclose(first[:2], second[:2] * [100, 0.01], rtol=1e-5)


def test_a_fit_that_would_be_infinite_is_refused() -> None:
    labels = np.arange(10) >= 5
    with pytest.raises(UserError, match="do not overlap"):
        fit_logistic(np.arange(10.0)[:, None], labels)
    with pytest.raises(UserError, match="the same in all trials"):
        fit_logistic(np.ones((10, 1)), labels)


def test_no_rising_map_is_cheaper_than_the_best(rng: np.random.Generator) -> None:
    """Against every rising map onto a grid of ratios."""
    scores, labels = np.array([1, 2, 2, 3, 4, 5.0]), np.array([0, 1, 0, 0, 1, 1], bool)
    least = min_cllr(scores, labels)
    grid = [-4.0, -1.0, -0.5, 0.0, 0.5, 1.0, 4.0]
    _, place = np.unique(scores, return_inverse=True)
    found = [cllr(np.array(m)[place], labels) for m in itertools.combinations_with_replacement(grid, 5)]
    assert least <= min(found)
    assert least == pytest.approx(cllr(np.clip(best_ratios(scores, labels), -50, 50), labels), abs=1e-9)


def test_laws(rng: np.random.Generator) -> None:
    scores, labels = gaussian(rng)
    a, b = fit_llr(scores, labels)
    ratios = a * scores + b
    assert min_cllr(scores, labels) == pytest.approx(min_cllr(np.exp(scores), labels), abs=1e-12)
    assert min_cllr(scores, labels) <= cllr(ratios, labels) <= min_cllr(scores, labels) + 0.02
    rising = best_ratios(scores, labels)[np.argsort(scores)]
    assert np.all(rising[1:] >= rising[:-1])
    assert min_cllr(np.zeros(len(labels)), labels) == pytest.approx(1)
    assert min_cllr(labels.astype(float), labels) == 0
    for p in (0.01, 0.05, 0.5):
        assert min_dcf(ratios, labels, p_target=p) <= actual_dcf(ratios, labels, p_target=p)
        assert actual_dcf(ratios, labels, p_target=p) <= min_dcf(ratios, labels, p_target=p) + 0.1
    assert actual_dcf(np.full(len(labels), -99.0), labels, p_target=0.01) == pytest.approx(1)


def test_true_ratios_lie_on_the_diagonal(rng: np.random.Generator) -> None:
    scores, labels = gaussian(rng, 60_000)
    points = reliability(2 * scores - 2, labels)
    assert sum(count for _, _, count in points) == len(labels)
    assert len(points) == 10
    assert all(found == pytest.approx(stated, abs=0.05) for stated, found, _ in points)
    bold = reliability(6 * scores - 6, labels)
    assert max(abs(found - stated) for stated, found, _ in bold) > 0.1
