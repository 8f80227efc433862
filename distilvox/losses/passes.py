"""Walks over blocks of classes, by one process or by several that hold a share of the classes each.

Embeddings arrive with length 1; centres with any, and get length 1 block by block, in the embeddings'
dtype. Peak extra memory is O(B · block + block · D).

`frozen_sums` is the pass over centres that are not trained. One pass suffices for them: the mean centre
under each softmax is also the gradient of its log-sum-exp. Trained centres: `distilvox.losses.trained`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.losses.checks import Number
from distilvox.losses.statistics import HIDDEN, IN_RANGE, LN2, Sums, hide, nothing
from distilvox.losses.unlabelled import same_recording
from distilvox.models.head import SHORTEST

BLOCK_ELEMENTS = {"cpu": 2**18, "cuda": 2**22}
"""Entries of a block of logits: 1 MB stays in a core's cache; a GPU wants more work at a time, 16 MB."""


class Ranks(ABC):
    """Which classes this process holds, and how it works together with those that hold the others."""

    start: int
    """The label of this process's first class."""

    @abstractmethod
    def classes(self, held: int) -> int:
        """How many classes there are, of which this process holds `held`."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """Every process's rows, one after the other."""

    @abstractmethod
    def mine(self, rows: Tensor) -> Tensor:
        """This process's rows of gathered ones."""

    @abstractmethod
    def add(self, values: Tensor) -> Tensor:
        """The sum over the processes."""

    @abstractmethod
    def largest(self, values: Tensor) -> Tensor:
        """The maximum over the processes."""


class Alone(Ranks):
    """One process that holds every class."""

    start = 0

    def classes(self, held: int) -> int:
        return held

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def mine(self, rows: Tensor) -> Tensor:
        return rows

    def add(self, values: Tensor) -> Tensor:
        return values

    def largest(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True)
class Walk:
    """How to go through the classes: blocks of `block` (None: as many as stay in the cache), and `ranks`."""

    block: int | None
    ranks: Ranks

    def step(self, centres: Tensor, rows: int) -> int:
        """Classes in a block."""
        classes, dim = centres.shape
        fitting = BLOCK_ELEMENTS.get(centres.device.type, 2**22) // max(rows, dim, 1)
        return min(self.block or max(16, fitting), classes)

    def units(
        self, centres: Float[Tensor, "C D"], rows: Float[Tensor, "B _"]
    ) -> Iterator[tuple[slice, Float[Tensor, "N D"], Float[Tensor, "N 1"]]]:
        """Block by block: which classes, their centres at length 1, and one over the length they have.

        The centres at length 1 live until the next block is asked for.
        """
        step = self.step(centres, len(rows))
        space = rows.new_empty(step, centres.shape[1])
        for first in range(0, len(centres), step):
            part = slice(first, min(first + step, len(centres)))
            block = centres.detach()[part].to(rows.dtype)
            inverse = one_over_length(block)
            yield part, torch.mul(block, inverse, out=space[: len(block)]), inverse

    def logits(self, centres: Float[Tensor, "C D"], rows: Float[Tensor, "B _"]) -> Space:
        """Memory for one block of logits, used again for every block: fresh pages cost as much as a pass."""
        return Space(rows.new_empty(len(rows) * self.step(centres, len(rows))))


@dataclass(frozen=True)
class Space:
    """Memory that takes matrices of any width up to the one it was made for."""

    flat: Tensor

    def of(self, rows: int, columns: int) -> Float[Tensor, "B N"]:
        return self.flat[: rows * columns].view(rows, columns)


def frozen_sums(
    queries: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    labels: Int[Tensor, " B"],
    *,
    over: Number,
    walk: Walk,
    groups: Int[Tensor, " C"] | None = None,
) -> Sums:
    """The softmax of each row's logits `over` · cosine over non-targets; moments: the mean unit centre.

    No gradient flows through it. Classes in the target's group (`unlabelled.same_recording`) are no non-targets;
    one process that holds every class knows groups.
    """
    ranks = walk.ranks
    rows, columns = ranks.gather(queries.detach()), ranks.gather(labels) - ranks.start
    in_range = over <= IN_RANGE
    sums = nothing(rows, rows.shape[1], in_range=in_range)
    raised, space = rows * (over / LN2), walk.logits(centres, rows)
    for part, unit, _ in walk.units(centres, rows):
        logits = torch.mm(raised, unit.T, out=space.of(len(rows), len(unit)))
        hide(logits, columns - part.start)
        if groups is not None:
            logits.masked_fill_(same_recording(groups, part, columns), HIDDEN)
        sums = sums.add(logits, in_range=in_range)
        sums.moments.addmm_(logits, unit)
    return Sums(*(ranks.mine(field) for field in together(sums, ranks)))


def together(sums: Sums, ranks: Ranks) -> Sums:
    """The merge over all processes: one reference for all, then plain sums."""
    sums = sums.seen_from(ranks.largest(sums.reference))
    packed = ranks.add(torch.cat([sums.mass[:, None], sums.moments], dim=1))
    return Sums(sums.reference, packed[:, 0], packed[:, 1:])


def target_centres(
    like: Float[Tensor, "B _"], centres: Float[Tensor, "C D"], labels: Int[Tensor, " B"], ranks: Ranks
) -> Float[Tensor, "B D"]:
    """The unit centre of each row's target, in the dtype of `like`, without gradient."""
    centres, columns = centres.detach(), ranks.gather(labels) - ranks.start
    return ranks.mine(ranks.add(held_targets(centres, columns, like.dtype)))


def held_targets(
    centres: Float[Tensor, "C D"], columns: Int[Tensor, " B"], dtype: torch.dtype
) -> Float[Tensor, "B D"]:
    """Unit centres of the targets that this process holds, and zeros for the others."""
    inside, held = within(columns, centres)
    block = centres[inside].to(dtype)
    return block * (one_over_length(block) * held[:, None])


def within(columns: Int[Tensor, " B"], centres: Float[Tensor, "C D"]) -> tuple[Tensor, Tensor]:
    """Columns moved into this process's classes, and which rows have their target there."""
    inside = columns.clamp(0, len(centres) - 1)
    return inside, inside == columns


def one_over_length(centres: Float[Tensor, "N D"]) -> Float[Tensor, "N 1"]:
    """As in `distilvox.models.head.unit`, so that a zero centre stays zero."""
    return torch.linalg.vector_norm(centres, dim=1, keepdim=True).clamp_min_(SHORTEST).reciprocal_()


def through_length(
    grad: Float[Tensor, "N D"], unit: Float[Tensor, "N D"], inverse: Float[Tensor, "N 1"], out: Tensor
) -> None:
    """From the gradient of unit centres, which it overwrites, that of the centres, into `out`."""
    along = torch.linalg.vecdot(unit, grad)[:, None].masked_fill_(inverse >= 1 / SHORTEST, 0)
    torch.mul(grad.addcmul_(unit, along, value=-1), inverse, out=out)
