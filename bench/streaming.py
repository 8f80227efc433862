"""The whole objective from embeddings to gradients, without a matrix [B, C], beside the code that builds it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median as middle
from typing import Any

import torch
from torch import Tensor

from bench import Row
from distilvox.losses.streaming import streaming_objective
from tests.reference.objective import naive_objective

DIM, THREADS = 256, 2
VOXCELEB2, VOXBLINK2, MILLION = (256, 5_994), (128, 111_284), (128, 1_000_000)
"""Batch and speakers: of VoxCeleb2's training part, of VoxBlink2, and more than there are."""

Objective = Callable[..., dict[str, Tensor]]
WHO: dict[str, Objective] = {"ours": streaming_objective, "naive": naive_objective}
SETTINGS = {"margin": 0.2, "scale": 32.0, "kd_scale": 16.0, "temperature": 1.0}
TRAINED = ("student", "head", "projected")


def drawn(batch: int, classes: int) -> dict[str, Any]:
    """A student's and a better teacher's embeddings near their class centres; made in place, for the memory."""
    seed = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (batch,), generator=seed)
    head, centres = (torch.randn(classes, DIM, generator=seed).mul_(DIM**-0.5) for _ in range(2))
    noise = (torch.randn(batch, DIM, generator=seed) * DIM**-0.5 for _ in range(3))
    return {
        "student": (next(noise) + head[labels]).requires_grad_(),
        "projected": (next(noise) + centres[labels]).requires_grad_(),
        "teacher": next(noise) + 2 * centres[labels],
        "head": head.requires_grad_(),
        "teacher_centres": centres,
        "labels": labels,
    }


def step(objective: Objective, given: dict[str, Any]) -> tuple[Tensor, ...]:
    """The objective of each utterance [B], and the gradients of the student's side and of its head."""
    parts = objective(**given, **SETTINGS)
    each = parts["ce"] + 4.0 * (parts["tskd"] + parts["nskd"])
    return each.detach(), *torch.autograd.grad(each.mean(), [given[name] for name in TRAINED])


def errors(given: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """For ours and for naive: the largest error of an utterance's objective, and of a gradient relative
    to the largest entry of that gradient; the truth is the naive code in float64."""
    exact = {
        name: value.detach().double().requires_grad_(value.requires_grad)
        if value.is_floating_point()
        else value
        for name, value in given.items()
    }
    value, *grads = step(naive_objective, exact)
    found = {}
    for who, objective in WHO.items():
        mine, *mine_grads = step(objective, given)
        relative = ((g - r).abs().max() / r.abs().max() for g, r in zip(mine_grads, grads, strict=True))
        found[who] = float((mine - value).abs().max()), float(max(relative))
    return found


def times(given: dict[str, Any], who: tuple[str, ...], repeats: int) -> list[float]:
    """Median seconds of a step, the ways in turns, so that another's load falls on all of them."""
    found: dict[str, list[float]] = {name: [] for name in who}
    for _ in range(repeats + 1):
        for name in who:
            start = time.perf_counter()
            step(WHO[name], given)
            found[name].append(time.perf_counter() - start)
    return [middle(seconds[1:]) for seconds in found.values()]


def grown(who: str, batch: int, classes: int) -> float:
    """MB by which a step raises the peak memory of a process of its own; embeddings, centres, gradients aside."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # PyTorch is loaded once for all of them
    with context.Pool(1) as pool:
        return pool.apply(_grown, (who, batch, classes))


def _grown(who: str, batch: int, classes: int) -> float:
    torch.set_num_threads(THREADS)
    step(WHO[who], drawn(8, 64))  # loads what is loaded at first use
    given = drawn(batch, classes)
    before = peak()
    _, *grads = step(WHO[who], given)
    return peak() - before - sum(grad.nbytes for grad in grads) / 1e6


def peak() -> float:
    """MB of memory that this program has had at most; `ru_maxrss` alone begins with that of who started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rows() -> list[Row]:
    table = []
    with threads(THREADS):
        for (batch, classes), repeats in ((VOXCELEB2, 9), (VOXBLINK2, 5)):
            given = drawn(batch, classes)
            seconds, naive_seconds = times(given, ("ours", "naive"), repeats)
            found = errors(given)
            memory, naive_memory = (grown(who, batch, classes) for who in WHO)
            table.append(
                Row(
                    work=f"{work(batch, classes)}, {THREADS} threads",
                    baseline="full logits, softmax, masks, two kl_div",
                    seconds=seconds,
                    baseline_seconds=naive_seconds,
                    error=found["ours"][0],
                    of="the baseline in float64, nats",
                    note=f"naive {found['naive'][0]:.1e}; gradients, relative, {found['ours'][1]:.1e}, "
                    f"naive {found['naive'][1]:.1e}; peak memory beside centres and gradients "
                    f"{memory:,.0f} MB, naive {naive_memory:,.0f} MB: 1/{naive_memory / memory:.0f}",
                )
            )
        batch, classes = MILLION
        steps = {count: times(drawn(batch, count), ("ours",), 5)[0] for count in (1_000, 10_000, 100_000)}
        (seconds,) = times(drawn(batch, classes), ("ours",), 5)
        each = ", ".join(
            f"{1e9 * found / count / batch:.1f} at C {count:,}" for count, found in steps.items()
        )
        table.append(
            Row(
                work=f"{work(batch, classes)}, {THREADS} threads",
                baseline="ten times ours at a tenth of the speakers",
                seconds=seconds,
                baseline_seconds=10 * steps[classes // 10],
                error=table[-1].error,
                of="as in the row before",
                note=f"peak memory beside centres and gradients {grown('ours', batch, classes):,.0f} MB; ns for an "
                f"utterance and speaker: {1e9 * seconds / classes / batch:.1f}; {each}",
            )
        )
    return table


def work(batch: int, classes: int) -> str:
    return (
        f"CE + TSKD + NSKD, forward and backward from embeddings, B {batch}, C {classes:,}, D {DIM}, float32"
    )
