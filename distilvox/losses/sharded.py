"""Class centres shared out over processes: each holds some, all see every utterance, sums travel.

    held = share(len(names), rank, size)              # this process's classes
    ranks = Sharded(classes=len(names))
    parts = streaming_objective(student, head[held], labels, teacher_centres=centres[held], ranks=ranks, …)
    (parts["ce"].sum() / (len(student) * size)).backward()    # the mean over every process's utterances

Embeddings, labels and gradients of embeddings cross the network, [B, D] for each process, and a few
numbers for each utterance: nothing of size [B, C] or [C, D]. The sums merge by the law that joins blocks.

Every process gives as many utterances as the others and gets the parts of its own. The gradients are
those of the sum of what all processes back-propagate: whole for the classes that a process holds, whole
for its own embeddings. So gradients of the student's weights, and of a projection, are then to be added
over the processes (DistributedDataParallel averages them: multiply the loss by their number), those of
the head not at all.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from distilvox.errors import require
from distilvox.losses.passes import Ranks


def share(classes: int, rank: int, size: int) -> slice:
    """The classes of one process; shares differ by one at most.

    >>> [share(7, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    require(
        classes >= size,
        "there are fewer speakers than processes to share them",
        got=f"{classes} speakers, {size} processes",
        remedy="use fewer processes, or a whole head in each",
    )
    each, more = divmod(classes, size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


class Sharded(Ranks):
    """This process's share of the classes, by `share`, in the process group that is running.

    Args:
        classes: C, over all processes.
        group: the processes; None is all of them.
    """

    def __init__(self, classes: int, group: dist.ProcessGroup | None = None) -> None:
        self.group, self.total = group, classes
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.held = share(classes, self.rank, self.size)
        self.start = self.held.start

    def classes(self, held: int) -> int:
        """C; refuses a share that is not this process's."""
        require(
            held == self.held.stop - self.held.start,
            "the head does not hold this process's share of the speakers",
            got=f"{held} class centres",
            allowed=f"{self.held.stop - self.held.start}: speakers {self.held.start} to {self.held.stop - 1}",
            remedy="take head[share(classes, rank, size)]",
        )
        return self.total

    def gather(self, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous(), group=self.group)
        return torch.cat(parts)

    def mine(self, rows: Tensor) -> Tensor:
        return rows.chunk(self.size)[self.rank]

    def add(self, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed, group=self.group)
        return summed

    def largest(self, values: Tensor) -> Tensor:
        highest = values.clone()
        dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=self.group)
        return highest
