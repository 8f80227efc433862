"""The pass over class centres that are trained, forward and backward.

The gradient of a centre needs each softmax normalised, which it is only at the end of a pass. So the
backward pass computes each block again; a small head's blocks are kept instead, up to `KEPT` numbers.
It divides by the mass that the forward pass found, instead of subtracting a log-sum-exp: this one is as large
as a logit, and its rounding would be an error of every power, which KD, a difference of two softmaxes, shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilvox.losses.checks import Number
from distilvox.losses.passes import Walk, held_targets, one_over_length, through_length, together, within
from distilvox.losses.statistics import IN_RANGE, LN2, hide, nothing

KEPT = {"cpu": 2**21, "cuda": 2**22}
"""Powers kept from the forward to the backward pass, 8 MB and 16 MB: saves a small head a product."""


class Teacher(NamedTuple):
    """What KD on the student's own centres compares them with; `over` is κ/τ, KD's scale over temperature."""

    embeddings: Float[Tensor, "B E"]
    centres: Float[Tensor, "C E"]
    over: Number


class Block(NamedTuple):
    """One block of classes: unit centres, one over their lengths, and logits in base 2 with hidden targets.

    x of the cross entropy; z and t, KD's of student and teacher, None without a teacher.
    """

    part: slice
    unit: Float[Tensor, "N D"]
    inverse: Float[Tensor, "N 1"]
    x: Float[Tensor, "B N"]
    z: Float[Tensor, "B N"] | None
    t: Float[Tensor, "B N"] | None


@dataclass(frozen=True)
class Blocks:
    """All that the logits of a block are made of, for both passes; rows are those of every process."""

    rows: Float[Tensor, "B D"]
    head: Float[Tensor, "C D"]
    columns: Int[Tensor, " B"]
    over: float
    teacher: Teacher | None
    walk: Walk

    def walked(self, kept: Tensor | None = None) -> Iterator[Block]:
        """Every block, to the same bits each time; `kept`: memory [B · C] for x, None uses one block's again."""
        rows, teacher, batch = self.rows, self.teacher, len(self.rows)
        walk = Walk(self.walk.step(self.head, batch), self.walk.ranks)
        raised, space, z, t = rows * (self.over / LN2), walk.logits(self.head, rows), None, None
        guides = None
        if teacher is not None:
            ratio = teacher.over / self.over
            raised_teacher, t_space = teacher.embeddings * (teacher.over / LN2), walk.logits(self.head, rows)
            guides = walk.units(teacher.centres, rows)
        for part, unit, inverse in walk.units(self.head, rows):
            x = space.of(batch, len(unit)) if kept is None else kept_part(kept, batch, part)
            torch.mm(raised, unit.T, out=x)
            hide(x, self.columns - part.start)
            if teacher is not None and guides is not None:
                z = torch.mul(x, ratio)
                t = torch.mm(raised_teacher, next(guides)[1].T, out=t_space.of(batch, len(unit)))
                hide(t, self.columns - part.start)
            yield Block(part, unit, inverse, x, z, t)

    def again(self, kept: Tensor) -> Iterator[Block]:
        """Every block with what the forward pass left in `kept` for x."""
        for part, unit, inverse in self.walk.units(self.head, self.rows):
            yield Block(part, unit, inverse, kept_part(kept, len(self.rows), part), None, None)


def kept_part(kept: Tensor, batch: int, part: slice) -> Float[Tensor, "B N"]:
    """The block of the classes `part` in memory [B · C]."""
    return kept[batch * part.start : batch * part.stop].view(batch, part.stop - part.start)


class HeadSums(torch.autograd.Function):
    """Statistics of unit embeddings [B, D] against trained centres [C, D], and their gradients.

    Inputs: student, head, labels, `over` (the cross entropy's scale), teacher (or None), walk.
    Outputs, each [B]: log Σ exp(`over` · cosine) over non-targets; the target's cosine; the largest cosine
    of a non-target; and with a teacher log Σ exp z, log Σ exp t, and Σ p̃ · (t − z) over non-targets, where
    z and t are KD's logits and p̃ the teacher's softmax. Without one, the last three are zeros.
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
        x_fits, kd_fits = over <= IN_RANGE, teacher is None or teacher.over <= IN_RANGE
        if teacher is not None:
            teacher = teacher._replace(embeddings=ranks.gather(teacher.embeddings))
        keeps = teacher is None and x_fits and len(rows) * len(head) <= KEPT.get(rows.device.type, 0)
        ctx.kept = rows.new_empty(len(rows) * len(head)) if keeps and any(ctx.needs_input_grad) else None
        blocks = Blocks(rows, head.detach(), columns, over, teacher, walk)
        top, zero = rows.new_full((len(rows),), -math.inf), rows.new_zeros(3, len(rows))
        x_sums, z_sums = nothing(rows, 0, in_range=x_fits), nothing(rows, 0, in_range=kd_fits)
        t_sums = nothing(rows, 1, in_range=kd_fits)
        for _, _, _, x, z, t in blocks.walked(ctx.kept):
            top = torch.maximum(top, x.amax(dim=1))
            x_sums = x_sums.add(x, in_range=x_fits)
            if z is not None and t is not None:
                lead = t - z
                z_sums, t_sums = z_sums.add(z, in_range=kd_fits), t_sums.add(t, in_range=kd_fits)
                t_sums.moments.add_(torch.linalg.vecdot(t, lead)[:, None])
        cosine = ranks.add(torch.linalg.vecdot(rows, held_targets(head, columns, rows.dtype)))
        x_sums = together(x_sums, ranks)
        log_sum, z_log_sum, t_log_sum, gap = x_sums.log_sum(), *zero
        if teacher is not None:
            z_sums, t_sums = together(z_sums, ranks), together(t_sums, ranks)
            z_log_sum, t_log_sum, gap = z_sums.log_sum(), t_sums.log_sum(), LN2 * t_sums.mean()[:, 0]
        seen = (x_sums,) if teacher is None else (x_sums, z_sums, t_sums)
        reference, mass = (torch.stack([sums[k] for sums in seen])[:, :, None] for k in (0, 1))
        ctx.save_for_backward(rows, head, reference, mass)
        ctx.others = (columns, over, teacher, walk)
        top = ranks.largest(top) * (LN2 / over)
        found = (log_sum, cosine, top, z_log_sum, t_log_sum, gap)
        mine = tuple(ranks.mine(value).clone() for value in found)
        ctx.mark_non_differentiable(mine[2], mine[4])
        return mine

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, head, reference, mass = ctx.saved_tensors
        blocks = Blocks(rows, head.detach(), *ctx.others)
        ranks = blocks.walk.ranks
        with torch.autocast(rows.device.type, enabled=False):
            log_sum, cosine, _, z, _, gap = ranks.gather(torch.stack(upstream, dim=1)).T
            head_grad = torch.empty_like(head) if ctx.needs_input_grad[1] else None
            weights = torch.stack([log_sum, z, -gap])[: len(mass), :, None] / mass
            student_grad = _through_softmax(blocks, reference, weights, ctx.kept, head_grad)
            _through_target(blocks, cosine, student_grad, head_grad)
            return ranks.mine(ranks.add(student_grad)), head_grad, None, None, None, None


def _through_softmax(
    blocks: Blocks,
    reference: Float[Tensor, "K B 1"],
    weights: Float[Tensor, "K B 1"],
    kept: Tensor | None,
    head_grad: Float[Tensor, "C D"] | None,
) -> Float[Tensor, "B D"]:
    """Gradient of the embeddings; writes that of the centres. Weights: of x, z and t, over their masses."""
    rows, teacher, batch = blocks.rows, blocks.teacher, len(blocks.rows)
    weight = weights[0] * blocks.over
    weighted = rows * weight if teacher is None else rows
    student_grad = torch.zeros_like(rows)
    space = rows.new_empty(blocks.walk.step(blocks.head, batch), rows.shape[1])
    for part, unit, inverse, x, z, t in blocks.walked() if kept is None else blocks.again(kept):
        if kept is None:
            _powers(x, reference[0], blocks.over)
        if teacher is not None and z is not None and t is not None:
            x.mul_(weight).addcmul_(_powers(z, reference[1], teacher.over), weights[1], value=teacher.over)
            x.addcmul_(_powers(t, reference[2], teacher.over), weights[2], value=teacher.over)
        student_grad.addmm_(x, unit)
        if head_grad is not None:
            grad = torch.mm(x.T, weighted, out=space[: len(unit)])
            through_length(grad, unit, inverse, head_grad[part])
    return student_grad if teacher is not None else student_grad.mul_(weight)


def _powers(logits: Float[Tensor, "B N"], reference: Float[Tensor, "B 1"], over: Number) -> Tensor:
    """2^(x − r) in place, as the forward pass computed it (`Sums.add`): over its mass, it sums to one."""
    return (logits if over <= IN_RANGE else logits.sub_(reference)).exp2_()


def _through_target(
    blocks: Blocks,
    upstream: Float[Tensor, " B"],
    student_grad: Float[Tensor, "B D"],
    head_grad: Float[Tensor, "C D"] | None,
) -> None:
    """Adds the gradients by the targets' cosines, of the targets that this process holds."""
    rows, head = blocks.rows, blocks.head
    student_grad.addcmul_(held_targets(head, blocks.columns, rows.dtype), upstream[:, None])
    if head_grad is not None:
        target_centre_grads(rows, head, blocks.columns, upstream, head_grad)


def target_centre_grads(
    rows: Float[Tensor, "B D"],
    head: Float[Tensor, "C D"],
    columns: Int[Tensor, " B"],
    upstream: Float[Tensor, " B"],
    out: Float[Tensor, "C D"],
) -> None:
    """Adds to `out` what the rows' cosines with their targets send to the centres that this process holds."""
    inside, held = within(columns, head)
    grad = rows * (upstream * held)[:, None]
    inverse = one_over_length(head[inside].to(rows.dtype))
    through_length(grad, held_targets(head, columns, rows.dtype), inverse, grad)
    out.index_add_(0, inside, grad.to(out.dtype))
