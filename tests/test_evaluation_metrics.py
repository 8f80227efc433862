from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.metrics import det_curve, eer, eer_threshold, min_dcf
from tests.reference import metrics as reference


@pytest.fixture(params=["distinct", "tied", "few"])
def trials(request: pytest.FixtureRequest, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = 7 if request.param == "few" else 151
    labels = rng.random(n) < 0.3
    labels[:2] = [True, False]
    scores = rng.standard_normal(n) + 1.2 * labels
    return (np.round(scores * 2) / 2 if request.param == "tied" else scores), labels


def test_golden_values(golden: Callable[[str], Any]) -> None:
    truth = golden("metrics")
    labels = np.arange(20_000) % 10 == 0
    scores = np.random.default_rng(7).standard_normal(20_000) + 2.5 * labels
    assert eer(scores, labels) == truth["eer"]
    assert eer_threshold(scores, labels) == truth["threshold"]
    for prior, value in truth["min_dcf"].items():
        # the golden rates come from sums of 1 / n: ours from counts; they part in the 15th digit
        assert min_dcf(scores, labels, p_target=float(prior)) == pytest.approx(value, rel=0, abs=1e-14)


def test_equals_trying_every_threshold(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    points = np.array(reference.det_points(scores, labels))
    for curve, column in zip(det_curve(scores, labels), points.T, strict=True):
        np.testing.assert_array_equal(curve, column)
    assert eer(scores, labels) == pytest.approx(reference.eer(scores, labels), abs=1e-14)
    for prior, c_miss, c_fa in [(0.01, 1.0, 1.0), (0.5, 1.0, 1.0), (0.9, 1.0, 10.0), (0.05, 10.0, 1.0)]:
        ours = min_dcf(scores, labels, p_target=prior, c_miss=c_miss, c_fa=c_fa)
        assert ours == pytest.approx(reference.min_dcf(scores, labels, prior, c_miss, c_fa), abs=1e-14)
        assert 0 <= ours <= 1


@pytest.mark.parametrize("rising", [np.exp, lambda s: 3 * s - 7, lambda s: s**3 + s])
def test_unchanged_under_any_increasing_map(
    trials: tuple[np.ndarray, np.ndarray], rising: Callable[[np.ndarray], np.ndarray]
) -> None:
    scores, labels = trials
    mapped = rising(scores)
    assert eer(mapped, labels) == eer(scores, labels)
    assert min_dcf(mapped, labels, p_target=0.05) == min_dcf(scores, labels, p_target=0.05)
    assert eer_threshold(mapped, labels) == pytest.approx(rising(np.array(eer_threshold(scores, labels))))


def test_swapped_classes_mirror(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    assert eer(-scores, ~labels) == pytest.approx(eer(scores, labels), abs=1e-14)
    assert eer(-scores, labels) == pytest.approx(1 - eer(scores, labels), abs=1e-14)
    mirrored = min_dcf(-scores, ~labels, p_target=0.9)
    assert mirrored == pytest.approx(min_dcf(scores, labels, p_target=0.1), abs=1e-14)
    curve, other = det_curve(scores, labels), det_curve(-scores, ~labels)
    np.testing.assert_allclose(other.p_miss, curve.p_fa[::-1], atol=1e-15)


def test_order_of_trials_does_not_matter(
    trials: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    scores, labels = trials
    for _ in range(5):
        order = rng.permutation(len(scores))
        assert eer(scores[order], labels[order]) == eer(scores, labels)
        assert eer_threshold(scores[order], labels[order]) == eer_threshold(scores, labels)


def test_perfect_chance_and_worst() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    rising = np.arange(5.0)
    assert eer(rising, labels) == 0
    assert min_dcf(rising, labels, p_target=0.01) == 0
    assert rising[2] <= eer_threshold(rising, labels) < rising[3]
    assert eer(-rising, labels) == 1
    assert min_dcf(-rising, labels, p_target=0.01) == 1
    assert eer(np.zeros(5), labels) == 0.5
    assert min_dcf(np.zeros(5), labels, p_target=0.01) == 1


def test_random_scores_are_chance(rng: np.random.Generator) -> None:
    labels = rng.random(20_000) < 0.5
    assert eer(rng.standard_normal(20_000), labels) == pytest.approx(0.5, abs=0.02)


def test_curve_goes_from_accept_all_to_reject_all(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    curve = det_curve(scores, labels)
    assert (curve.p_miss[0], curve.p_fa[0], curve.thresholds[0]) == (0, 1, -np.inf)
    assert (curve.p_miss[-1], curve.p_fa[-1], curve.thresholds[-1]) == (1, 0, scores.max())
    assert (np.diff(curve.p_miss) >= 0).all()
    assert (np.diff(curve.p_fa) <= 0).all()
    for k in range(1, len(curve.thresholds)):
        assert curve.p_fa[k] == (scores[~labels] > curve.thresholds[k]).mean()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "no trials"),
        ([0.1, 0.2], [1, 1], "all 2 trials are target"),
        ([0.1, 0.2], [0, 0], "all 2 trials are non-target"),
        ([0.1, 0.2, 0.3], [1, 0], "3 scores"),
        ([0.1, np.nan, np.inf], [1, 0, 1], r"2 of 3 scores are not finite, the first is score 1"),
        ([0.1, 0.2, 0.3], [1, 0, 2], "1 trial labels .* the first is trial 2"),
        ([[0.1, 0.2]], [[1, 0]], "one-dimensional"),
    ],
)
def test_bad_trials(scores: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        eer(np.array(scores), np.array(labels))
    with pytest.raises(UserError, match=message):
        min_dcf(np.array(scores), np.array(labels), p_target=0.01)


@pytest.mark.parametrize("options", [{"p_target": 0.0}, {"p_target": 1.0}, {"p_target": 0.5, "c_fa": 0.0}])
def test_bad_costs(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"probability|positive"):
        min_dcf(np.array([0.0, 1.0]), np.array([0, 1]), **options)
