"""Embeddings that may lie on disk, read a block at a time, and what is taken away before a cosine: the mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import require
from distilvox.teachers.ensemble import side_by_side

BLOCK = 8192
"""Embeddings in memory at a time, where all of them are gone through."""


@runtime_checkable
class Vectors(Protocol):
    """Embeddings [N, D] by their rows. A tensor is one; others read what they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Units:
    """Vectors of length 1, less `centre` where there is one: `centred` of what is asked for."""

    vectors: Vectors
    centre: Float[Tensor, " D"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.vectors.shape

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return centred(self.vectors[rows], self.centre)


@dataclass(frozen=True)
class SideBySide:
    """Several teachers' vectors of the same utterances as one, as an ensemble's are (`side_by_side`)."""

    parts: Sequence[Vectors]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), sum(part.shape[1] for part in self.parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Tensor) -> Tensor:
        return side_by_side([part[rows] for part in self.parts])


@dataclass(frozen=True)
class Chosen:
    """The vectors of some rows."""

    vectors: Vectors
    rows: Int[Tensor, " n"]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.vectors[self.rows[rows]]


def blocks(count: int, size: int = BLOCK) -> Iterator[Int[Tensor, " B"]]:
    """The numbers 0 … count − 1, in order, `size` at a time."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def training_mean(embeddings: Vectors) -> Float[Tensor, " D"]:
    """The mean of the unit embeddings, μ [D]: what the centring option takes away.

    A teacher whose embeddings fill only a cone (GE2E's are all positive) has cosines that crowd near 1;
    e − μ spreads them: GE2E's EER on chorus/dev.txt falls from 7.90 % to 6.74 % with the mean of one 2 s
    view of each training utterance (to 6.01 % with the dev set's own mean, which is not to be had).
    """
    require(len(embeddings) > 0, "the mean of no embeddings does not exist", allowed="at least one utterance")
    total = torch.zeros(embeddings.shape[1], dtype=torch.float64)
    for rows in blocks(len(embeddings)):
        total += F.normalize(embeddings[rows].double(), dim=-1).sum(0)
    return (total / len(embeddings)).float()


def centred(embeddings: Float[Tensor, "U D"], centre: Float[Tensor, " D"] | None) -> Float[Tensor, "U D"]:
    """Unit embeddings, less `centre` where there is one, made unit again: e' = norm(norm(e) − μ)."""
    units = F.normalize(embeddings.float(), dim=-1)
    return units if centre is None else F.normalize(units - centre, dim=-1)
