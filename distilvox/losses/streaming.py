"""The parts of the objective straight from embeddings and class centres, without a matrix [B, C].

The same numbers as

    scores = cosines(student, head)
    ce = cross_entropy(aam(scores, labels, margin=margin, scale=scale), labels)
    z = aam(cosines(projected, teacher_centres), labels, margin=…, scale=kd_scale)    # or of `scores`
    t = aam(cosines(teacher, teacher_centres), labels, margin=…, scale=kd_scale)
    tskd = target_kd(z, t, labels, temperature=temperature)
    nskd = non_target_kd(z, t, labels, temperature=temperature)

within that code's own error. It goes over the classes in blocks and keeps sums that merge
(`distilvox.losses.statistics`); targets, margins and the losses themselves are then arithmetic on [B]:

    ce    = −log σ(x_y − log Σ exp x)        sums over non-targets; x with, z and t without `scale`'s margin
    tskd  = τ² · KL of the log odds t_y − log Σ exp t and z_y − log Σ exp z
    nskd  = τ² · (log Σ exp z − log Σ exp t + Σ p̃ · (t − z))
    kld   = tskd + (1 − p_y) · nskd

Source: the decomposition of Zhao et al., arXiv 2203.08679, section 3.1; streaming after Wijmans et al., *Cut Your
Losses in Large-Vocabulary Language Models*, arXiv 2411.09009, which never forms the logits either.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilvox.errors import require
from distilvox.losses.checks import Number, check_classification, check_range, precise
from distilvox.losses.fused import FusedSums, fused_sums, obstacle
from distilvox.losses.margin import MARGIN_LIMIT, add_margin
from distilvox.losses.passes import Alone, Ranks, Walk, frozen_sums, target_centres
from distilvox.losses.statistics import Sums
from distilvox.losses.trained import HeadSums, Teacher
from distilvox.models.head import unit

ALONE = Alone()

Backend = Literal["auto", "torch", "triton"]


def streaming_objective(
    student: Float[Tensor, "B D"],
    head: Float[Tensor, "C D"],
    labels: Int[Tensor, " B"],
    *,
    margin: Number,
    scale: Number,
    teacher: Float[Tensor, "B E"] | None = None,
    teacher_centres: Float[Tensor, "C E"] | None = None,
    projected: Float[Tensor, "B E"] | None = None,
    kd_scale: Number = 16.0,
    kd_margins: tuple[Number, Number] = (0.0, 0.0),
    temperature: Number = 1.0,
    block: int | None = None,
    ranks: Ranks = ALONE,
    backend: Backend = "auto",
) -> dict[str, Tensor]:
    """Cross entropy and the parts of label-level KD, each [B], in float32 (float64 for a float64 student).

    Gradients reach `student`, `projected` and, if it requires one, `head`; never the teacher.

    Args:
        student: embeddings of any length.
        head: the student's class centres, of any length, C >= 2.
        labels: the target speakers, in [0, C).
        margin, scale: of the AAM-softmax that the cross entropy sees.
        teacher: the frozen teacher's embeddings of the same views; None is no KD.
        teacher_centres: its class centres, rows in the order of the head's.
        projected: the student's embeddings in the teacher's space, to compare with the teacher's centres;
            None compares the student with its own.
        kd_scale: > 0, of the cosines on both sides of KD.
        kd_margins: margins of the student's and of the teacher's target logit in KD.
        temperature: τ > 0 of KD.
        block: classes at a time; None takes as many as suit the device. No result depends on it.
        ranks: the classes that this process holds, see `distilvox.losses.sharded`.
        backend: "torch" goes over blocks of classes in PyTorch, on any device; "triton" uses the kernels
            of `distilvox.losses.fused`, which choose their own blocks; "auto" uses the kernels for float32
            and less on a GPU, where they can be used, and says so where they cannot.

    Returns:
        "ce"; "correct", whether the speaker's own centre is the nearest, without margin; with a teacher
        "tskd", "nskd" and "kld" as in `distilvox.losses.kd`.
    """
    check_classification(student.new_empty(()).expand(len(student), ranks.classes(len(head))), labels)
    check_range("margin", margin, 0, MARGIN_LIMIT, low_allowed=True)
    for name, value in (("scale", scale), ("kd_scale", kd_scale), ("temperature", temperature)):
        check_range(name, value, 0, math.inf)
    for value in kd_margins:
        check_range("kd_margins", value, 0, MARGIN_LIMIT, low_allowed=True)
    require(block is None or block >= 1, "block is out of range", got=block, allowed="block >= 1")
    _check_sizes(student, head, teacher, teacher_centres, projected)
    require(
        backend in get_args(Backend), "unknown backend", got=backend, allowed=", ".join(get_args(Backend))
    )
    head_sums, class_sums = _passes(backend, student, head, teacher_centres)
    walk, over, labels = Walk(block, ranks), kd_scale / temperature, labels.long()
    with torch.autocast(student.device.type, enabled=False):
        own = unit(precise(student))
        side = None
        if teacher is not None and teacher_centres is not None:
            guide = unit(teacher.detach().to(own.dtype))
            goal = target_centres(own, teacher_centres, labels, ranks)
            if projected is None:
                side = Teacher(guide, teacher_centres.detach(), over)
        log_sum, cosine, top, z, t, gap = head_sums.apply(own, head, labels, float(scale), side, walk)
        parts = {"ce": -F.logsigmoid(scale * add_margin(cosine, margin) - log_sum), "correct": cosine > top}
        if teacher is None or teacher_centres is None:
            return parts
        if projected is not None:
            seen = unit(projected.to(own.dtype))
            cosine = (seen * goal).sum(dim=1)
            z, t, gap = _frozen(class_sums, seen, guide, teacher_centres, labels, over, walk)
        cosines = cosine, (guide * goal).sum(dim=1)
        return parts | _kd_parts(cosines, (z, t, gap), kd_scale, kd_margins, temperature)


def streaming_kd(
    student: Float[Tensor, "B E"],
    teacher: Float[Tensor, "B E"],
    centres: Float[Tensor, "C E"],
    labels: Int[Tensor, " B"],
    *,
    kd_scale: Number = 16.0,
    temperature: Number = 1.0,
    groups: Int[Tensor, " C"] | None = None,
    block: int | None = None,
    backend: Backend = "auto",
) -> dict[str, Tensor]:
    """Label-level KD alone, against centres that never learn and whose classes need not be speakers.

    Gradients reach `student` alone. Arguments as in `streaming_objective`, for its teacher and `projected`.

    Args:
        groups: the group of each class, -1 for none: classes in the target's group are left out of its non-targets.
            The Triton kernels know no groups.

    Returns:
        "tskd", "nskd" and "kld", each [B].
    """
    check_classification(student.new_empty(()).expand(len(student), len(centres)), labels)
    for name, value in (("kd_scale", kd_scale), ("temperature", temperature)):
        check_range(name, value, 0, math.inf)
    _check_sizes(student, centres, teacher, centres, student)
    if groups is None:
        _, class_sums = _passes(backend, student, centres, centres)
    else:
        require(
            backend != "triton", "the Triton kernels know no groups of classes", remedy='use backend="torch"'
        )
        class_sums = partial(frozen_sums, groups=groups)
    walk, over, labels = Walk(block, ALONE), kd_scale / temperature, labels.long()
    with torch.autocast(student.device.type, enabled=False):
        seen = unit(precise(student))
        guide = unit(teacher.detach().to(seen.dtype))
        goal = target_centres(seen, centres, labels, ALONE)
        sums = _frozen(class_sums, seen, guide, centres, labels, over, walk)
        cosines = (seen * goal).sum(dim=1), (guide * goal).sum(dim=1)
        return _kd_parts(cosines, sums, kd_scale, (0.0, 0.0), temperature)


def _kd_parts(
    cosines: tuple[Tensor, Tensor],
    sums: tuple[Tensor, Tensor, Tensor],
    kd_scale: Number,
    margins: tuple[Number, Number],
    temperature: Number,
) -> dict[str, Tensor]:
    """The parts of KD from the target's cosines (student, teacher) and the sums over non-targets, all [B]."""
    over, (z, t, gap) = kd_scale / temperature, sums
    z_odds = over * add_margin(cosines[0], margins[0]) - z
    t_odds = over * add_margin(cosines[1], margins[1]) - t
    tskd = temperature**2 * _binary(t_odds, z_odds)
    nskd = temperature**2 * (z - t + gap)
    return {"tskd": tskd, "nskd": nskd, "kld": tskd + (-t_odds).sigmoid() * nskd}


def _passes(
    backend: Backend, student: Tensor, head: Tensor, teacher_centres: Tensor | None
) -> tuple[type[torch.autograd.Function], Callable[..., Sums]]:
    """The pass over trained centres and the pass over frozen ones."""
    if backend == "torch" or (backend == "auto" and student.device.type != "cuda"):
        return HeadSums, frozen_sums
    sizes = (head.shape[1], 1 if teacher_centres is None else teacher_centres.shape[1])
    why = obstacle(student, sizes)
    if why is None:
        return FusedSums, fused_sums
    require(backend == "auto", f"the Triton kernels cannot be used here: {why}", remedy='use backend="torch"')
    warnings.warn(f"the objective runs without its Triton kernels, more slowly: {why}", stacklevel=3)
    return HeadSums, frozen_sums


def _frozen(
    class_sums: Callable[..., Sums],
    seen: Float[Tensor, "B E"],
    guide: Float[Tensor, "B E"],
    centres: Float[Tensor, "C E"],
    labels: Int[Tensor, " B"],
    over: Number,
    walk: Walk,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """log Σ exp z, log Σ exp t and Σ p̃ · (t − z) over non-targets, student and teacher in one pass."""
    both = torch.cat([seen.detach(), guide])
    sums = class_sums(both, centres, torch.cat([labels, labels]), over=over, walk=walk)
    (z, t), (z_mean, t_mean) = sums.log_sum().chunk(2), sums.mean().chunk(2)
    return _Known.apply(seen, z, over * z_mean), t, over * ((guide - seen) * t_mean).sum(dim=1)


def _binary(t_odds: Float[Tensor, " B"], z_odds: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """KL between (σ(t), σ(−t)) and (σ(z), σ(−z)), to full precision however large the log odds are."""
    target = t_odds.sigmoid() * (F.logsigmoid(t_odds) - F.logsigmoid(z_odds))
    return target + (-t_odds).sigmoid() * (F.logsigmoid(-t_odds) - F.logsigmoid(-z_odds))


def _check_sizes(
    student: Tensor,
    head: Tensor,
    teacher: Tensor | None,
    teacher_centres: Tensor | None,
    projected: Tensor | None,
) -> None:
    """Refuses sizes that do not fit one another."""
    require(
        student.shape[1] == head.shape[1],
        "embeddings do not fit the head",
        got=f"D = {student.shape[1]} and {head.shape[1]}",
        allowed="the same D",
    )
    if teacher is None or teacher_centres is None:
        require(
            teacher is None and teacher_centres is None and projected is None,
            "label-level KD needs the teacher's embeddings and the teacher's class centres",
            remedy="give both; or neither, and no projected embeddings",
        )
        return
    wanted = [len(student), teacher_centres.shape[1]]
    for name, found in (("teacher", teacher), ("projected", projected)):
        require(
            found is None or list(found.shape) == wanted,
            f"the embeddings `{name}` do not fit the student's and the teacher's class centres",
            got=None if found is None else list(found.shape),
            allowed=str(wanted),
        )
    require(
        len(teacher_centres) == len(head),
        "the teacher's class centres are not those of the head's speakers",
        got=f"{len(teacher_centres)} rows",
        allowed=f"{len(head)} rows, in the order of the head's",
    )


class _Known(torch.autograd.Function):
    """A value [B] whose gradient by each row of embeddings [B, D] is known already."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return upstream[:, None] * slope, None, None
