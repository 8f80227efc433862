"""Everything that decides a run, as frozen dataclasses: what the user asked for, and nothing derived."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from distilvox.corpus.subset import SubsetConfig
from distilvox.errors import require
from distilvox.limits import check_limit, check_seed
from distilvox.losses.checks import check_range
from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.margin import MARGIN_LIMIT
from distilvox.teachers.config import TargetConfig, check_literals
from distilvox.train.fields import differences, full_name, replace_fields, to_json
from distilvox.views.draws import ViewConfig

__all__ = [
    "FineTuneConfig",
    "RunConfig",
    "SubsetConfig",
    "TargetConfig",
    "TrainConfig",
    "differences",
    "full_name",
    "replace_fields",
    "to_json",
]


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, optimiser and the machine.

    Attributes:
        epochs: passes over the corpus.
        batch_size: utterances a step, over all processes together.
        learning_rate: peak of AdamW's schedule: linear warm-up, then half a cosine down to `final_rate` of it.
            Never scaled by the number of processes.
        final_rate: what the learning rate ends at, as a fraction of its peak.
        warmup_epochs: length of the rise.
        weight_decay: on matrices and filters, not on biases and norms.
        max_grad_norm: gradients are clipped to this length.
        seed: of the weights and of the order of utterances (the crops have their own, `views.seed`).
        evaluate_epochs: judge on the trials every so many epochs (and always at the end).
        checkpoint_steps: write a checkpoint every so many steps (and after every epoch).
        precision: of the network; `auto` is bf16 where the processor computes it, else float32.
        threads: CPU threads of torch; 0 leaves torch's own choice.
        shard_head: of several processes, each holds and trains its share of the class centres, not all of them:
            for more speakers than one device has memory for.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-2
    max_grad_norm: float = 5.0
    seed: int = 0
    evaluate_epochs: int = 5
    checkpoint_steps: int = 200
    precision: Literal["auto", "float32", "bf16"] = "auto"
    threads: int = 0
    shard_head: bool = False

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "a run needs at least one epoch", got=self.epochs, allowed="1 or more")
        require(
            self.batch_size >= 2,
            "batch normalisation needs a batch",
            got=self.batch_size,
            allowed="2 or more",
        )
        require(
            self.learning_rate > 0,
            "the learning rate must be positive",
            got=self.learning_rate,
            allowed="> 0",
        )
        require(
            0 <= self.final_rate <= 1,
            "the final rate is a fraction of the peak",
            got=self.final_rate,
            allowed="0 to 1",
        )
        require(
            self.warmup_epochs >= 0, "warm-up cannot be negative", got=self.warmup_epochs, allowed="0 or more"
        )
        require(
            self.weight_decay >= 0,
            "weight decay cannot be negative",
            got=self.weight_decay,
            allowed="0 or more",
        )
        require(
            self.max_grad_norm > 0,
            "the gradient bound must be positive",
            got=self.max_grad_norm,
            allowed="> 0",
        )
        check_seed(self.seed, what="the training seed (--seed)")
        require(self.evaluate_epochs >= 1, "evaluate every 1 or more epochs", got=self.evaluate_epochs)
        require(self.checkpoint_steps >= 1, "checkpoint every 1 or more steps", got=self.checkpoint_steps)
        require(
            self.threads >= 0,
            "threads cannot be negative",
            got=self.threads,
            allowed="0 (torch's choice) or more",
        )
        for name in ("threads", "epochs", "batch_size"):
            check_limit(name, getattr(self, name), what=f"--{name.replace('_', '-')}")
        for name in ("learning_rate", "warmup_epochs", "weight_decay", "max_grad_norm"):
            value = getattr(self, name)
            require(math.isfinite(value), f"{name} must be finite", got=value)
        check_literals(self, "precision")


@dataclass(frozen=True)
class FineTuneConfig:
    """Large-margin fine-tuning: a second stage of the run, on longer crops without change of speed.

    Source: Thienpondt, Desplanques and Demuynck, "The IDLab VoxSRC-20 Submission: Large Margin Fine-Tuning and
    Quality-Aware Score Calibration", ICASSP 2021 (arXiv 2010.11255). Distillation, where there is one, goes on.

    Attributes:
        epochs: passes over the corpus, after those of training; 0 is no such stage.
        seconds: length of its crops, at least that of training.
        margin: of the AAM-softmax from the first step on, in radians, at least that of training.
        learning_rate: peak of its own schedule: a rise over a tenth of the stage, then half a cosine down to
            `train.final_rate` of it.
        batch_size: utterances a step, over all processes together; 0 is that of training.
        schedule: fields of the objective that move over this stage, as in --schedule, epochs counted from its first.
            What training's schedule moved stands still at what it had come to.
    """

    epochs: int = 0
    seconds: float = 6.0
    margin: float = 0.5
    learning_rate: float = 1e-4
    batch_size: int = 0
    schedule: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(
            self.epochs >= 0, "fine-tuning epochs cannot be negative", got=self.epochs, allowed="0 or more"
        )
        check_range("finetune.seconds", self.seconds, 0, math.inf)
        check_limit("view_seconds", self.seconds, what="--finetune.seconds")
        check_limit("epochs", self.epochs, what="--finetune.epochs")
        check_range("finetune.margin", self.margin, 0, MARGIN_LIMIT, low_allowed=True)
        check_range("finetune.learning_rate", self.learning_rate, 0, math.inf)
        require(
            self.batch_size == 0 or self.batch_size >= 2,
            "batch normalisation needs a batch, in fine-tuning too",
            got=self.batch_size,
            allowed="2 or more; 0 is the batch of training",
        )


@dataclass(frozen=True)
class StageConfig:
    """One stage of a run, whole: nothing of it is looked up in another one.

    Attributes:
        name: for people.
        option: of the command line that sets its learning rate, for messages.
        epochs: passes over the corpus.
        batch_size: utterances a step, over all processes together.
        learning_rate, final_rate: the peak, and what it ends at, as a fraction of the peak.
        warmup_epochs: length of the rise to the peak; of a batch's length at least where it is not 0.
        views: what is heard.
        objective: what is minimised; the epochs of its schedules and warm-ups count from the stage's first.
    """

    name: str
    option: str
    epochs: int
    batch_size: int
    learning_rate: float
    final_rate: float
    warmup_epochs: float
    views: ViewConfig
    objective: ObjectiveConfig


RISE = 0.1
"""Share of fine-tuning in which its learning rate rises."""


@dataclass(frozen=True)
class RunConfig:
    """One run, whole.

    Attributes:
        student: a name from `distilvox.models.MODELS`; if empty, the student of `init`, or xvector-s without one.
        student_options: fields of that student's config that differ from its defaults.
        init: `run:FOLDER`, a trained run of the same architecture whose weights the student starts with; if empty,
            the weights are drawn from the seed.
        targets: how the teacher is used; None for plain training.
        finetune: a second stage with a larger margin; its fields go by their full names only.
        subset: the speakers and utterances that are trained on; its fields go by their full names only.
        frontend: the student's features: `sherpa`, `wespeaker` or `3dspeaker`, `?field=value&…` behind it sets fields
            (`distilvox.models.frontend.read_frontend`); if empty, those of `init`, or sherpa's without one.
    """

    student: str = ""
    student_options: dict[str, Any] = field(default_factory=dict)
    init: str = ""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    targets: TargetConfig | None = field(default_factory=TargetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    subset: SubsetConfig = field(default_factory=SubsetConfig)
    frontend: str = ""

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """Training, and fine-tuning behind it where that has epochs; each with its own objective and schedules.

        In fine-tuning the margin is its own from the first step on, and the weight of distillation that which
        training's schedules ended with.

        Raises:
            UserError: fine-tuning on shorter crops, or with a smaller margin, than training.
        """
        train, tune = self.train, self.finetune
        training = StageConfig(
            "training", "--learning-rate", train.epochs, train.batch_size, train.learning_rate,
            train.final_rate, train.warmup_epochs, self.views, self.objective,
        )  # fmt: skip
        if tune.epochs == 0:
            return (training,)
        for name, ours, least in (
            ("seconds", tune.seconds, self.views.seconds),
            ("margin", tune.margin, self.objective.margin),
        ):
            require(
                ours >= least,
                "fine-tuning is on longer crops and with a larger margin than training",
                got=f"finetune.{name} {ours:g}",
                allowed=f"{least:g}, that of training, or more",
            )
        views = replace(self.views, seconds=tune.seconds, speeds=(1.0,), speed_is_new_speaker=False)
        objective = replace(self.objective.ended(train.epochs), margin=tune.margin, schedule=tune.schedule)
        return training, StageConfig(
            "fine-tuning", "--finetune.learning-rate", tune.epochs, tune.batch_size or train.batch_size,
            tune.learning_rate, train.final_rate, RISE * tune.epochs, views, objective,
        )  # fmt: skip
