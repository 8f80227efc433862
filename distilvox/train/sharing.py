"""The class centres in a training: whole in every process, or shared out (`TrainConfig.shard_head`).

Shared out, a process holds and optimises a part of the student's own centres and has that part of the teacher's
(`distilvox.losses.sharded`). DistributedDataParallel leaves them alone. Gradients are what they are with whole heads:
of the mean over every process's utterances. What is saved is whole, so that any number of processes goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from distilvox.errors import require
from distilvox.losses.objective import TRIAGE_PARTS, Objective
from distilvox.losses.sharded import Sharded, share
from distilvox.train.distributed import World
from distilvox.train.syncnorm import synchronised

WEIGHT = "objective.head.weight"
"""The name of what is shared out, in the module of student and objective."""

PIECE = 2**24
"""Numbers sent at a time to the process that saves: 64 MB."""


class HeadShare:
    """What this process holds of the class centres.

    Args:
        objective: with every centre; keeps this process's, if they are shared out.
        world: the processes; one alone holds all.
        shard: whether to share them out.

    Attributes:
        held: this process's rows of every matrix [C, …].

    Raises:
        UserError: fewer speakers than processes; an objective that needs whole rows of logits.
    """

    def __init__(self, objective: Objective, world: World, shard: bool) -> None:
        self.objective, self.world, self.ranks, self.held = objective, world, None, slice(None)
        if not shard or world.size == 1:
            return
        sorts = [name for name in objective.config.parts if name in TRIAGE_PARTS]
        require(
            not sorts and len(objective.teacher_sizes) < 2,
            "class centres cannot be shared out under this objective, which needs all logits of an utterance together",
            got=", ".join(sorts) or "an ensemble's averaged probabilities",
            remedy="train without --shard-head",
        )
        self.ranks = ranks = Sharded(len(objective.head.weight))
        self.held, objective.ranks = ranks.held, ranks
        weight = nn.Parameter(objective.head.weight.detach()[self.held].clone())
        # The sharded pass gives the gradient of the sum of all processes' losses; each loss is a mean over its own.
        weight.register_post_accumulate_grad_hook(self._mean)
        objective.head.weight = weight
        if objective.teacher_centres is not None:
            objective.teacher_centres = objective.teacher_centres[self.held].clone()

    def _mean(self, weight: Tensor) -> None:
        if weight.grad is not None:
            weight.grad /= self.world.size

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module in data parallelism, if there are other processes: a step is that of one with the whole batch."""
        if self.world.size == 1:
            return module
        # Batch norm is that of the whole batch: its running moments are the same everywhere, and need not be sent.
        still = [name for name, _ in module.named_buffers()] + ([] if self.ranks is None else [WEIGHT])
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, still)
        return DistributedDataParallel(synchronised(module))

    def clip(self, module: nn.Module, longest: float) -> Tensor:
        """Clips the gradients of all parameters together to a length; returns what it was, the same everywhere."""
        if self.ranks is None:
            return nn.utils.clip_grad_norm_(module.parameters(), longest)
        head = self.objective.head.weight
        grads = [p.grad for p in module.parameters() if p is not head and p.grad is not None]
        of_head = head.new_zeros(()) if head.grad is None else torch.linalg.vector_norm(head.grad)
        norm = (get_total_norm(grads) ** 2 + self.ranks.add(of_head**2)).sqrt()
        clip_grads_with_norm_(module.parameters(), longest, norm)
        return norm

    # ---- what is saved and loaded is whole; every process calls these ----------------------------------------

    def states(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[dict, dict]:
        """What a checkpoint holds of both: whole in the main process, only there of use."""
        return self._of_model(module.state_dict(), self._whole), self._of_optimiser(
            optimiser, optimiser.state_dict(), self._whole
        )

    def load(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Gives a module what `states` made of one."""
        module.load_state_dict(self._of_model(state, self._mine))

    def load_optimiser(self, optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Gives an optimiser what `states` made of one."""
        optimiser.load_state_dict(self._of_optimiser(optimiser, state, self._mine))

    def restore(self) -> None:
        """At the end of a training: the main process has all of the student's centres again."""
        if self.ranks is not None:
            self.objective.head.weight = nn.Parameter(self._whole(self.objective.head.weight))

    def _of_model(self, state: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        return {name: change(value) if name == WEIGHT else value for name, value in state.items()}

    def _of_optimiser(
        self, optimiser: torch.optim.Optimizer, state: Mapping[str, Any], change: Callable[[Tensor], Tensor]
    ) -> dict[str, Any]:
        """Its moments of the head changed; they are matrices, and the count of steps is not."""
        owned = [p for group in optimiser.param_groups for p in group["params"]]
        number = next(k for k, p in enumerate(owned) if p is self.objective.head.weight)
        each = dict(state["state"])
        if number in each:
            each[number] = {
                name: change(value) if isinstance(value, Tensor) and value.ndim == 2 else value
                for name, value in each[number].items()
            }
        return {**state, "state": each}

    def _mine(self, whole: Tensor) -> Tensor:
        return whole if self.ranks is None else whole[self.held].clone()

    def _whole(self, part: Tensor) -> Tensor:
        """All rows [C, D], on the CPU, in the main process; the others send theirs and keep their part."""
        if self.ranks is None:
            return part
        part = part.detach()
        rows = max(1, PIECE // part.shape[1])
        if not self.world.is_main:
            for piece in part.split(rows):
                dist.send(piece.contiguous(), 0)
            return part
        whole = torch.empty(self.ranks.total, part.shape[1], dtype=part.dtype)
        whole[self.held] = part.cpu()
        for other in range(1, self.world.size):
            for place in torch.arange(self.ranks.total)[
                share(self.ranks.total, other, self.world.size)
            ].split(rows):
                piece = part.new_empty(len(place), part.shape[1])
                dist.recv(piece, other)
                whole[place] = piece.cpu()
        return whole
