"""What the objective is: kinds of distillation, what each adds up, and every number that weighs them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from distilvox.errors import UserError, require, unknown
from distilvox.losses.checks import Number, check_range
from distilvox.losses.margin import MARGIN_LIMIT
from distilvox.losses.schedule import Course, parse_course

KDMargin = Literal["none", "student", "both"]
KDCentres = Literal["own", "teacher"]
KDProjection = Literal["learned", "pca"]

KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "cosine": ("cosine",),
    "mse": ("mse",),
    "kld": ("kld",),
    "nskd": ("tskd", "nskd"),
    "trkd": ("masses", "confusion"),
    "ukld": ("ukld",),
    "unskd": ("utskd", "unskd"),
}
"""The parts that each kind of KD adds up; a new kind is a line here, its factors and its parts below."""

OVER_SPEAKERS = ("kld", "nskd", "trkd")
"""Kinds of KD that need the speaker's label."""

FACTORS = {
    "cosine": "embedding_weight",
    "mse": "embedding_weight",
    "tskd": "alpha",
    "nskd": "gamma",
    "masses": "alpha",
    "confusion": "gamma",
    "ukld": "utterance_weight",
    "utskd": "utterance_weight",
    "unskd": "utterance_weight",
}
"""The field that weighs a part within the sum; 1 for the others."""

SCHEDULED = (
    "kd_weight",
    "alpha",
    "gamma",
    "embedding_weight",
    "utterance_weight",
    "cutoff",
    "temperature",
    "margin",
)
"""Fields that may move over the training."""

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
        objective: the kind of knowledge distillation: none; of embeddings, cosine or mse; over the training
            speakers, kld, nskd or trkd; over the training utterances, ukld or unskd, which are kld and nskd
            with every utterance as a class of its own; or several of them joined by + as in "nskd+cosine".
            With "none" no field of KD is read.
        kd_weight: w >= 0 of the whole KD part once warmed up.
        kd_warmup_epochs: the KD weight rises linearly from 0 over these; 0 is no warm-up.
        alpha: α >= 0, weight of TSKD in "nskd" and of the three masses in "trkd".
        gamma: γ >= 0, weight of NSKD in "nskd" and of the confusion set in "trkd".
        embedding_weight: >= 0, weight of "cosine" and "mse" within KD.
        utterance_weight: >= 0, weight of "ukld" and "unskd" within KD.
        cutoff: in (0, 1], "trkd" only: how much of the teacher's probability of the other speakers its
            confusion set holds.
        temperature: τ > 0 of label-level KD.
        schedule: fields that move over the training, each `field=start:end@epochs`, linearly and then
            constant, as in "cutoff=0.99:0.7@10"; warm-ups act on top.
        scale: > 0, of the AAM-softmax logits that the cross entropy sees.
        margin: in [0, π/2), once warmed up.
        margin_warmup_epochs: the margin rises linearly from 0 over these.
        kd_scale: > 0, of the cosines on both sides of label-level KD.
        kd_margin: whose target logit carries the (warmed-up) margin in label-level KD.
        kd_centres: what label-level KD compares the student with: its own class centres, or, through a
            projection, the teacher's (better where speakers have few utterances).
        kd_projection: the map from the student's embeddings to the teacher's space, where one is needed: learned
            with the student; or frozen, the student's axes being the principal ones (pca) of the teacher's class
            centres, so that cosines between the student's embeddings themselves are distilled.
    """

    objective: str = "nskd"
    kd_weight: float = 4.0
    kd_warmup_epochs: float = 1.0
    alpha: float = 1.0
    gamma: float = 1.0
    embedding_weight: float = 1.0
    utterance_weight: float = 1.0
    cutoff: float = 0.95
    temperature: float = 1.0
    schedule: tuple[str, ...] = ()
    scale: float = 32.0
    margin: float = 0.2
    margin_warmup_epochs: float = 1.0
    kd_scale: float = 16.0
    kd_margin: KDMargin = "none"
    kd_centres: KDCentres = "teacher"
    kd_projection: KDProjection = "learned"

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("objective", kind, KINDS)
        require(
            len(set(self.kinds)) == len(self.kinds) and ("none" not in self.kinds or len(self.kinds) == 1),
            "the objective is not a sum of different kinds of distillation",
            got=self.objective,
            allowed="none, or kinds joined by +: nskd+cosine",
        )
        for noun, got, known in (
            ("kd_margin", self.kd_margin, get_args(KDMargin)),
            ("kd_centres", self.kd_centres, get_args(KDCentres)),
            ("kd_projection", self.kd_projection, get_args(KDProjection)),
        ):
            if got not in known:
                raise unknown(noun, got, known)
        weights = ("kd_weight", "kd_warmup_epochs", "alpha", "gamma", "embedding_weight", "utterance_weight")
        for name in (*weights, "margin_warmup_epochs"):
            check_range(name, getattr(self, name), 0, math.inf, low_allowed=True)
        for name in ("temperature", "scale", "kd_scale"):
            check_range(name, getattr(self, name), 0, math.inf)
        check_range("margin", self.margin, 0, MARGIN_LIMIT, low_allowed=True)
        require(0 < self.cutoff <= 1, "cutoff is out of range", got=self.cutoff, allowed="0 < cutoff <= 1")
        for name, course in self.courses().items():  # both ends are held to what the field itself allows
            for value in (course.start, course.end):
                self._with({name: value})

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.objective.split("+"))

    @property
    def parts(self) -> tuple[str, ...]:
        """The named parts that KD adds up."""
        return tuple(part for kind in self.kinds for part in KINDS[kind])

    @property
    def over_utterances(self) -> bool:
        """Whether a part has the training utterances as its classes."""
        return "ukld" in self.kinds or "unskd" in self.kinds

    @property
    def over_speakers(self) -> bool:
        """Whether a part of KD has the training speakers as its classes."""
        return any(kind in OVER_SPEAKERS for kind in self.kinds)

    @property
    def needs_no_label(self) -> bool:
        """Whether a part of KD teaches an utterance whose speaker nobody knows."""
        return any(kind not in ("none", *OVER_SPEAKERS) for kind in self.kinds)

    def courses(self) -> dict[str, Course]:
        """field → how it moves.

        Raises:
            UserError: not `field=start:end@epochs`, another field, a field twice.
        """
        found: dict[str, Course] = {}
        for entry in self.schedule:
            name, equals, text = entry.partition("=")
            if not equals:
                raise UserError(
                    "a schedule is field=start:end@epochs",
                    got=entry,
                    allowed="cutoff=0.99:0.7@10, for instance",
                )
            if name not in SCHEDULED:
                raise unknown("scheduled field", name, SCHEDULED)
            require(name not in found, f"the schedule of {name!r} is given twice", got=entry)
            found[name] = parse_course(name, text)
        return found

    def at(self, epoch: Number) -> ObjectiveConfig:
        """The values that hold at `epoch` (fractions count), with schedules and warm-ups applied."""
        now = self._with({name: course.at(epoch) for name, course in self.courses().items()})
        return replace(
            now,
            kd_weight=now.kd_weight * ramp(epoch, self.kd_warmup_epochs),
            margin=now.margin * ramp(epoch, self.margin_warmup_epochs),
        )

    def ended(self, epoch: Number) -> ObjectiveConfig:
        """A copy that stands still at what the schedules have come to at `epoch`; warm-ups are over."""
        now = self._with({name: course.at(epoch) for name, course in self.courses().items()})
        return replace(now, kd_warmup_epochs=0.0, margin_warmup_epochs=0.0)

    def _with(self, values: dict[str, Any]) -> ObjectiveConfig:
        """A copy that stands still, with some fields set."""
        return replace(self, schedule=(), **values)

    def factor(self, part: str) -> float:
        """What weighs a part of KD within its sum."""
        return float(getattr(self, FACTORS[part])) if part in FACTORS else 1.0


def ramp(epoch: Number, over: Number) -> float:
    """Rises linearly from 0 at epoch 0 to 1 at epoch `over`, then stays; 1 throughout if `over` is 0.

    >>> [ramp(epoch, over=2) for epoch in (0, 0.5, 2, 7)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return min(1.0, max(0.0, epoch / over)) if over > 0 else 1.0
