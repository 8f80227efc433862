"""Batches: a position is a step; ranks share what one would see; the thread dies with its generator."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilvox.corpus.store import CorpusWriter
from distilvox.errors import UserError
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.batches import (
    Views,
    batches,
    epoch_order,
    make_views,
    read_crop,
    step_indices,
    steps_per_epoch,
)
from distilvox.views.draws import ViewConfig, view_speakers

BANK = synthetic_bank(2, seconds=0.2)
RICH: dict[str, Any] = {"speeds": (0.9, 1.0, 1.1), "noise_probability": 0.6, "room_probability": 0.3}
CONFIG = ViewConfig(seed=5, seconds=0.1, **RICH)


class Made:
    """A corpus in memory: utterance i holds i·10⁻² s more than 0.05 s of noise; two speakers."""

    sample_rate = 16_000
    speakers = ("ann", "bob")

    def __init__(self, utterances: int) -> None:
        rng = np.random.default_rng(utterances)
        self.samples = 800 + 160 * np.arange(utterances, dtype=np.int64)
        self.labels = np.arange(utterances, dtype=np.int64) % 2
        self.waves = [rng.integers(-9000, 9000, n).astype(np.int16) for n in self.samples]

    def __len__(self) -> int:
        return len(self.waves)

    def address(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.uint64) * np.uint64(1_000_003)

    def crop(self, index: int, start: int, length: int) -> np.ndarray:
        assert 0 <= start <= start + length <= self.samples[index]
        return self.waves[index][start : start + length]


CORPUS = Made(23)


class Broken(Made):
    def crop(self, index: int, start: int, length: int) -> np.ndarray:
        raise OSError("the disk is gone")


def run(corpus: Made = CORPUS, **options: Any) -> list:
    given: dict[str, Any] = {"epochs": 3, "batch_size": 6, **options}
    return list(batches(corpus, CONFIG, BANK, **given))


def alike(a: Views, b: Views) -> bool:
    return (
        torch.equal(a.waves, b.waves)
        and torch.equal(a.labels, b.labels)
        and np.array_equal(a.utterances, b.utterances)
    )


@pytest.mark.parametrize("length", [1, 5, 6, 13, 40])
@pytest.mark.parametrize("start", [0, 3, 4])
def test_a_crop_wraps_around(start: int, length: int) -> None:
    corpus = Made(1)
    corpus.waves, corpus.samples = [np.arange(5, dtype=np.int16)], np.array([5])
    assert read_crop(corpus, 0, start, length).tolist() == [(start + n) % 5 for n in range(length)]


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_an_epoch_is_a_permutation(n: int) -> None:
    assert sorted(epoch_order(n, seed=0, epoch=0)) == list(range(n))


def test_orders_differ_by_seed_and_epoch_and_are_fair() -> None:
    orders = np.stack([epoch_order(50, seed=s, epoch=e) for s in range(20) for e in range(20)])
    assert len(np.unique(orders, axis=0)) == 400
    # the mean place of every utterance is the middle: 5 standard errors of a uniform place
    assert np.abs(orders.argsort(axis=1).mean(axis=0) - 24.5).max() < 5 * np.sqrt((50**2 - 1) / 12 / 400)


def test_steps_and_epochs_are_counted() -> None:
    seen = run()
    assert [(b.step, b.epoch) for b in seen] == [(i, i // 3) for i in range(9)]
    for epoch in range(3):
        used = np.concatenate([b.views.utterances for b in seen if b.epoch == epoch])
        assert used.size == np.unique(used).size == 18
    for batch in seen:
        assert batch.views.waves.shape == (6, 1600)
        assert batch.views.waves.isfinite().all()
        assert batch.views.labels.tolist() == CORPUS.labels[batch.views.utterances].tolist()


@pytest.mark.parametrize("start", [0, 1, 4, 8, 9])
def test_resuming_at_any_step_gives_the_same_bits(start: int) -> None:
    whole, rest = run(), run(start_step=start)
    assert [b.step for b in rest] == list(range(start, 9))
    assert all(alike(a.views, b.views) for a, b in zip(whole[start:], rest, strict=True))


def test_a_later_stage_shows_the_epochs_that_would_have_come() -> None:
    whole, later = run(epochs=3), run(epochs=1, first_epoch=2, start_step=1)
    tail = [batch for batch in whole if batch.epoch == 2][1:]
    assert len(tail) == len(later) > 0
    assert [(batch.step, batch.epoch) for batch in later] == [(1 + k, 2) for k in range(len(later))]
    assert all(alike(a.views, b.views) for a, b in zip(tail, later, strict=True))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_one(world: int) -> None:
    whole, parts = run(), [run(rank=rank, world_size=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        shares = [part[step].views for part in parts]
        assert np.concatenate([s.utterances for s in shares]).tolist() == batch.views.utterances.tolist()
        together = torch.cat([share.waves for share in shares])
        torch.testing.assert_close(together, batch.views.waves, atol=2e-6, rtol=0)


def test_a_small_corpus_gives_one_smaller_batch() -> None:
    assert steps_per_epoch(23, 6) == 3
    assert steps_per_epoch(5, 6) == 1
    assert steps_per_epoch(5, 6, world_size=2) == 1
    assert [b.views.utterances.size for b in run(Made(5))] == [5, 5, 5]
    for n, size, world in ((1, 6, 1), (0, 6, 1), (9, 1, 1), (3, 6, 4)):
        with pytest.raises(UserError, match="too few utterances"):
            steps_per_epoch(n, size, world)


@pytest.mark.parametrize(("n", "size", "world"), [(5, 6, 2), (23, 6, 4), (23, 7, 3), (3, 6, 2)])
def test_any_number_of_ranks_shares_the_batch_of_one(n: int, size: int, world: int) -> None:
    assert steps_per_epoch(n, size, world) == steps_per_epoch(n, size)
    whole = step_indices(n, 1, seed=0, batch_size=size)
    shares = [step_indices(n, 1, seed=0, batch_size=size, rank=r, world_size=world) for r in range(world)]
    assert np.concatenate(shares).tolist() == whole.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_view_shown_is_the_one_asked_for() -> None:
    seen = run(view_of=lambda epoch: epoch % 2)
    bank = DeviceBank.place(BANK, 1600)
    for batch in seen:
        alone = make_views(CORPUS, batch.views.utterances, batch.epoch % 2, CONFIG, bank)
        assert alike(batch.views, alone)
        assert not torch.equal(alone.waves, make_views(CORPUS, alone.utterances, 9, CONFIG, BANK).waves)


def test_a_cached_view_can_be_made_in_any_batch() -> None:
    everyone = make_views(CORPUS, np.arange(23), 1, CONFIG, BANK)
    views = make_views(CORPUS, np.array([20, 3, 11]), 1, CONFIG, BANK)
    torch.testing.assert_close(views.waves, everyone.waves[[20, 3, 11]], atol=2e-6, rtol=0)
    assert make_views(CORPUS, np.arange(0), 1, CONFIG, BANK).waves.shape == (0, 1600)


def test_the_real_store_gives_the_views_of_its_samples(tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "corpus")
    for index, wave in enumerate(CORPUS.waves):
        writer.add(f"u{index:02}", CORPUS.speakers[index % 2], "s", wave)
    stored = writer.finish()

    class InMemory(Made):
        def address(self) -> np.ndarray:
            return stored.address()

    views = make_views(stored, np.arange(23), 1, CONFIG, BANK)
    assert alike(views, make_views(InMemory(23), np.arange(23), 1, CONFIG, BANK))


def test_plain_views_are_the_samples_themselves() -> None:
    views = make_views(CORPUS, np.array([22]), 0, CONFIG.without_augmentation(), Bank())
    wave = CORPUS.waves[22] / np.float32(32768)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 1600)
    assert (windows == views.waves[0].numpy()).all(axis=1).sum() == 1


def test_speeds_as_speakers_reach_the_labels() -> None:
    config = ViewConfig(seed=5, seconds=0.1, speed_is_new_speaker=True, **RICH)
    labels = make_views(CORPUS, np.arange(23), 0, config, BANK).labels
    assert (labels % 2).tolist() == CORPUS.labels.tolist()
    assert set((labels // 2).tolist()) == {0, 1, 2}
    assert labels.max() < len(view_speakers(config, CORPUS.speakers))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "distilvox-views"]


def test_the_thread_ends_with_its_generator() -> None:
    running = batches(CORPUS, CONFIG, BANK, epochs=1000, batch_size=6)
    assert threads() == []
    next(running)
    assert len(threads()) == 1
    running.close()
    assert threads() == []

    for _ in batches(CORPUS, CONFIG, BANK, epochs=1000, batch_size=6):
        break  # the generator is forgotten, not closed
    assert threads() == []

    def fail() -> None:
        for batch in batches(CORPUS, CONFIG, BANK, epochs=1000, batch_size=6):
            raise KeyError(batch.step)

    with pytest.raises(KeyError) as caught:
        fail()
    del caught  # whose frames hold the generator
    gc.collect()
    assert threads() == []


def test_few_batches_are_made_ahead() -> None:
    class Counting(Made):
        read = 0

        def crop(self, index: int, start: int, length: int) -> np.ndarray:
            self.read += 1
            return super().crop(index, start, length)

    corpus = Counting(23)
    running = batches(corpus, CONFIG, BANK, epochs=1000, batch_size=6)
    next(running)
    time.sleep(0.3)
    assert 6 < corpus.read <= 6 * 5
    running.close()


def test_what_fails_in_the_thread_is_raised_here_with_its_place() -> None:
    with pytest.raises(OSError, match="the disk is gone") as caught:
        run(Broken(23))
    assert "crop" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert threads() == []


def test_what_does_not_fit_is_refused_at_the_call() -> None:
    with pytest.raises(UserError, match="bad rank"):
        batches(CORPUS, CONFIG, BANK, epochs=1, batch_size=6, rank=2, world_size=2)
    with pytest.raises(UserError, match="bad first step"):
        batches(CORPUS, CONFIG, BANK, epochs=1, batch_size=6, start_step=-1)
    with pytest.raises(UserError, match="does not suit these views"):
        batches(CORPUS, CONFIG, Bank(sample_rate=8000), epochs=1, batch_size=6)
    with pytest.raises(UserError, match="does not suit these views"):
        make_views(CORPUS, np.arange(2), 0, CONFIG, DeviceBank.place(BANK, 1599))
