"""What training minimises: CE(AAM-softmax) + w(epoch) · KD, with every part named and logged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distilvox.errors import UserError, require, unknown
from distilvox.losses.checks import Number, check_range, precise
from distilvox.losses.embedding import cosine, mse
from distilvox.losses.ensemble import check_sizes, teacher_logits
from distilvox.losses.kd import label_kd, non_target_kd, target_kd
from distilvox.losses.margin import MARGIN_LIMIT, aam, cross_entropy
from distilvox.losses.streaming import streaming_objective
from distilvox.models.head import SpeakerHead, cosines

KD = Literal["none", "cosine", "mse", "kld", "nskd"]
KDMargin = Literal["none", "student", "both"]
KDCentres = Literal["own", "teacher"]

SUMMANDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "cosine": ("cosine",),
    "mse": ("mse",),
    "kld": ("kld",),
    "nskd": ("tskd", "nskd"),
}
"""The parts whose sum is each kind of KD; a new kind is a line here and its parts below."""

EMBEDDING_PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cosine, "mse": mse}
"""Parts that compare embeddings, the student's projected to the teacher's size where they differ."""

LABEL_PARTS: dict[str, Callable[..., Tensor]] = {"kld": label_kd, "tskd": target_kd, "nskd": non_target_kd}
"""Parts that compare logits over the training speakers."""

SEES_MARGIN: dict[str, tuple[bool, bool]] = {
    "none": (False, False),
    "student": (True, False),
    "both": (True, True),
}
"""Whether the student's and the teacher's logits in label-level KD carry the margin."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """Everything that the objective is a function of, besides its inputs. Angles in radians.

    Args:
        objective: the kind of knowledge distillation; with "none" no field of KD is read.
        kd_weight: w >= 0 of the KD part once warmed up.
        kd_warmup_epochs: the KD weight rises linearly from 0 over these; 0 is no warm-up.
        gamma: γ >= 0, NSKD over TSKD; objective="nskd" only.
        temperature: τ > 0 of label-level KD.
        scale: > 0, of the AAM-softmax logits that the cross entropy sees.
        margin: in [0, π/2), once warmed up.
        margin_warmup_epochs: the margin rises linearly from 0 over these.
        kd_scale: > 0, of the cosines on both sides of label-level KD.
        kd_margin: whose target logit carries the (warmed-up) margin in label-level KD.
        kd_centres: what label-level KD compares the student with: its own class centres, or, through a
            projection, the teacher's (better where speakers have few utterances).
    """

    objective: KD = "nskd"
    kd_weight: float = 4.0
    kd_warmup_epochs: float = 1.0
    gamma: float = 1.0
    temperature: float = 1.0
    scale: float = 32.0
    margin: float = 0.2
    margin_warmup_epochs: float = 1.0
    kd_scale: float = 16.0
    kd_margin: KDMargin = "none"
    kd_centres: KDCentres = "teacher"

    def __post_init__(self) -> None:
        for noun, got, known in (
            ("objective", self.objective, get_args(KD)),
            ("kd_margin", self.kd_margin, get_args(KDMargin)),
            ("kd_centres", self.kd_centres, get_args(KDCentres)),
        ):
            if got not in known:
                raise unknown(noun, got, known)
        for name in ("kd_weight", "kd_warmup_epochs", "gamma", "margin_warmup_epochs"):
            check_range(name, getattr(self, name), 0, math.inf, low_allowed=True)
        for name in ("temperature", "scale", "kd_scale"):
            check_range(name, getattr(self, name), 0, math.inf)
        check_range("margin", self.margin, 0, MARGIN_LIMIT, low_allowed=True)


def ramp(epoch: Number, over: Number) -> float:
    """Rises linearly from 0 at epoch 0 to 1 at epoch `over`, then stays; 1 throughout if `over` is 0.

    >>> [ramp(epoch, over=2) for epoch in (0, 0.5, 2, 7)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return min(1.0, max(0.0, epoch / over)) if over > 0 else 1.0


class Objective(nn.Module):
    """The total to minimise and its named parts, from the embeddings of a batch.

    Owns what is trained besides the student: `head`, and `projection` (a linear map D → D_t without
    bias) where something needs it: label-level KD against the teacher's centres, or embedding-level KD
    between different sizes. Elsewhere `projection` is None.

    Args:
        config: which objective.
        head: the student's class centres.
        teacher_centres: the teacher's class centres [C, D_t], rows in the order of `head.names`; frozen
            and not saved with the module. Needed by label-level KD. Embedding-level KD reads only D_t
            from it and, without it, takes D_t = D.
        teacher_sizes: where the teacher is several whose *probabilities* are averaged: the size of each
            one's part of its embedding, adding up to D_t. None is one softmax over the whole.
    """

    teacher_centres: Tensor | None

    def __init__(
        self,
        config: ObjectiveConfig,
        head: SpeakerHead,
        *,
        teacher_centres: Float[Tensor, "C E"] | None,
        teacher_sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.config, self.head = config, head
        self.summands = SUMMANDS[config.objective]
        by_label = any(name in LABEL_PARTS for name in self.summands)
        by_embedding = any(name in EMBEDDING_PARTS for name in self.summands)
        speakers, dim = head.weight.shape
        if teacher_centres is None:
            require(
                not by_label,
                f"the objective {config.objective!r} needs the teacher's class centres",
                remedy="give teacher_centres, one row for each speaker of the head",
            )
        else:
            require(
                teacher_centres.shape[0] == speakers,
                "the teacher's class centres are not those of the head's speakers",
                got=f"{teacher_centres.shape[0]} rows",
                allowed=f"{speakers} rows, in the order of the head's names",
            )
            teacher_centres = precise(teacher_centres.detach())
        self.register_buffer("teacher_centres", teacher_centres, persistent=False)
        self.teacher_dim = dim if teacher_centres is None else teacher_centres.shape[1]
        self.teacher_sizes = tuple(teacher_sizes)
        check_sizes(self.teacher_sizes, self.teacher_dim)
        to_centres = by_label and config.kd_centres == "teacher"
        needed = to_centres or (by_embedding and self.teacher_dim != dim)
        self.projection = nn.Linear(dim, self.teacher_dim, bias=False) if needed else None

    def forward(
        self,
        student: Float[Tensor, "B D"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None = None,
        *,
        epoch: Number,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """One step's loss, a mean over the batch, in float32 (float64 for float64) under autocast too.

        Args:
            student: embeddings, B >= 1.
            labels: the target speakers, in [0, C).
            teacher: the frozen teacher's embeddings of the same views; not needed by objective="none".
            epoch: epochs done so far, fractions count: moves the margin and the weight of KD.

        Returns:
            The total; and, detached: "ce", the parts of KD before γ and weight ("tskd", "nskd", "kld",
            "cosine", "mse"), "kd_weight" now, and "accuracy": the fraction of utterances whose nearest
            class centre is their speaker's, without margin.
        """
        config = self.config
        require(len(student) > 0, "the objective needs at least one utterance", got="an empty batch")
        with torch.autocast(student.device.type, enabled=False):
            student = precise(student)
            if teacher is not None:
                teacher = precise(teacher.detach())
            self._check_teacher(teacher)
            projected = student if self.projection is None else self.projection(student)
            margin = config.margin * ramp(epoch, config.margin_warmup_epochs)
            by_label = self._by_label if len(self.teacher_sizes) > 1 else self._streaming
            found = by_label(student, projected, labels, teacher, margin)
            if teacher is not None:
                found |= {
                    name: part(projected, teacher)
                    for name, part in EMBEDDING_PARTS.items()
                    if name in self.summands
                }
            kd_parts = {name: found[name].mean() for name in self.summands}
            weight = config.kd_weight * ramp(epoch, config.kd_warmup_epochs) if kd_parts else 0.0
            factors = {"nskd": config.gamma}
            total = ce = found["ce"].mean()
            for name, part in kd_parts.items():
                total = total + weight * factors.get(name, 1.0) * part
        parts = {"ce": ce, **kd_parts, "kd_weight": ce.new_full((), weight)}
        parts["accuracy"] = found["correct"].to(ce.dtype).mean()
        return total, {name: part.detach() for name, part in parts.items()}

    def _streaming(
        self,
        student: Float[Tensor, "B D"],
        projected: Float[Tensor, "B P"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None,
        margin: float,
    ) -> dict[str, Tensor]:
        """Cross entropy, hits and the parts of label-level KD, each [B], without a matrix [B, C]."""
        config, by_label = self.config, any(name in LABEL_PARTS for name in self.summands)
        student_sees, teacher_sees = SEES_MARGIN[config.kd_margin]
        return streaming_objective(
            student,
            self.head.weight,
            labels,
            margin=margin,
            scale=config.scale,
            teacher=teacher if by_label else None,
            teacher_centres=self.teacher_centres if by_label else None,
            projected=projected if by_label and config.kd_centres == "teacher" else None,
            kd_scale=config.kd_scale,
            kd_margins=(margin * student_sees, margin * teacher_sees),
            temperature=config.temperature,
        )

    def _by_label(
        self,
        student: Float[Tensor, "B D"],
        projected: Float[Tensor, "B P"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None,
        margin: float,
    ) -> dict[str, Tensor]:
        """The same, with the logits written out: averaged probabilities do not stream."""
        config = self.config
        scores = self.head(student)
        found = {
            "ce": cross_entropy(aam(scores, labels, margin=margin, scale=config.scale), labels),
            "correct": scores.argmax(dim=1) == labels,
        }
        if teacher is None or self.teacher_centres is None:
            return found
        z = scores if config.kd_centres == "own" else cosines(projected, self.teacher_centres)
        student_sees, teacher_sees = SEES_MARGIN[config.kd_margin]
        z = aam(z, labels, margin=margin * student_sees, scale=config.kd_scale)
        t = teacher_logits(
            teacher, self.teacher_centres, labels,
            sizes=self.teacher_sizes, margin=margin * teacher_sees, scale=config.kd_scale,
        )  # fmt: skip
        wanted = [name for name in self.summands if name in LABEL_PARTS]
        return found | {
            name: LABEL_PARTS[name](z, t, labels, temperature=config.temperature) for name in wanted
        }

    def _check_teacher(self, teacher: Float[Tensor, "B E"] | None) -> None:
        """Refuses a batch without the teacher's embeddings where KD needs them, or with those of another."""
        if not self.summands:
            return
        if teacher is None:
            raise UserError(
                f"the objective {self.config.objective!r} needs the teacher's embeddings of this batch"
            )
        require(
            teacher.shape[1] == self.teacher_dim,
            "the teacher's embeddings do not have the size that this objective was made for",
            got=f"D_t = {teacher.shape[1]}",
            allowed=f"D_t = {self.teacher_dim}",
            remedy="make the Objective with this teacher's class centres",
        )
