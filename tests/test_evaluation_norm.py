"""AS-norm equals the published numbers and the written-out loop, and obeys its laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation import norm
from distilvox.evaluation.norm import as_norm, cohort_statistics, speaker_means
from distilvox.evaluation.score import cosine_scores
from tests.reference import asnorm as reference


def test_equals_the_published_implementation(golden: Callable[[str], Any]) -> None:
    truth = golden("asnorm")
    rng = np.random.default_rng(11)
    embeddings, cohort = rng.standard_normal((12, 8)), rng.standard_normal((50, 8))
    mean, deviation = cohort_statistics(embeddings, cohort, top=truth["top_n"])
    np.testing.assert_allclose(mean, truth["mean"], atol=1e-12)
    np.testing.assert_allclose(deviation, truth["std"], atol=1e-12)
    enrol, test = (side.ravel() for side in np.indices((12, 12)))
    found = as_norm(cosine_scores(embeddings, enrol, test), enrol, test, mean, deviation)
    np.testing.assert_allclose(found.reshape(12, 12), truth["asnorm"], rtol=1e-10)


@pytest.mark.parametrize("block", [1, 100, 1 << 21])
@pytest.mark.parametrize("top", [2, 7, 23])
def test_equals_the_loop_for_any_block(
    rng: np.random.Generator, block: int, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "BLOCK_VALUES", block)
    embeddings = rng.standard_normal((9, 5)).astype(np.float32)
    cohort = rng.standard_normal((23, 5)).astype(np.float32)
    enrol, test = rng.integers(0, 9, (2, 31))
    statistics = cohort_statistics(embeddings, cohort, top=top)
    found = as_norm(cosine_scores(embeddings, enrol, test), enrol, test, *statistics)
    np.testing.assert_allclose(found, reference.as_norm(embeddings, enrol, test, cohort, top), rtol=1e-9)


def test_affine_maps_of_the_cosines_change_nothing(rng: np.random.Generator) -> None:
    scores = rng.uniform(-1, 1, 40)
    enrol, test = rng.integers(0, 6, (2, 40))
    mean, deviation = rng.uniform(0, 0.5, 6), rng.uniform(0.1, 0.2, 6)
    found = as_norm(scores, enrol, test, mean, deviation)
    moved = as_norm(3 * scores - 0.7, enrol, test, 3 * mean - 0.7, 3 * deviation)
    np.testing.assert_allclose(moved, found, rtol=1e-12)
    np.testing.assert_array_equal(as_norm(scores, test, enrol, mean, deviation), found)


def test_the_order_and_the_lengths_of_the_cohort_change_nothing(rng: np.random.Generator) -> None:
    embeddings, cohort = rng.standard_normal((4, 6)), rng.standard_normal((30, 6))
    plain = cohort_statistics(embeddings, cohort, top=8)
    other = rng.permutation(cohort) * rng.uniform(0.1, 9, (30, 1))
    np.testing.assert_allclose(cohort_statistics(embeddings * 5, other, top=8), plain, rtol=1e-12)


def test_a_centre_is_taken_off_both_sides(rng: np.random.Generator) -> None:
    embeddings, cohort = rng.standard_normal((4, 6)), rng.standard_normal((30, 6))
    centre = rng.standard_normal(6)
    found = cohort_statistics(embeddings, cohort, top=8, centre=centre)
    np.testing.assert_allclose(
        found, cohort_statistics(embeddings - centre, cohort - centre, top=8), rtol=1e-12
    )


def test_no_embeddings_have_no_statistics(rng: np.random.Generator) -> None:
    mean, deviation = cohort_statistics(np.zeros((0, 6)), rng.standard_normal((30, 6)), top=8)
    nothing = np.zeros(0, dtype=np.int64)
    assert as_norm(np.zeros(0), nothing, nothing, mean, deviation).shape == (0,)


def test_a_cohort_speaker_is_the_mean_of_its_unit_embeddings() -> None:
    embeddings = np.array([[2.0, 0.0], [0.0, 5.0], [3.0, 0.0]])
    np.testing.assert_allclose(speaker_means(embeddings, np.array([1, 1, 0])), np.array([[1, 0], [0.5, 0.5]]))
    with pytest.raises(UserError, match=r"no utterance\n  got:     label 1"):
        speaker_means(embeddings, np.array([0, 2, 2]))


@pytest.mark.parametrize(
    ("top", "cohort", "message"),
    [
        (1, np.eye(6), "at least the speakers that count"),
        (7, np.eye(6), r"top 7 of 6 cohort speakers"),
        (3, np.eye(5), r"differ in size\n  got:     6 and 5"),
        (3, np.ones((5, 6)), r"embedding 0 is equally near to all of its 3 nearest"),
        (2, np.zeros((3, 6)), "embedding 0 is zero"),
    ],
)
def test_what_cannot_be_normalised_is_refused(top: int, cohort: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cohort_statistics(np.arange(1.0, 13.0).reshape(2, 6), cohort, top=top)
