from __future__ import annotations

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation import score
from distilvox.evaluation.score import cosine_scores


def naive(embeddings: np.ndarray, enrol: np.ndarray, test: np.ndarray) -> list[float]:
    rows = embeddings.astype(np.float64)
    return [float(rows[a] @ rows[b] / np.sqrt((rows[a] ** 2).sum() * (rows[b] ** 2).sum()))
            for a, b in zip(enrol, test, strict=True)]  # fmt: skip


@pytest.fixture
def pairs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    embeddings = rng.standard_normal((9, 5)).astype(np.float32)
    return embeddings, rng.integers(0, 9, 101), rng.integers(0, 9, 101)


@pytest.mark.parametrize("block", [1, 35, 1 << 18])
def test_equals_the_plain_formula_for_any_block(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "BLOCK_VALUES", block)
    scores = cosine_scores(*pairs)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, naive(*pairs), atol=1e-14)


def test_laws(pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    embeddings, enrol, test = pairs
    scores = cosine_scores(embeddings, enrol, test)
    np.testing.assert_array_equal(scores, cosine_scores(embeddings, test, enrol))
    lengths = np.float32(2.0) ** np.arange(-4, 5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(scores, cosine_scores(embeddings * lengths, enrol, test), atol=1e-14)
    np.testing.assert_allclose(cosine_scores(embeddings, enrol, enrol), 1, atol=1e-14)
    tiny = embeddings.astype(np.float64) * 1e-200
    np.testing.assert_allclose(scores, cosine_scores(tiny, enrol, test), atol=1e-14)


def test_centre_is_taken_off_first(pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    embeddings, enrol, test = pairs
    centre = np.full(5, 2.0)
    shifted = embeddings.astype(np.float64) + centre
    expected = cosine_scores(embeddings, enrol, test)
    np.testing.assert_allclose(cosine_scores(shifted, enrol, test, centre=centre), expected, atol=1e-13)
    assert not np.allclose(cosine_scores(shifted, enrol, test), expected)


def test_no_trials(pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert cosine_scores(pairs[0], nothing, nothing).shape == (0,)


@pytest.mark.parametrize(("value", "kind"), [(0.0, "zero"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_rows_without_direction_are_named(value: float, kind: str) -> None:
    embeddings = np.ones((4, 3), dtype=np.float32)
    embeddings[2] = value
    with pytest.raises(UserError, match=rf"embedding 2 is {kind}: it has no direction"):
        cosine_scores(embeddings, np.array([0]), np.array([1]))


def test_bad_trials() -> None:
    embeddings = np.eye(3)
    with pytest.raises(UserError, match="trial 1 names a test embedding"):
        cosine_scores(embeddings, np.array([0, 1]), np.array([0, 3]))
    with pytest.raises(UserError, match="trial 0 names an enrol embedding"):
        cosine_scores(embeddings, np.array([-1]), np.array([0]))
    with pytest.raises(UserError, match="integers"):
        cosine_scores(embeddings, np.array([0.0]), np.array([0]))
    with pytest.raises(UserError, match="two sides"):
        cosine_scores(embeddings, np.array([0]), np.array([0, 1]))
    with pytest.raises(UserError, match="differ in size"):
        cosine_scores(embeddings, np.array([0]), np.array([1]), centre=np.ones(2))
    with pytest.raises(UserError, match="zero after centring"):
        cosine_scores(embeddings, np.array([0]), np.array([1]), centre=np.array([0.0, 0.0, 1.0]))
