"""Processes under torchrun: who am I, and wait for the others. Alone, every call is a no-op."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from distilvox.errors import UserError


@dataclass(frozen=True)
class World:
    """Rank and size of the group of processes; `local_rank` is the rank on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Joins the process group that torchrun describes in the environment, and leaves it at the end.

    Uses gloo on the CPU, NCCL on CUDA. Without torchrun, yields the world of one.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        yield World()
        return
    world = World(
        rank=int(os.environ["RANK"]),
        size=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield world
    finally:
        dist.destroy_process_group()


def pick_device(name: str) -> torch.device:
    """`auto` is this process's CUDA device if there is one, else the CPU; or any name torch knows."""
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError("unknown device", got=repr(name), allowed="auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device on this machine",
            got=repr(name),
            allowed="auto, cpu",
            remedy="use --device cpu, or install a CUDA build of torch",
        )
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware: a CUDA device of compute capability 8, or AVX512-BF16 / AMX.

    The CPU's flags are read where Linux lists them; elsewhere the answer is no, which only costs speed.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
