"""One training step: what `fit` does over and over, and what `profile` times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilvox import models
from distilvox.losses.objective import Objective
from distilvox.train.config import TrainConfig
from distilvox.train.distributed import World
from distilvox.train.sharing import HeadShare
from distilvox.train.stages import Stage
from distilvox.train.targets import Targets
from distilvox.views.batches import Batch, Views


class Distiller(nn.Module):
    """Student and objective in one module, so that data parallelism wraps everything that learns."""

    def __init__(self, student: models.Student, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.objective = objective

    def forward(
        self,
        waves: Tensor,
        labels: Tensor,
        teacher: Tensor | None,
        epoch: float,
        utterances: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(self.student(waves), labels, teacher, utterances, epoch=epoch)


@dataclass(frozen=True)
class Learner:
    """All that learns, on its device.

    Attributes:
        module: student and objective.
        model: the same, in data parallelism where there are other processes: what a step calls.
        share: of the class centres, what this process holds.
        bf16: whether the network computes in bfloat16.
    """

    module: Distiller
    model: nn.Module
    share: HeadShare
    device: torch.device
    bf16: bool
    world: World

    @classmethod
    def of(
        cls, student: models.Student, objective: Objective, *,
        train: TrainConfig, device: torch.device, bf16: bool, world: World,
    ) -> Learner:  # fmt: skip
        """Places both on the device and joins them with those of the other processes; in training mode."""
        share = HeadShare(objective, world, train.shard_head)
        module = Distiller(student, objective).to(device).train()
        return cls(module, share.parallel(module), share, device, bf16, world)

    def enter(self, stage: Stage, targets: Targets | None) -> None:
        """Turns to a stage: its objective, its class centres and utterances of the teacher."""
        objective = self.module.objective
        objective.config = stage.objective
        if targets is not None and objective.teacher_centres is not None:
            objective.teacher_centres.copy_(targets.head.weight[self.share.held])
            if stage.objective.over_utterances:
                objective.teacher_utterances = targets.utterances().to(self.device)

    @property
    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def which(self, views: Views) -> Tensor | None:
        """Which utterances these are, [B] on the device; None where the objective does not ask."""
        by_utterance = self.module.objective.config.over_utterances
        return torch.tensor(views.utterances, device=self.device) if by_utterance else None

    def weight(self, views: Views, stage: Stage) -> float:
        """What makes the mean over the processes that over the whole batch: 1 unless their shares differ in size."""
        return len(views.labels) * self.world.size / stage.batch_size


def train_step(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    stage: Stage,
    batch: Batch,
    target: Tensor | None,
    *,
    max_grad_norm: float,
) -> dict[str, Tensor]:
    """Forward, backward, clip, update.

    Args:
        batch: this process's share; its `step` and `epoch` count within the run's `stage`.
        target: the teacher's embeddings of it [B, D_t]; None without KD.

    Returns:
        "total", every part of the objective, and "grad_norm", on the device and not waited for. The mean of each over
        the processes is that of the whole batch.
    """
    views = batch.views
    for group in optimiser.param_groups:
        group["lr"] = stage.rate(batch.step)
    with learner.autocast:
        total, parts = learner.model(
            views.waves, views.labels, target, stage.own_epoch(batch.step), learner.which(views)
        )
    weight = learner.weight(views, stage)
    optimiser.zero_grad(set_to_none=True)
    (total * weight).backward()
    norm = learner.share.clip(learner.module, max_grad_norm)
    optimiser.step()
    return {
        **{name: value.detach() * weight for name, value in {"total": total, **parts}.items()},
        "grad_norm": norm,
    }
