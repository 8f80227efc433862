from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.evaluation.embed import embed_corpus, equal_length_batches


@dataclass(frozen=True)
class Waves:
    """The least that embedding needs of a corpus."""

    waves: list[np.ndarray]
    sample_rate: int = 100

    @property
    def utterances(self) -> list[str]:
        return [f"u{k}" for k in range(len(self.waves))]

    @property
    def samples(self) -> np.ndarray:
        return np.array([len(wave) for wave in self.waves])

    def wave(self, index: int) -> np.ndarray:
        return self.waves[index]


@pytest.fixture
def corpus(rng: np.random.Generator) -> Waves:
    waves = [rng.integers(-32768, 32768, n).astype(np.int16) for n in (80, 50, 80, 120, 50, 80, 50, 51)]
    for wave in waves:
        wave.setflags(write=False)  # as the corpus's memory map
    return Waves(waves)


def moments(waves: Tensor) -> Tensor:
    return torch.stack([waves.mean(1), waves.square().mean(1), waves[:, 0], waves[:, -1]], dim=1)


@pytest.mark.parametrize("seconds", [0.01, 1.0, 1.6, 60.0])
def test_order_is_restored_and_a_batch_equals_its_items(corpus: Waves, seconds: float) -> None:
    indices = np.array([7, 0, 3, 1, 1, 5, 2, 6])
    done: list[int] = []
    ours = embed_corpus(
        moments, corpus, indices, device="cpu", seconds_per_batch=seconds, progress=done.append
    )
    alone = [moments(torch.tensor(corpus.waves[k]).float()[None] / 32768)[0].numpy() for k in indices]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, np.stack(alone), atol=1e-6)
    assert sum(done) == len(indices)


def test_batches_have_one_length_and_a_limit(corpus: Waves) -> None:
    seen = []

    def spy(waves: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        assert waves.dtype == torch.float32
        assert float(waves.abs().max()) <= 1
        seen.append(tuple(waves.shape))
        return moments(waves)

    embed_corpus(spy, corpus, np.arange(8), device="cpu", seconds_per_batch=1.7)
    assert sorted(seen) == [(1, 51), (1, 80), (1, 120), (2, 80), (3, 50)]
    assert seen[0] == (1, 120)


def test_batches_cover_everything_once(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 6, 40)
    batches = list(equal_length_batches(lengths, 7))
    assert sorted(np.concatenate(batches)) == list(range(40))
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or lengths[batch].sum() <= 7
    assert list(equal_length_batches(np.zeros(0, dtype=np.int64), 7)) == []


def test_long_utterances_are_cut_only_on_request(corpus: Waves) -> None:
    lengths: list[int] = []

    def spy(waves: Tensor) -> Tensor:
        lengths.append(waves.shape[1])
        return moments(waves)

    cut = embed_corpus(spy, corpus, np.array([3, 1]), device="cpu", max_seconds=0.6)
    assert lengths == [60, 50]
    assert cut[0, 3] == np.float32(corpus.waves[3][59] / 32768)


def test_bad_input(corpus: Waves) -> None:
    with pytest.raises(UserError, match="no utterances to embed"):
        embed_corpus(moments, corpus, np.zeros(0, dtype=np.int64), device="cpu")
    with pytest.raises(UserError, match="not in the corpus"):
        embed_corpus(moments, corpus, np.array([8]), device="cpu")
    with pytest.raises(UserError, match="not in the corpus"):
        embed_corpus(moments, corpus, np.array([-1]), device="cpu")
    with pytest.raises(UserError, match="seconds_per_batch"):
        embed_corpus(moments, corpus, np.array([0]), device="cpu", seconds_per_batch=0.0)
    with pytest.raises(UserError, match="max_seconds"):
        embed_corpus(moments, corpus, np.array([0]), device="cpu", max_seconds=0.0)
    with pytest.raises(UserError, match="one embedding for each utterance"):
        embed_corpus(lambda waves: waves.mean(1), corpus, np.array([0]), device="cpu")


def test_a_non_finite_embedding_names_its_utterance(corpus: Waves) -> None:
    def breaks(waves: Tensor) -> Tensor:
        return torch.where(waves[:, :1] == corpus.waves[5][0] / 32768, torch.nan, moments(waves))

    with pytest.raises(UserError, match="the embedding of u5 is not finite"):
        embed_corpus(breaks, corpus, np.arange(8), device="cpu")
