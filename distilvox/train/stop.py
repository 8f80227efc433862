"""Whether to stop after this step: the same answer in every process of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from distilvox.interrupts import patient
from distilvox.train.distributed import World


@contextmanager
def stop_signal(world: World) -> Iterator[Callable[[], bool]]:
    """Yields what every process asks once a step: whether SIGTERM came to one of them (`interrupts.patient`).

    The answer is of the step before: it travels while the step is computed, and nobody waits for it.
    """
    with patient() as asked:
        if world.size == 1:
            yield asked
            return
        group = dist.new_group(backend="gloo")
        sent: list[tuple[torch.Tensor, dist.Work]] = []

        def agreed() -> bool:
            heard = False
            for flag, work in sent:
                work.wait()
                heard = bool(flag.item())
            flag = torch.tensor(int(asked()))
            work = dist.all_reduce(flag, dist.ReduceOp.MAX, group=group, async_op=True)
            sent[:] = [(flag, work)]
            return heard

        yield agreed
