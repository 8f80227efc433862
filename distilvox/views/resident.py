"""Where the crops of a batch come from: the corpus's memory map, or a copy of it on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from distilvox.views.augment import Group, stack_groups
from distilvox.views.draws import Draws

SHARE = 1 / 3
"""Of the device's free memory, what a corpus may take: the rest is the training's."""

BLOCK = 1 << 24
"""Samples in one copy to the device."""


@runtime_checkable
class Utterances(Protocol):
    """What views need of a corpus of U utterances."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def speakers(self) -> Sequence[str]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def samples(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def address(self) -> np.ndarray: ...
    def crop(self, index: int, start: int, length: int) -> np.ndarray: ...


def read_crop(corpus: Utterances, index: int, start: int, length: int) -> Int16[np.ndarray, " L"]:
    """Samples [start, start + length) of an utterance; past its end it begins again, as often as needed."""
    samples = int(corpus.samples[index])
    if start + length <= samples:
        return corpus.crop(index, start, length)
    return np.resize(np.roll(corpus.crop(index, 0, samples), -start), length)


def read_groups(
    corpus: Utterances, indices: Int64[np.ndarray, " B"], draws: Draws, device: torch.device
) -> list[Group]:
    """The drawn crops, read one by one, stacked speed by speed and copied to the device."""
    places = zip(indices.tolist(), draws.start.tolist(), draws.length.tolist(), strict=True)
    return stack_groups([read_crop(corpus, *place) for place in places], draws, device)


@dataclass(frozen=True)
class Resident:
    """The samples of a whole corpus on a device. `Resident.place` makes it.

    Args:
        audio: every utterance, back to back: S samples.
        offsets, lengths: of the U utterances, in samples, on the same device.
    """

    audio: Int16[Tensor, " S"]
    offsets: Int64[Tensor, " U"]
    lengths: Int64[Tensor, " U"]

    @classmethod
    def place(cls, corpus: Utterances, device: torch.device | str) -> Resident:
        """Copies all samples to the device, through a buffer of 32 MB (or the longest utterance)."""
        lengths = np.array(corpus.samples, np.int64)
        ends = np.cumsum(lengths)
        audio = torch.empty(int(lengths.sum()), dtype=torch.int16, device=device)
        first = 0
        while first < len(lengths):
            begin = int(ends[first] - lengths[first])
            last = max(first + 1, int(np.searchsorted(ends, begin + BLOCK, side="right")))
            waves = [corpus.crop(k, 0, int(lengths[k])) for k in range(first, last)]
            audio[begin : int(ends[last - 1])] = torch.from_numpy(np.concatenate(waves))
            first = last
        return cls(audio, torch.from_numpy(ends - lengths).to(device), torch.from_numpy(lengths).to(device))

    def read_groups(self, indices: Int64[np.ndarray, " B"], draws: Draws) -> list[Group]:
        """The drawn crops, as the function of this name reads them: one gather a speed, on the device."""
        groups = []
        for rows in draws.rows_by_speed():
            where = np.stack([indices[rows], draws.start[rows]])
            groups.append(Group(rows, self.gather(torch.from_numpy(where), int(draws.length[rows[0]]))))
        return groups

    def gather(self, where: Int64[Tensor, "2 R"], length: int) -> Int16[Tensor, "R L"]:
        """Crops of one length; past the end of its utterance a crop begins again.

        Args:
            where: on the CPU: the utterances, and the first sample of each crop.
        """
        index, start = where.to(self.audio.device)
        within = start[:, None] + torch.arange(length, device=self.audio.device)
        return self.audio[self.offsets[index, None] + within % self.lengths[index, None]]


def reside(corpus: Utterances, device: torch.device) -> tuple[Resident | None, str]:
    """Copies a corpus to a GPU where it fits, and says in one line where crops come from, and why.

    It fits in a third of the memory that is free on the GPU. On the CPU the memory map serves as well.
    """
    if device.type == "cpu":
        return None, "crops come from the memory map"
    size, (free, _) = 2 * int(corpus.samples.sum()), torch.cuda.mem_get_info(device)
    if not fits(size, free):
        return None, (
            f"crops come from the memory map: the corpus, {size / 1e9:.1f} GB, is more than a third of the "
            f"{free / 1e9:.1f} GB free on {device}"
        )
    return Resident.place(
        corpus, device
    ), f"crops come from {device}: the whole corpus, {size / 1e9:.1f} GB, is there"


def fits(size: int, free: int) -> bool:
    """Whether a corpus of `size` bytes may live on a device with `free` bytes free."""
    return size <= SHARE * free
