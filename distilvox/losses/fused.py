"""The streaming objective's two passes with Triton kernels: `FusedSums` for `HeadSums`, `fused_sums` for
`frozen_sums`, same arguments, same results.

The mean unit centre under a softmax is the gradient of its log-sum-exp by the embedding, and comes from
the forward pass along with it. So the backward pass goes over the classes for the centres' gradient alone.

Float32 products follow `torch.set_float32_matmul_precision`: "highest", the default, multiplies exactly;
"high" takes the tensor cores, three products of halves, with an error like float32's; "medium" one, with
three digits.

Peak extra memory is O(B · D) for each share of the classes that a GPU works on at a time (`kernels`).
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilvox.losses.checks import Number
from distilvox.losses.passes import Ranks, Walk, held_targets, together
from distilvox.losses.statistics import IN_RANGE, LN2, Sums
from distilvox.losses.trained import Teacher, target_centre_grads
from distilvox.models.head import SHORTEST

PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}
"""PyTorch's setting → how the kernels multiply float32."""

LARGEST = 1024
"""The kernels hold whole vectors, of up to this many entries."""


def obstacle(like: Tensor, sizes: tuple[int, ...]) -> str | None:
    """Why the kernels cannot take embeddings like these, of these sizes; None where they can."""
    if like.dtype == torch.float64:
        return "they compute in float32, not in float64"
    if max(sizes) > LARGEST:
        return f"they take embeddings of up to {LARGEST} entries, not {max(sizes)}"
    if find_spec("triton") is None:
        return "Triton is missing: pip install 'distilvox[gpu]'"
    if like.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"they run on an NVIDIA GPU, not on {like.device.type!r}"
    return None


def fused_sums(
    queries: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    labels: Int[Tensor, " B"],
    *,
    over: Number,
    walk: Walk,
) -> Sums:
    """As `distilvox.losses.passes.frozen_sums`."""
    ranks = walk.ranks
    rows, columns = ranks.gather(queries.detach()), ranks.gather(labels) - ranks.start
    sums, _ = _softmax(rows * (over / LN2), centres.detach(), columns, None, over <= IN_RANGE, ranks)
    sums = sums._replace(moments=sums.moments[:, :-1])
    return Sums(*(ranks.mine(field) for field in sums))


class FusedSums(torch.autograd.Function):
    """As `distilvox.losses.trained.HeadSums`: the same inputs and outputs."""

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
        goal = ranks.add(held_targets(head.detach(), columns, rows.dtype))
        scales = (over,) if teacher is None else (over, teacher.over)
        raised = torch.cat([rows * (scale / LN2) for scale in scales])
        fits = max(scales) <= IN_RANGE
        sums, top = _softmax(raised, head.detach(), columns.repeat(len(scales)), None, fits, ranks)
        log_sums, means = [*sums.log_sum().chunk(len(scales))], [*sums.mean()[:, :-1].chunk(len(scales))]
        scaling = [torch.stack([sums.reference, sums.mass])]
        gap = rows.new_zeros(len(rows))
        if teacher is not None:
            guide = ranks.gather(teacher.embeddings) * (teacher.over / LN2)
            teacher = teacher._replace(embeddings=guide)
            sums, _ = _softmax(
                guide, teacher.centres, columns, head.detach(), teacher.over <= IN_RANGE, ranks
            )
            mean = sums.mean()
            log_sums, means = [*log_sums, sums.log_sum()], [*means, mean[:, :-1]]
            scaling.append(torch.stack([sums.reference, sums.mass]))
            gap = LN2 * mean[:, -1] - teacher.over * torch.linalg.vecdot(rows, means[2])
        else:
            log_sums = [*log_sums, gap, gap]
        cosine, top = torch.linalg.vecdot(rows, goal), top[: len(rows)] * (LN2 / over)
        found = [ranks.mine(v).clone() for v in (log_sums[0], cosine, top, *log_sums[1:], gap)]
        slopes = torch.stack([ranks.mine(v) for v in (goal, *means)])
        ctx.save_for_backward(rows, head, columns, torch.cat(scaling, dim=1), slopes)
        ctx.others = (over, teacher, ranks)
        ctx.mark_non_differentiable(found[2], found[4])
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        rows, head, columns, scaling, slopes = ctx.saved_tensors
        over, teacher, ranks = ctx.others
        log_sum, cosine, _, z, _, gap = upstream
        kd_over = 0.0 if teacher is None else teacher.over
        weights = torch.stack([cosine, over * log_sum, kd_over * z, -kd_over * gap])
        head_grad = None
        with torch.autocast(rows.device.type, enabled=False):
            student_grad = torch.einsum("kb,kbd->bd", weights[: len(slopes)], slopes)
            if ctx.needs_input_grad[1]:
                weights = ranks.gather(weights.T).T
                head_grad = _head_grad(rows, head.detach(), columns, scaling, weights, over, teacher)
        return student_grad, head_grad, None, None, None, None


def _head_grad(
    rows: Float[Tensor, "B D"],
    head: Float[Tensor, "C D"],
    columns: Int[Tensor, " B"],
    scaling: Float[Tensor, "2 _"],
    weights: Float[Tensor, "4 B"],
    over: float,
    teacher: Teacher | None,
) -> Float[Tensor, "C D"]:
    """Of the targets' cosines and of the softmaxes of x, z and t; `scaling` is reference and mass of x, z, t."""
    from distilvox.losses.kernels import centre_grads  # needs Triton

    precision, inverse, out = _precision(), _inverse(head), head.new_empty(head.shape)
    scales = (over,) if teacher is None else (over, teacher.over)
    count = len(scales)
    raised = torch.cat([rows * (scale / LN2) for scale in scales])
    reference, mass = scaling
    share = weights[1:].flatten()[: len(mass)] / mass
    trained = count * len(rows)
    centre_grads(
        raised, head, inverse, columns.repeat(count), reference[:trained], share[:trained],
        rows.repeat(count, 1), head, inverse, out, add=False, precision=precision,
    )  # fmt: skip
    if teacher is not None:
        centre_grads(
            teacher.embeddings, teacher.centres, _inverse(teacher.centres), columns, reference[trained:],
            share[trained:], rows, head, inverse, out, add=True, precision=precision,
        )  # fmt: skip
    target_centre_grads(rows, head, columns, weights[0], out)
    return out


def _softmax(
    raised: Float[Tensor, "B D"],
    centres: Float[Tensor, "C D"],
    columns: Int[Tensor, " B"],
    values: Float[Tensor, "C K"] | None,
    in_range: bool,
    ranks: Ranks,
) -> tuple[Sums, Float[Tensor, " B"]]:
    """Sums over every process's classes and the largest logit; values None takes the centres' own."""
    from distilvox.losses.kernels import class_sums  # needs Triton

    inverse = _inverse(centres)
    owners, owner_inverse = (centres, inverse) if values is None else (values, _inverse(values))
    sums, top = class_sums(
        raised, centres, inverse, columns, owners, owner_inverse, in_range=in_range, precision=_precision()
    )
    return together(sums, ranks), ranks.largest(top)


def _inverse(centres: Float[Tensor, "C D"]) -> Float[Tensor, " C"]:
    """One over each centre's length, as in `distilvox.models.head.unit`."""
    lengths = torch.linalg.vector_norm(centres, dim=1, dtype=torch.float32)
    return lengths.clamp_min_(SHORTEST).reciprocal_()


def _precision() -> str:
    return PRECISIONS[torch.get_float32_matmul_precision()]
