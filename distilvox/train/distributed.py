"""Processes under torchrun: who am I, what do the others say. Alone, every call gives back what it was given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from distilvox.errors import UserError, require

PATIENCE = timedelta(hours=3)
"""How long processes wait for one another: the first judges alone, and the teacher's work is never quite even."""


CPU = torch.device("cpu")
PIECE = 2**26
"""Bytes sent at a time."""


@dataclass(frozen=True)
class World:
    """Rank and size of the group of processes, and the device on which its messages lie.

    What has to be the same everywhere (the step to go on at, whether a run is finished, the teacher's centres) is the
    word of rank 0: `said` and `sent`.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def said(self, number: int) -> int:
        """Rank 0's number, in every process; what the others give is not looked at."""
        if self.size == 1:
            return number
        return int(self.sent(torch.tensor(int(number))))

    def sent(self, values: Tensor) -> Tensor:
        """Rank 0's values, in every process; those of the others have their shape and kind. Stays where they lay."""
        if self.size == 1:
            return values
        message = values.detach().to(self.device, copy=True).contiguous()
        dist.broadcast(message, 0)
        return message.to(values.device)

    def sent_bytes(self, data: bytes | None) -> bytes | None:
        """Rank 0's bytes, or its None, in every process; in pieces, so that a device need not hold all."""
        if self.size == 1:
            return data
        length = self.said(-1 if data is None else len(data))
        if length < 0:
            return None
        whole = torch.frombuffer(bytearray(data or b"\0" * length), dtype=torch.uint8)
        for piece in whole.split(PIECE):
            piece.copy_(self.sent(piece))
        return whole.numpy().tobytes()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, of values of one shape."""
        if self.size == 1:
            return values
        total = values.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return (total / self.size).to(values.device)


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Joins the process group that torchrun describes in the environment, and leaves it at the end.

    Uses gloo on the CPU, NCCL on CUDA. Without torchrun, yields the world of one.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        yield World()
        return
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device)
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device, timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield world
    finally:
        dist.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """`auto` is this process's CUDA device if there is one, else the CPU.

    Args:
        name: `auto`, `cpu`, `cuda` (under torchrun the device of this process's local rank), `cuda:N`.

    Raises:
        UserError: another name, or a device that this machine does not have.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if name == "auto":
        return torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not number.isdecimal()) or (kind == "cpu" and colon):
        raise UserError("unknown device", got=repr(name), allowed="auto, cpu, cuda, cuda:N")
    if kind == "cpu":
        return torch.device("cpu")
    require(
        torch.cuda.is_available(),
        "no CUDA device on this machine",
        got=repr(name),
        allowed="auto, cpu",
        remedy="use --device cpu, or install a CUDA build of torch",
    )
    index, count = int(number) if colon else local, torch.cuda.device_count()
    require(
        index < count,
        "no such CUDA device on this machine",
        got=f"cuda:{index}",
        allowed=f"cuda:0 to cuda:{count - 1}",
    )
    return torch.device("cuda", index)


def computes_bf16(precision: str, device: torch.device) -> bool:
    """Whether a network of `TrainConfig.precision` computes in bfloat16 on this device."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware: a CUDA device of compute capability 8, or AVX512-BF16 / AMX.

    The CPU's flags are read where Linux lists them; elsewhere the answer is no, which only costs speed.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
