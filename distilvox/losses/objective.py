"""What training minimises: CE(AAM-softmax) + w(epoch) · KD, with every part named and logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from distilvox.errors import UserError, require
from distilvox.losses.checks import Number, precise
from distilvox.losses.config import SEES_MARGIN, ObjectiveConfig
from distilvox.losses.embedding import cosine, mse
from distilvox.losses.ensemble import check_sizes, teacher_logits
from distilvox.losses.kd import label_kd, non_target_kd, target_kd
from distilvox.losses.margin import aam, cross_entropy
from distilvox.losses.passes import Ranks
from distilvox.losses.streaming import ALONE, streaming_kd, streaming_objective
from distilvox.losses.triage import triage_kd
from distilvox.losses.unlabelled import UNKNOWN, check_recordings
from distilvox.models.head import SpeakerHead, cosines

EMBEDDING_PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cosine, "mse": mse}
"""Parts that compare embeddings, the student's projected to the teacher's size where they differ."""

LABEL_PARTS: dict[str, Callable[..., Tensor]] = {"kld": label_kd, "tskd": target_kd, "nskd": non_target_kd}
"""Parts that compare logits over the training speakers, and need no matrix [B, C] (`streaming`)."""

UTTERANCE_PARTS = {"ukld": "kld", "utskd": "tskd", "unskd": "nskd"}
"""Parts over the training utterances, each a class of its own → the same over the speakers."""

TRIAGE_PARTS = ("masses", "confusion")
"""Parts that sort the teacher's logits of each utterance, and so need them written out."""


class Objective(nn.Module):
    """The total to minimise and its named parts, from the embeddings of a batch.

    Owns what is trained besides the student: `head`, and `projection` (a linear map D → D_t without
    bias) where something needs it: KD against the teacher's class centres or utterances, or embedding-level
    KD between different sizes. Elsewhere `projection` is None.

    Args:
        config: which objective.
        head: the student's class centres.
        teacher_centres: the teacher's class centres [C, D_t], rows in the order of `head.names`; frozen
            and not saved with the module. Needed by label-level KD. Embedding-level KD reads only D_t
            from it and, without it, takes D_t = D.
        teacher_sizes: where the teacher is several whose *probabilities* are averaged: the size of each
            one's part of its embedding, adding up to D_t. None is one softmax over the whole. Parts over
            utterances always compare the whole.
        teacher_utterances: the teacher's embeddings [U, D_t] of the training utterances, on the device of the
            batches; needed by the parts over utterances.
        recordings: of each of these [U], -1 where it is not known: two of one recording are not contrasted.

    An utterance without a speaker, label `UNKNOWN`, gives the parts that need none, and no cross entropy. With the head
    `NoSpeakers` no utterance has one.
    """

    teacher_centres: Tensor | None

    def __init__(
        self,
        config: ObjectiveConfig,
        head: SpeakerHead,
        *,
        teacher_centres: Float[Tensor, "C E"] | None,
        teacher_sizes: Sequence[int] = (),
        teacher_utterances: Float[Tensor, "U E"] | None = None,
        recordings: Int[Tensor, " U"] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.head = config, head
        self.ranks: Ranks = ALONE  # or those that share out the centres: `distilvox.train.sharing`
        self.teacher_utterances = teacher_utterances  # no buffer: data parallelism would send it around
        self.recordings = recordings
        if recordings is not None and teacher_utterances is not None:
            check_recordings(recordings, len(teacher_utterances))
        self.by_label = any(name in LABEL_PARTS or name in TRIAGE_PARTS for name in config.parts)
        by_embedding = any(name in EMBEDDING_PARTS for name in config.parts)
        speakers, dim = head.weight.shape
        require(
            speakers > 0 or (config.needs_no_label and not self.by_label),
            f"the objective {config.objective!r} needs speakers, and no utterance has one",
            allowed="cosine, mse, ukld, unskd, or sums of them: ukld+cosine",
        )
        if teacher_centres is None:
            require(
                not self.by_label,
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
        to_centres = config.over_utterances or (self.by_label and config.kd_centres == "teacher")
        needed = to_centres or (by_embedding and self.teacher_dim != dim)
        self.projection = nn.Linear(dim, self.teacher_dim, bias=False) if needed else None
        if self.projection is not None and config.kd_projection == "pca":
            if teacher_centres is None or not speakers or dim > self.teacher_dim:
                raise UserError(
                    "kd_projection=pca needs the teacher's class centres, and student embeddings that are not longer",
                    got=f"D = {dim}, "
                    + (
                        "no centres"
                        if teacher_centres is None or not speakers
                        else f"D_t = {self.teacher_dim}"
                    ),
                    remedy="use kd_projection=learned",
                )
            self.projection.requires_grad_(False)
            self.projection.weight.copy_(principal_axes(teacher_centres, dim))

    def forward(
        self,
        student: Float[Tensor, "B D"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None = None,
        utterances: Int[Tensor, " B"] | None = None,
        *,
        epoch: Number,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """One step's loss, a mean over the batch, in float32 (float64 for float64) under autocast too.

        Args:
            student: embeddings, B >= 1.
            labels: the target speakers, in [0, C), or `UNKNOWN`.
            teacher: the frozen teacher's embeddings of the same views; not needed by objective="none".
            utterances: rows of `teacher_utterances`, in [0, U); needed by the parts over utterances.
            epoch: epochs done so far, fractions count: moves the margin, the weight of KD and what is scheduled.

        Returns:
            The total; and, detached: "ce", the parts of KD before their weights ("tskd", "nskd", "kld",
            "masses", "confusion", "ukld", "utskd",
            "unskd", "cosine", "mse"), "kd_weight" now and whatever else is scheduled, and
            "accuracy": the fraction of utterances whose nearest class centre is their speaker's, without
            margin. Every part is a mean over the whole batch, to which an utterance that cannot give it adds 0;
            without speakers there is no "ce" and no "accuracy".
        """
        now = self.config.at(epoch)
        require(len(student) > 0, "the objective needs at least one utterance", got="an empty batch")
        with torch.autocast(student.device.type, enabled=False):
            student = precise(student)
            if teacher is not None:
                teacher = precise(teacher.detach())
            self._check_teacher(teacher)
            projected = student if self.projection is None else self.projection(student)
            streams = len(self.teacher_sizes) < 2 and not any(name in TRIAGE_PARTS for name in now.parts)
            by_label = self._streaming if streams else self._written_out
            known = labels != UNKNOWN
            found: dict[str, Tensor] = {}
            if len(self.head.names):
                found = by_label(now, student, projected, labels.masked_fill(~known, 0), teacher)
                found = {name: part.where(known, 0) for name, part in found.items()}
            if teacher is not None:
                found |= {
                    name: part(projected, teacher)
                    for name, part in EMBEDDING_PARTS.items()
                    if name in now.parts
                }
            if now.over_utterances:
                found |= self._over_utterances(now, projected, teacher, utterances)
            kd_parts = {name: found[name].mean() for name in now.parts}
            always = {"ce": found["ce"].mean()} if "ce" in found else {}
            total = sum(always.values(), student.new_zeros(()))
            for name, part in kd_parts.items():
                total = total + now.kd_weight * now.factor(name) * part
        weights = {"kd_weight": now.kd_weight if kd_parts else 0.0}
        weights |= {name: getattr(now, name) for name in self.config.courses() if name not in weights}
        parts = {**always, **kd_parts, **{name: total.new_full((), value) for name, value in weights.items()}}
        if always:
            parts["accuracy"] = found["correct"].to(total.dtype).mean()
        return total, {name: part.detach() for name, part in parts.items()}

    def _streaming(
        self,
        now: ObjectiveConfig,
        student: Float[Tensor, "B D"],
        projected: Float[Tensor, "B P"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None,
    ) -> dict[str, Tensor]:
        """Cross entropy, hits and the parts of label-level KD, each [B], without a matrix [B, C]."""
        student_sees, teacher_sees = SEES_MARGIN[now.kd_margin]
        return streaming_objective(
            student,
            self.head.weight,
            labels,
            margin=now.margin,
            scale=now.scale,
            teacher=teacher if self.by_label else None,
            teacher_centres=self.teacher_centres if self.by_label else None,
            projected=projected if self.by_label and now.kd_centres == "teacher" else None,
            kd_scale=now.kd_scale,
            kd_margins=(now.margin * student_sees, now.margin * teacher_sees),
            temperature=now.temperature,
            ranks=self.ranks,
        )

    def _over_utterances(
        self,
        now: ObjectiveConfig,
        projected: Float[Tensor, "B P"],
        teacher: Float[Tensor, "B E"] | None,
        utterances: Int[Tensor, " B"] | None,
    ) -> dict[str, Tensor]:
        """KD against the teacher's embeddings of the training utterances as centres, each part [B]."""
        if teacher is None or utterances is None or self.teacher_utterances is None:
            raise UserError(
                f"the objective {self.config.objective!r} compares with the teacher's embeddings of the training "
                "utterances: it needs them, and which utterances this batch is"
            )
        found = streaming_kd(
            projected,
            teacher,
            self.teacher_utterances,
            utterances,
            kd_scale=now.kd_scale,
            temperature=now.temperature,
            groups=self.recordings,
        )
        return {name: found[over] for name, over in UTTERANCE_PARTS.items()}

    def _written_out(
        self,
        now: ObjectiveConfig,
        student: Float[Tensor, "B D"],
        projected: Float[Tensor, "B P"],
        labels: Int[Tensor, " B"],
        teacher: Float[Tensor, "B E"] | None,
    ) -> dict[str, Tensor]:
        """The same with the logits written out: sorted ones, or averaged probabilities, do not stream."""
        scores = self.head(student)
        found = {
            "ce": cross_entropy(aam(scores, labels, margin=now.margin, scale=now.scale), labels),
            "correct": scores.argmax(dim=1) == labels,
        }
        if teacher is None or self.teacher_centres is None:
            return found
        z = scores if now.kd_centres == "own" else cosines(projected, self.teacher_centres)
        student_sees, teacher_sees = SEES_MARGIN[now.kd_margin]
        z = aam(z, labels, margin=now.margin * student_sees, scale=now.kd_scale)
        t = teacher_logits(
            teacher, self.teacher_centres, labels,
            sizes=self.teacher_sizes, margin=now.margin * teacher_sees, scale=now.kd_scale,
        )  # fmt: skip
        if any(name in TRIAGE_PARTS for name in now.parts):
            both = triage_kd(z, t, labels, cutoff=now.cutoff, temperature=now.temperature)
            found |= dict(zip(TRIAGE_PARTS, both, strict=True))
        wanted = [name for name in now.parts if name in LABEL_PARTS]
        return found | {name: LABEL_PARTS[name](z, t, labels, temperature=now.temperature) for name in wanted}

    def _check_teacher(self, teacher: Float[Tensor, "B E"] | None) -> None:
        """Refuses a batch without the teacher's embeddings where KD needs them, or with those of another."""
        if not self.config.parts:
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


@torch.no_grad()
def principal_axes(centres: Float[Tensor, "C E"], dim: int) -> Float[Tensor, "E D"]:
    """The `dim` directions that hold most of the centres' squared length, as orthonormal columns.

    Fewer centres than `dim` leave the rest of the columns any orthonormal ones.
    """
    _, axes = torch.linalg.eigh(centres.T @ centres)
    return axes.flip(1)[:, :dim]
