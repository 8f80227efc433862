"""Batches of views: the order of an epoch, the slice of a rank, prepared a few ahead of their use.

A position is the number of a step and nothing else: starting at any step gives the batches that an
uninterrupted run would have seen there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from distilvox.errors import require
from distilvox.views.augment import DeviceBank, augment_groups
from distilvox.views.bank import Bank
from distilvox.views.draws import ORDER, Draws, ViewConfig, draw, hash64, view_labels
from distilvox.views.resident import Resident, Utterances, read_crop, read_groups

__all__ = [
    "Batch",
    "Utterances",
    "Views",
    "batches",
    "draw_views",
    "epoch_order",
    "make_views",
    "read_crop",
    "step_indices",
    "steps_per_epoch",
    "whole_batch",
]

PREFETCH = 3


class Views(NamedTuple):
    """A batch: waves on the device, labels among `view_speakers` there too, and whose views these are."""

    waves: Float32[Tensor, "B N"]
    labels: Int64[Tensor, " B"]
    utterances: Int64[np.ndarray, " B"]


class Batch(NamedTuple):
    step: int
    epoch: int
    views: Views


def make_views(
    corpus: Utterances,
    indices: Int64[np.ndarray, " B"],
    view: int | Int64[np.ndarray, " B"],
    config: ViewConfig,
    bank: Bank | DeviceBank,
    device: torch.device | str = "cpu",
    resident: Resident | None = None,
) -> Views:
    """View `view` of each utterance in `indices`, drawn and applied.

    A `Bank` is placed on `device` for this call; place it once (`DeviceBank.place`) for many calls.
    Crops are gathered from `resident`, the corpus on that device, if there is one: the same bits.

    Raises:
        UserError: the bank has another sample rate, or was placed for views of another length.
    """
    samples = config.samples(corpus.sample_rate)
    placed = bank if isinstance(bank, DeviceBank) else DeviceBank.place(bank, samples, device)
    _suits(placed, corpus, config)
    draws = draw_views(corpus, indices, view, config, placed)
    if resident is None:
        groups = read_groups(corpus, indices, draws, placed.device)
    else:
        groups = resident.read_groups(indices, draws)
    labels = view_labels(config, corpus.labels[indices], draws, speakers=len(corpus.speakers))
    waves = augment_groups(groups, draws, placed)
    return Views(waves, torch.from_numpy(labels).to(waves.device), indices)


def draw_views(
    corpus: Utterances,
    indices: Int64[np.ndarray, " B"],
    view: int | Int64[np.ndarray, " B"],
    config: ViewConfig,
    bank: DeviceBank,
) -> Draws:
    """What `make_views` draws: view `view` of each utterance in `indices`."""
    return draw(
        config,
        corpus.address()[indices],
        corpus.samples[indices],
        view,
        noises=len(bank.lengths),
        rooms=bank.rooms.shape[0],
        sample_rate=corpus.sample_rate,
    )


def _suits(bank: DeviceBank, corpus: Utterances, config: ViewConfig) -> None:
    samples = config.samples(corpus.sample_rate)
    require(
        bank.sample_rate == corpus.sample_rate and bank.samples == samples,
        "the bank of noises does not suit these views",
        got=f"{bank.sample_rate} Hz, {bank.samples} samples",
        allowed=f"{corpus.sample_rate} Hz, {samples} samples",
    )


@lru_cache(maxsize=2)  # every step of an epoch asks for it, and a million keys take a while to sort
def epoch_order(n: int, *, seed: int, epoch: int) -> Int64[np.ndarray, " n"]:
    """The order of n utterances in an epoch: a permutation drawn from (seed, epoch) alone. Read-only."""
    order = np.argsort(hash64(seed, ORDER, epoch, np.arange(n)), kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def whole_batch(n: int, batch_size: int, world_size: int = 1) -> int:
    """The size of a batch over all ranks: `batch_size`, or n if there are fewer utterances. As on one rank.

    Raises:
        UserError: fewer than 2 utterances a batch, or than one for each rank.
    """
    size = min(batch_size, n)
    require(
        size >= max(2, world_size),
        "too few utterances for a batch",
        got=f"{n} utterances, batch size {batch_size}, {world_size} process(es)",
        allowed="at least 2 utterances a batch, and one for each process",
    )
    return size


def steps_per_epoch(n: int, batch_size: int, world_size: int = 1) -> int:
    """Whole batches in an epoch, at least 1; the utterances left over come in another epoch's order."""
    return n // whole_batch(n, batch_size, world_size)


def step_indices(
    n: int, step: int, *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> Int64[np.ndarray, " B"]:
    """The utterances of one rank at one step; those of all ranks, in turn, are one rank's alone.

    Shares differ by one utterance at most.
    """
    size = whole_batch(n, batch_size, world_size)
    epoch, place = divmod(step, n // size)
    batch = epoch_order(n, seed=seed, epoch=epoch)[place * size : (place + 1) * size]
    return np.array_split(batch, world_size)[rank]


def batches(
    corpus: Utterances,
    config: ViewConfig,
    bank: Bank,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    start_step: int = 0,
    first_epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
    view_of: Callable[[int], int] = int,
    resident: Resident | None = None,
) -> Generator[Batch, None, None]:
    """Yields (step, epoch, views) from `start_step` to the end of the last epoch, made ahead in one thread.

    Args:
        epochs: passes over the corpus, counted from step 0.
        batch_size: utterances a step over all ranks together.
        seed: of the epochs' orders; the views have their own, `config.seed`.
        start_step: the first to yield.
        first_epoch: the number of step 0's epoch: a later stage of a run has orders and views of its own.
        view_of: epoch → the view shown in it; the epoch itself by default, `lambda e: e % V` for
            a teacher's cache of V views.
        resident: the same corpus on the device, where crops are gathered then.

    Raises:
        UserError: at the call, if the batch, the ranks or the bank do not fit. What fails in the
            thread is raised where the batch is awaited, with the thread's traceback.
    """
    require(0 <= rank < world_size, "bad rank", got=rank, allowed=f"0 to {world_size - 1}")
    require(start_step >= 0, "bad first step", got=start_step, allowed="0 and above")
    per_epoch = steps_per_epoch(len(corpus), batch_size, world_size)
    placed = DeviceBank.place(bank, config.samples(corpus.sample_rate), device)
    _suits(placed, corpus, config)

    def produce() -> Iterator[Batch]:
        for step in range(start_step, epochs * per_epoch):
            indices = step_indices(
                len(corpus), first_epoch * per_epoch + step, seed=seed, batch_size=batch_size, rank=rank,
                world_size=world_size,
            )  # fmt: skip
            epoch = first_epoch + step // per_epoch
            views = make_views(corpus, indices, view_of(epoch), config, placed, resident=resident)
            yield Batch(step, epoch, views)

    return _ahead(produce)


def _ahead(produce: Callable[[], Iterator[Batch]]) -> Generator[Batch, None, None]:
    """Runs an iterator a few items ahead in a thread, which ends with the generator, however that ends."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(PREFETCH)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in produce():
                put(item)
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="distilvox-views", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
