"""The stages of a run: training, and after it perhaps fine-tuning on longer crops with a larger margin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.evaluation.judge import Judge
from distilvox.losses.config import ObjectiveConfig
from distilvox.teachers.base import Teacher
from distilvox.train.config import RunConfig
from distilvox.train.distributed import World
from distilvox.train.schedules import learning_rate
from distilvox.train.targets import Targets, prepare_targets
from distilvox.views.bank import Bank
from distilvox.views.batches import steps_per_epoch, whole_batch
from distilvox.views.draws import ViewConfig

RISE = 0.1
"""Share of fine-tuning in which its learning rate rises."""


@dataclass(frozen=True)
class Stage:
    """Epochs with one kind of view, one objective, one schedule and one optimiser.

    Attributes:
        name: for people.
        option: of the command line that sets its learning rate, for messages.
        batch_size: utterances a step, over all processes together.
        first_epoch, first_step: epochs and steps of the stages before it.
        epochs, epoch_steps: its length.
        peak, final: learning rates.
        warmup_steps: of the rise to the peak.
    """

    name: str
    option: str
    views: ViewConfig
    objective: ObjectiveConfig
    batch_size: int
    first_epoch: int
    first_step: int
    epochs: int
    epoch_steps: int
    peak: float
    final: float
    warmup_steps: int

    @property
    def steps(self) -> int:
        return self.epochs * self.epoch_steps

    @property
    def end_step(self) -> int:
        """Steps done when it is over."""
        return self.first_step + self.steps

    @property
    def end_epoch(self) -> int:
        """Epochs done when it is over."""
        return self.first_epoch + self.epochs

    def position(self, place: int) -> float:
        """Epochs done before its step number `place`, from 0, fractions count."""
        return self.first_epoch + place / self.epoch_steps

    def rate(self, place: int) -> float:
        """The learning rate of its step number `place`, from 0."""
        return learning_rate(
            place, total_steps=self.steps, warmup_steps=self.warmup_steps, peak=self.peak, final=self.final
        )


def stages(config: RunConfig, utterances: int, world_size: int = 1) -> tuple[Stage, ...]:
    """The stages of a run over a corpus of so many utterances, in order.

    In fine-tuning the margin is at its value from the first step on, and so is the weight of distillation. Step
    and epoch numbers go on, so that its crops and orders are new ones.

    Raises:
        UserError: fine-tuning with shorter crops or a smaller margin; a batch that does not fit corpus or ranks.
    """
    train, tune = config.train, config.finetune
    sizes = {train.batch_size, tune.batch_size or train.batch_size} if tune.epochs else {train.batch_size}
    uneven = [size for size in sizes if whole_batch(utterances, size, world_size) % world_size]
    require(
        not (train.shard_head and uneven),
        "class centres are shared out by processes that share every batch equally",
        got=f"batches of {', '.join(map(str, uneven))}, {world_size} processes",
        allowed=f"a batch size that is a multiple of {world_size}",
        remedy="choose another batch size, or train without --shard-head",
    )
    epoch_steps = steps_per_epoch(utterances, train.batch_size, world_size)
    training = Stage(
        name="training", option="--learning-rate", views=config.views, objective=config.objective,
        batch_size=whole_batch(utterances, train.batch_size, world_size),
        first_epoch=0, first_step=0, epochs=train.epochs, epoch_steps=epoch_steps,
        peak=train.learning_rate, final=train.learning_rate * train.final_rate,
        warmup_steps=round(train.warmup_epochs * epoch_steps),
    )  # fmt: skip
    if tune.epochs == 0:
        return (training,)
    check_finetune(config)
    batch_size = tune.batch_size or train.batch_size
    epoch_steps = steps_per_epoch(utterances, batch_size, world_size)
    tuning = Stage(
        name="fine-tuning", option="--finetune.learning-rate",
        batch_size=whole_batch(utterances, batch_size, world_size),
        views=replace(config.views, seconds=tune.seconds, speeds=(1.0,), speed_is_new_speaker=False),
        objective=replace(config.objective, margin=tune.margin, margin_warmup_epochs=0.0, kd_warmup_epochs=0.0),
        first_epoch=training.end_epoch, first_step=training.end_step, epochs=tune.epochs, epoch_steps=epoch_steps,
        peak=tune.learning_rate, final=tune.learning_rate * train.final_rate,
        warmup_steps=round(RISE * tune.epochs * epoch_steps),
    )  # fmt: skip
    return training, tuning


def check_finetune(config: RunConfig) -> None:
    """Refuses fine-tuning, where there is some, on shorter crops or with a smaller margin than training."""
    tune = config.finetune
    for name, ours, least in (
        ("seconds", tune.seconds, config.views.seconds),
        ("margin", tune.margin, config.objective.margin),
    ):
        require(
            tune.epochs == 0 or ours >= least,
            "fine-tuning is on longer crops and with a larger margin than training",
            got=f"finetune.{name} {ours:g}",
            allowed=f"{least:g}, that of training, or more",
        )


def stage_targets(
    plan: tuple[Stage, ...],
    teacher: Teacher,
    corpus: Corpus,
    *,
    config: RunConfig,
    bank: Bank,
    device: torch.device,
    cache: Path | None = None,
    judge: Judge | None = None,
    world: World = World(),  # noqa: B008 (frozen)
) -> list[Targets]:
    """What the teacher gives in each stage: all of it made before the first step.

    A teacher that sees the student's views has a cache for each stage, and class centres made from it. Speakers at
    another speed are not heard in fine-tuning: they keep their centres, the last rows.

    Args:
        plan: `stages` of the run.
        cache: a folder for the first stage; that of fine-tuning lies beside it. Beside the corpus if None.
        judge: dev trials for the teacher's own EER; looked at once.
    """
    shown = config.targets
    if shown is None:
        return []

    def prepare(stage: Stage, folder: Path | None, judge: Judge | None) -> Targets:
        return prepare_targets(
            teacher, corpus, config=shown, views=stage.views, bank=bank, scale=config.objective.kd_scale,
            device=device, cache=folder, judge=judge, world=world,
        )  # fmt: skip

    first = _of_first(prepare(plan[0], cache, judge), world)
    found = [first]
    for stage in plan[1:]:
        if shown.sees == "utterance":  # whatever the crop, it hears the whole
            found.append(first)
            continue
        beside = cache and cache.with_name(f"{cache.name}-{stage.views.seconds:g}s")
        later = prepare(stage, beside, None)
        weight = torch.cat([later.head.weight, first.head.weight[len(later.head.weight) :]])
        found.append(_of_first(replace(later, head=replace(later.head, weight=weight)), world))
    return found


def _of_first(targets: Targets, world: World) -> Targets:
    """The same with rank 0's class centres: they are fitted, and must be one matrix in every process."""
    return replace(targets, head=replace(targets.head, weight=world.sent(targets.head.weight)))
