"""What the report's figures are made of: laws of thinning, smoothing, projection and escaping."""

from __future__ import annotations

import html
import json

import numpy as np
import pytest

from distilvox.evaluation.metrics import curve_min_dcf, det_curve
from distilvox.report.curves import band, smooth
from distilvox.report.det import least_cost, thin
from distilvox.report.figures import label
from distilvox.report.groups import trimmed
from distilvox.report.map import near_and_far, principal_plane
from distilvox.report.page import embedded
from distilvox.report.tsne import affinities, tsne


def test_thin_curves_keep_to_the_curve(rng: np.random.Generator) -> None:
    labels = rng.random(4000) < 0.2
    curve = det_curve(labels + rng.normal(size=4000), labels)
    few = thin(curve, 50)
    assert 25 < len(few.p_miss) <= 50
    points = set(zip(curve.p_miss.tolist(), curve.p_fa.tolist(), strict=True))
    assert set(zip(few.p_miss.tolist(), few.p_fa.tolist(), strict=True)) <= points
    p_fa, p_miss = least_cost(curve, 0.01)
    assert (0.01 * p_miss + 0.99 * p_fa) / 0.01 == pytest.approx(curve_min_dcf(curve, p_target=0.01))
    perfect = thin(det_curve(np.array([0.0, 1.0]), np.array([0, 1])))
    assert len(perfect.p_miss) > 0


def test_smoothing(rng: np.random.Generator) -> None:
    values = rng.normal(size=60)
    values[[0, 7, 30]] = np.nan
    ours = smooth(values, 6)
    slow = [np.nanmean(values[max(k - 3, 0) : k + 4]) for k in range(60)]
    np.testing.assert_allclose(ours, slow, atol=1e-12)
    assert np.isnan(smooth(np.array([np.nan, np.nan]), 2)).all()
    assert smooth(np.array([]), 1).size == 0


def test_principal_plane_is_that_of_the_covariance(rng: np.random.Generator) -> None:
    points = rng.normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    flat, share = principal_plane(points)
    largest = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    np.testing.assert_allclose(flat.var(axis=0, ddof=1), largest[:2])
    np.testing.assert_allclose(share, largest[:2] / largest.sum())
    np.testing.assert_allclose(principal_plane(points[::-1])[0][::-1], flat)
    assert principal_plane(np.ones((3, 1)))[0].tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("text", ["<b>x</b>", "a & b", "x<br>y", "&lt;"])
def test_labels_read_back(text: str) -> None:
    assert not set("<>") & set(label(text))
    assert html.unescape(label(text)) == text


def test_labels_are_one_short_line() -> None:
    assert label("a\n b") == "a b"
    assert label("x" * 99, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("text", ["</script>", "<!--", "&", "\u2028", "é"])
def test_embedded_json_reads_back(text: str) -> None:
    made = embedded({text: [text, float("nan"), 1.5, np.inf]})
    assert not set("<>&\u2028") & set(made)
    assert json.loads(made) == {text: [text, None, 1.5, None]}


def test_a_band_goes_as_far_as_all_its_curves() -> None:
    long = (np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    grid, mean, least, most = band([long, (np.array([0.0, 2.0]), np.array([4.0, 4.0]))])
    assert grid.tolist() == [0, 1, 2]
    assert (least.tolist(), mean.tolist(), most.tolist()) == ([0, 1, 2], [2, 2.5, 3], [4, 4, 4])


def test_affinities_have_the_perplexity_asked_for(rng: np.random.Generator) -> None:
    points = rng.normal(size=(30, 4))
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    p = affinities(distances, 7.0)
    np.testing.assert_allclose(p, p.T)
    assert p.sum() == pytest.approx(1)
    assert not np.diag(p).any()
    near = affinities(distances * 9.0, 7.0)
    np.testing.assert_allclose(near, p, atol=1e-9, err_msg="no unit of distance matters")
    equal = affinities(np.where(np.eye(5), 0.0, 3.0), 2.0)
    np.testing.assert_allclose(equal[~np.eye(5, dtype=bool)], 1 / 20)


def test_the_map_keeps_clusters_and_is_the_same_again(rng: np.random.Generator) -> None:
    owner = np.arange(5).repeat(8)
    points = 4 * rng.normal(size=(5, 20))[owner] + rng.normal(size=(40, 20))
    start, _ = principal_plane(points)
    places = tsne(points, start)
    far = ((places[:, None] - places[None]) ** 2).sum(axis=2) + np.diag(np.full(40, np.inf))
    assert (owner[far.argmin(axis=1)] == owner).all(), "the nearest on the map is of the same speaker"
    np.testing.assert_array_equal(places, tsne(points, start))
    assert np.isfinite(tsne(np.ones((6, 3)), np.zeros((6, 2)))).all(), "points in one place"


def test_near_and_far(rng: np.random.Generator) -> None:
    units = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rows = near_and_far(units, np.array([0, 0, 1]), ["a", "b"])
    assert rows[0] == ("a", 2, 1.0, 0.0)
    assert rows[1][:2] == ("b", 1)
    assert np.isnan(rows[1][2])


@pytest.mark.parametrize(
    ("name", "student", "count", "left"),
    [
        ("resnet-s.nskd-4", "resnet-s", 1809, "nskd-4"), ("nskd-k50", "xvector-s", 50, "nskd"),
        ("50.none", "xvector-s", 50, "none"), ("kld-4", "xvector-s", 50, "kld-4"),
        ("xvector-s", "xvector-s", None, ""), ("big-xvector-sharp", "xvector-s", 5, "big-xvector-sharp"),
        ("speakers=1600.cosine-10", "a", 1600, "cosine-10"),
    ],
)  # fmt: skip
def test_what_is_left_of_a_name(name: str, student: str, count: int | None, left: str) -> None:
    assert trimmed(name, student, count) == left
