"""The stages of a run: training, and after it perhaps fine-tuning on longer crops with a larger margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.evaluation.judge import Judge
from distilvox.losses.config import ObjectiveConfig
from distilvox.teachers.base import Teacher
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.taught import Taught
from distilvox.train.config import RunConfig, StageConfig
from distilvox.train.distributed import World
from distilvox.train.schedules import learning_rate
from distilvox.train.targets import Targets, stage_cache
from distilvox.views.bank import Bank
from distilvox.views.batches import steps_per_epoch, whole_batch
from distilvox.views.draws import ViewConfig


@dataclass(frozen=True)
class Stage:
    """A stage of a run in steps: one kind of view, one objective, one schedule and one optimiser.

    Attributes:
        config: what was asked for.
        batch_size: utterances a step, over all processes together.
        first_epoch, first_step: epochs and steps of the stages before it.
        epoch_steps: steps of an epoch.
    """

    config: StageConfig
    batch_size: int
    first_epoch: int
    first_step: int
    epoch_steps: int

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def views(self) -> ViewConfig:
        return self.config.views

    @property
    def objective(self) -> ObjectiveConfig:
        return self.config.objective

    @property
    def epochs(self) -> int:
        return self.config.epochs

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

    @property
    def warmup_steps(self) -> int:
        """Of the rise to the peak."""
        return round(self.config.warmup_epochs * self.epoch_steps)

    def own_epoch(self, place: int) -> float:
        """Epochs of this stage before its step number `place`, from 0, fractions count: what its objective goes by."""
        return place / self.epoch_steps

    def position(self, place: int) -> float:
        """The same, counted from the run's first: what is logged."""
        return self.first_epoch + self.own_epoch(place)

    def rate(self, place: int) -> float:
        """The learning rate of its step number `place`, from 0."""
        peak = self.config.learning_rate
        return learning_rate(
            place, total_steps=self.steps, warmup_steps=self.warmup_steps, peak=peak,
            final=peak * self.config.final_rate,
        )  # fmt: skip


def stages(config: RunConfig, utterances: int, world_size: int = 1) -> tuple[Stage, ...]:
    """The stages of a run over a corpus of so many utterances, in order.

    Step and epoch numbers go on from stage to stage, so that crops and orders are new ones.

    Raises:
        UserError: as `RunConfig.stages`; a batch that does not fit corpus or ranks.
    """
    found: list[Stage] = []
    for wanted in config.stages:
        size = whole_batch(utterances, wanted.batch_size, world_size)
        require(
            not config.train.shard_head or size % world_size == 0,
            "class centres are shared out by processes that share every batch equally",
            got=f"batches of {size}, {world_size} processes",
            allowed=f"a batch size that is a multiple of {world_size}",
            remedy="choose another batch size, or train without --shard-head",
        )
        epoch, step = (found[-1].end_epoch, found[-1].end_step) if found else (0, 0)
        per_epoch = steps_per_epoch(utterances, wanted.batch_size, world_size)
        found.append(Stage(wanted, size, epoch, step, per_epoch))
    return tuple(found)


def taught_stages(
    plan: tuple[Stage, ...], teacher: Teacher, corpus: Corpus, *,
    config: RunConfig, bank: Bank, device: torch.device, cache: Path | None = None,
    world: World = World(),  # noqa: B008 (frozen)
) -> list[Taught]:  # fmt: skip
    """The teacher over the corpus as each stage hears it; its caches are filled.

    Args:
        plan: `stages` of the run.
        teacher: on `device`.
        cache: a folder for the first stage; that of fine-tuning lies beside it. Beside the corpus if None.
    """
    shown, found = config.targets or TargetConfig(), list[Taught]()
    for stage in plan:
        if found and shown.sees == "utterance":  # whatever the crop, it hears the whole
            found.append(found[0])
            continue
        place = stage_cache(cache, stage.views.seconds) if found else cache
        found.append(
            Taught.open(
                teacher, corpus, config=shown, views=stage.views, bank=bank, device=device, ranks=world,
                cache=place,
            )
        )  # fmt: skip
    return found


def stage_targets(taught: Sequence[Taught], world: World, judge: Judge | None = None) -> list[Targets]:
    """What the steps of each stage ask for: all of it made before the first.

    Speakers at another speed are not heard in fine-tuning: they keep their centres, the last rows.

    Args:
        judge: dev trials that the student and the teacher are compared on.
    """
    first = _of_first(Targets.of(taught[0], judge), world)
    found = [first]
    for stage in taught[1:]:
        if stage is taught[0]:
            found.append(first)
            continue
        later = Targets.of(stage, judge)
        weight = torch.cat([later.head.weight, first.head.weight[len(later.head.weight) :]])
        found.append(_of_first(replace(later, head=replace(later.head, weight=weight)), world))
    return found


def _of_first(targets: Targets, world: World) -> Targets:
    """The same with rank 0's class centres: they are fitted, and must be one matrix in every process."""
    return replace(targets, head=replace(targets.head, weight=world.sent(targets.head.weight)))
