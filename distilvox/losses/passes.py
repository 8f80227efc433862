"""Walks over blocks of classes: what the streaming objective computes without a matrix [B, C].

`frozen_sums` reads class centres that are not trained, once: their mean under each softmax is also the
gradient, so there is nothing left to do in the backward pass. `HeadSums` trains its centres, whose
gradient needs each softmax normalised: its backward pass computes the blocks again.

Peak extra memory is O(B · block + block · D), beside the gradient of trained centres [C, D] and one number for
each class. Everything here is in one dtype, float32 or float64; centres of another are converted block by
block. Embeddings arrive with length 1, centres with any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilvox.losses.checks import Number
from distilvox.losses.statistics import IN_RANGE, LN2, Sums, hide, nothing
from distilvox.models.head import SHORTEST

BLOCK_ELEMENTS = {"cpu": 2**18, "cuda": 2**24}
"""Entries of a block of logits: 1 MB stays in a core's cache; a GPU wants work for all its cores."""


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

    def blocks(self, centres: Tensor, rows: int) -> Iterator[slice]:
        classes, dim = centres.shape
        fitting = BLOCK_ELEMENTS.get(centres.device.type, 2**24) // max(rows, dim, 1)
        step = self.block or max(16, fitting)
        for first in range(0, classes, step):
            yield slice(first, min(first + step, classes))


class Teacher(NamedTuple):
    """What KD on the student's own centres compares them with; `over` is κ/τ, KD's scale over temperature."""

    embeddings: Float[Tensor, "B E"]
    centres: Float[Tensor, "C E"]
    over: Number


def frozen_sums(
    queries: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    labels: Int[Tensor, " B"],
    *,
    over: Number,
    walk: Walk,
) -> Sums:
    """The softmax of each row's logits `over` · cosine over non-targets; moments: the mean unit centre.

    No gradient flows through it.
    """
    ranks = walk.ranks
    rows, columns = ranks.gather(queries.detach()), ranks.gather(labels) - ranks.start
    in_range = over <= IN_RANGE
    sums = nothing(rows, rows.shape[1], in_range=in_range)
    raised = rows * (over / LN2)
    for part in walk.blocks(centres, len(rows)):
        unit = _unit(centres[part], rows)
        logits = raised @ unit.T
        hide(logits, columns - part.start)
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
    return ranks.mine(ranks.add(_own_targets(like, centres, ranks.gather(labels) - ranks.start)))


class HeadSums(torch.autograd.Function):
    """Statistics of unit embeddings [B, D] against trained centres [C, D], and their gradients.

    Inputs: student, head, labels, `over` (the cross entropy's scale), teacher (or None), walk.
    Outputs, each [B]: log Σ exp(`over` · cosine) over non-targets; the target's cosine; the largest cosine
    of a non-target; and with a teacher log Σ exp z, log Σ exp t, and Σ p̃ · (t − z) over non-targets, where
    z and t are KD's logits and p̃ the teacher's softmax. Without one, the last three are of size [0].
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        head: Tensor,
        labels: Tensor,
        over: float,
        teacher: Teacher | None,
        walk: Walk,
    ) -> tuple[Tensor, ...]:
        ranks = walk.ranks
        rows, columns = ranks.gather(student), ranks.gather(labels) - ranks.start
        raised = rows * (over / LN2)
        sums = nothing(rows, 0, in_range=False)
        z_sums, t_sums = nothing(rows, 0, in_range=False), nothing(rows, 1, in_range=False)
        if teacher is not None:
            teacher = teacher._replace(embeddings=ranks.gather(teacher.embeddings))
            raised_teacher = teacher.embeddings * (teacher.over / LN2)
        for part in walk.blocks(head, len(rows)):
            x = raised @ _unit(head[part], rows).T
            if teacher is not None:
                z = x * (teacher.over / over)
                t = raised_teacher @ _unit(teacher.centres[part], rows).T
                lead = t - z
                hide(z, columns - part.start)
                hide(t, columns - part.start)
                z_sums = z_sums.add(z, in_range=False)
                t_sums = t_sums.add(t, in_range=False)
                t_sums.moments.add_(torch.linalg.vecdot(t, lead)[:, None])
            hide(x, columns - part.start)
            sums = sums.add(x, in_range=False)
        top = ranks.largest(sums.reference) * (LN2 / over)
        log_sum = together(sums, ranks).log_sum()
        targets = ranks.add(torch.linalg.vecdot(rows, _own_targets(rows, head, columns)))
        if teacher is None:
            kd = (log_sum[:0],) * 3
        else:
            z_sums, t_sums = together(z_sums, ranks), together(t_sums, ranks)
            kd = z_sums.log_sum(), t_sums.log_sum(), LN2 * t_sums.mean()[:, 0]
        ctx.over, ctx.teacher, ctx.walk = over, teacher, walk
        ctx.save_for_backward(rows, head, columns, log_sum, kd[0], kd[1])
        found = tuple(ranks.mine(value) for value in (log_sum, targets, top))
        found += tuple(ranks.mine(value) if teacher is not None else value.clone() for value in kd)
        ctx.mark_non_differentiable(found[2], found[4])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(upstream[0].device.type, enabled=False):
            return *_head_gradients(ctx, upstream), None, None, None, None


def _head_gradients(ctx: Any, upstream: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    """What `HeadSums` sends to the student's embeddings and to the head."""
    rows, head, columns, log_sum, z_log_sum, t_log_sum = ctx.saved_tensors
    over, teacher, walk = ctx.over, ctx.teacher, ctx.walk
    ranks = walk.ranks
    for_sum, for_target = (ranks.gather(upstream[k]) for k in (0, 1))
    weight = (for_sum * over)[:, None]
    if teacher is not None:
        z_weight, gap_weight = ((teacher.over * ranks.gather(upstream[k]))[:, None] for k in (3, 5))
        raised_teacher = teacher.embeddings * (teacher.over / LN2)
    raised, level = rows * (over / LN2), (log_sum / -LN2)[:, None]
    student_grad = torch.zeros_like(rows)
    head_grad = torch.empty_like(head) if ctx.needs_input_grad[1] else None
    for part in walk.blocks(head, len(rows)):
        unit = _unit(head[part], rows)
        x = torch.addmm(level, raised, unit.T)
        hide(x, columns - part.start)
        if teacher is None:
            slope = x.exp2_().mul_(weight)
        else:
            shift = (log_sum[:, None] * (teacher.over / over) - z_log_sum[:, None]) / LN2
            z = (x * (teacher.over / over)).add_(shift)
            t = torch.addmm(t_log_sum[:, None] / -LN2, raised_teacher, _unit(teacher.centres[part], rows).T)
            hide(t, columns - part.start)
            slope = x.exp2_().mul_(weight).addcmul_(z.exp2_(), z_weight)
            slope.addcmul_(t.exp2_(), gap_weight, value=-1)
        student_grad.addmm_(slope, unit)
        if head_grad is not None:
            _through_norm(head[part], unit, slope.T @ rows, head_grad[part])
    own = _own_targets(rows, head, columns)
    student_grad.addcmul_(own, for_target[:, None])
    if head_grad is not None:
        _add_targets(head, head_grad, rows, own, columns, for_target)
    return ranks.mine(ranks.add(student_grad)), head_grad


def _unit(centres: Float[Tensor, "N D"], like: Float[Tensor, "B _"]) -> Float[Tensor, "N D"]:
    """Centres of length 1 in the dtype of `like`; as `distilvox.models.head.unit`, zero stays zero."""
    centres = centres.detach().to(like.dtype)
    return centres / _length(centres)


def _length(centres: Float[Tensor, "N D"]) -> Float[Tensor, "N 1"]:
    return torch.linalg.vector_norm(centres, dim=1, keepdim=True).clamp_min(SHORTEST)


def _through_norm(
    centres: Float[Tensor, "N D"], unit: Float[Tensor, "N D"], grad: Float[Tensor, "N D"], out: Tensor
) -> None:
    """Writes to `out` the gradient of centres whose unit centres have the gradient `grad`, overwritten."""
    length = _length(centres.to(grad.dtype))
    along = torch.linalg.vecdot(unit, grad)[:, None].masked_fill_(length <= SHORTEST, 0)
    torch.div(grad.addcmul_(unit, along, value=-1), length, out=out)


def _held(columns: Int[Tensor, " B"], centres: Float[Tensor, "C D"]) -> tuple[Tensor, Tensor]:
    """Columns within this process's classes, and which rows have their target there."""
    inside = columns.clamp(0, len(centres) - 1)
    return inside, inside == columns


def _own_targets(
    like: Float[Tensor, "B _"], centres: Float[Tensor, "C D"], columns: Int[Tensor, " B"]
) -> Float[Tensor, "B D"]:
    """Unit centres of the targets that this process holds, and zeros for the others."""
    inside, held = _held(columns, centres)
    return _unit(centres[inside], like) * held[:, None]


def _add_targets(
    head: Float[Tensor, "C D"],
    head_grad: Float[Tensor, "C D"],
    rows: Float[Tensor, "B D"],
    targets: Float[Tensor, "B D"],
    columns: Int[Tensor, " B"],
    upstream: Float[Tensor, " B"],
) -> None:
    """Adds what the targets' cosines send to their centres."""
    inside, held = _held(columns, head)
    grad = rows * (upstream * held)[:, None]
    through = torch.empty_like(grad)
    _through_norm(head[inside], targets, grad, through)
    head_grad.index_add_(0, inside, through.to(head_grad.dtype))
