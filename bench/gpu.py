"""`python -m bench.gpu`: the objective on a GPU, beside the code that builds [B, C], eager and compiled.

Prints a table and, with --json FILE, writes the same numbers. Every row: median milliseconds of a step from
embeddings to gradients, peak memory beside inputs and gradients, and the largest error, measured on the first
utterances of the batch against the baseline in float64. Two floors, from rates measured in the same run: six
matrix products (logits of CE, of KD's student and teacher, and the gradients by the two embeddings and by the
head), and reading the head twice, the teacher's centres once, and writing the head's gradient.

--tune times the kernels over sizes of their tiles instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import median
from bench.streaming import DIM, Objective, drawn, step
from distilvox.files import write_json
from distilvox.losses.streaming import streaming_objective
from tests.reference.objective import naive_objective

BATCH, CLASSES = 512, (111_284, 1_000_000)
REPEATS, EXAMINED = 7, 32
PRODUCTS, PASSES = 6, 4
TIMES = {"highest": 1, "high": 3, "medium": 1}
"""Products on the device for one product of ours, by `torch.set_float32_matmul_precision`."""

Way = tuple[Objective, str]


@dataclass(frozen=True)
class Line:
    """One way at one size; None is not measured. Floors in ms; errors as in `bench.streaming.errors`."""

    way: str
    precision: str
    batch: int
    classes: int
    ms: float
    memory_mb: float | None
    value_error: float
    gradient_error: float
    products_floor_ms: float
    traffic_floor_ms: float


def ways(*, kernels: bool, compiled: bool) -> dict[str, Way]:
    """Name → objective, and the precision of its matrix products."""
    found: dict[str, Way] = {
        "naive": (naive_objective, "highest"),
        "naive, TF32": (naive_objective, "high"),
        "blocks": (partial(streaming_objective, backend="torch"), "highest"),
    }
    if compiled:
        whole = torch.compile(naive_objective, dynamic=False)
        found |= {"naive, compiled": (whole, "highest"), "naive, compiled, TF32": (whole, "high")}
    if kernels:
        fused = partial(streaming_objective, backend="triton")
        found |= {f"kernels, {precision}": (fused, precision) for precision in TIMES}
    return found


@contextmanager
def multiplying(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def seconds(device: torch.device, call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time of a call, the device's queue empty before and after."""

    def once() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return median(once, repeats, warm=3)


def rates(device: torch.device, size: int) -> dict[str, float]:
    """Operations a second of a square product by precision, and bytes a second of a copy."""
    left, right = (torch.randn(size, size, device=device) for _ in range(2))
    found = {}
    for precision in TIMES:
        with multiplying(precision):
            found[precision] = 2 * size**3 / seconds(device, lambda: torch.mm(left, right))
    source = torch.randn(16 * size * size, device=device)
    target = torch.empty_like(source)
    return found | {"bytes": 2 * source.nbytes / seconds(device, lambda: target.copy_(source))}


def moved(given: dict[str, Any], device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The same values as leaves on a device."""
    return {
        name: value.detach()
        .to(device, dtype if value.is_floating_point() else None)
        .requires_grad_(value.requires_grad)
        for name, value in given.items()
    }


def errors(objective: Objective, given: dict[str, Any], truth: tuple[Tensor, ...]) -> tuple[float, float]:
    """Largest of an utterance's objective, and of a gradient relative to the largest entry of that gradient."""
    value, *grads = step(objective, given)
    relative = [float((g - r).abs().max() / r.abs().max()) for g, r in zip(grads, truth[1:], strict=True)]
    return float((value - truth[0]).abs().max()), max(relative)


def memory(objective: Objective, given: dict[str, Any], device: torch.device) -> float | None:
    """Peak MB of one step beside what was there before it and the gradients that it leaves."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _, *grads = step(objective, given)
    torch.cuda.synchronize(device)
    held = before + sum(grad.nbytes for grad in grads)
    return (torch.cuda.max_memory_allocated(device) - held) / 1e6


def lines(
    batch: int,
    classes: int,
    device: torch.device,
    found: dict[str, Way],
    rate: dict[str, float],
    repeats: int,
) -> Iterator[Line]:
    """Every way at one size, as soon as it is measured."""
    whole = drawn(batch, classes)
    rows = {"student", "projected", "teacher", "labels"}
    few = {
        name: value.detach()[:EXAMINED].requires_grad_(value.requires_grad) if name in rows else value
        for name, value in whole.items()
    }
    truth = step(naive_objective, moved(few, device, torch.float64))
    few, given = moved(few, device), moved(whole, device)
    del whole
    for name, (objective, precision) in found.items():
        with multiplying(precision):
            took = seconds(device, partial(step, objective, given), repeats)
            peak = memory(objective, given, device)
            of_value, of_gradient = errors(objective, few, truth)
        threefold = TIMES[precision] if name.startswith("kernels") else 1
        products = threefold * PRODUCTS * 2 * batch * classes * DIM / rate[precision]
        traffic = PASSES * classes * DIM * 4 / rate["bytes"]
        yield Line(
            name, precision, batch, classes, 1e3 * took, peak,
            of_value, of_gradient, 1e3 * products, 1e3 * traffic,
        )  # fmt: skip


def table(found: list[Line]) -> str:
    """Markdown; times and memory of each way are compared with the eager baseline at the same size."""
    naive = {(line.batch, line.classes): line for line in found if line.way == "naive"}
    page = [
        "| way | B | C | ms | naive's / this | over the floor | products' floor, ms | traffic's floor, ms "
        "| MB | naive's / this | value's error | gradient's error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for line in found:
        base = naive[line.batch, line.classes]
        floor = max(line.products_floor_ms, line.traffic_floor_ms)
        saved = (
            "" if not line.memory_mb or base.memory_mb is None else f"{base.memory_mb / line.memory_mb:.1f}"
        )
        size = "" if line.memory_mb is None else f"{line.memory_mb:,.1f}"
        page.append(
            f"| {line.way} | {line.batch} | {line.classes:,} | {line.ms:,.2f} | {base.ms / line.ms:.2f} "
            f"| {line.ms / floor:.2f} | {line.products_floor_ms:.2f} | {line.traffic_floor_ms:.2f} "
            f"| {size} | {saved} | {line.value_error:.1e} | {line.gradient_error:.1e} |"
        )
    return "\n".join(page) + "\n"


def tune(device: torch.device, batch: int, classes: int) -> Iterator[str]:
    """A line for each size of tiles: milliseconds of a step by precision, or what stopped it."""
    from triton.runtime.errors import OutOfResources

    from distilvox.losses import kernels

    given, before = moved(drawn(batch, classes), device), dict(kernels.TILES)
    fused = partial(streaming_objective, backend="triton")
    for held, walked, warps in (
        (64, 32, 8),
        (64, 32, 4),
        (64, 16, 8),
        (64, 64, 8),
        (128, 32, 8),
        (128, 64, 8),
    ):
        kernels.TILES.update(dict.fromkeys(before, (held, walked, warps)))
        for precision in TIMES:
            with multiplying(precision):
                try:
                    said = f"{1e3 * seconds(device, partial(step, fused, given), 5):.2f} ms"
                except OutOfResources as stopped:
                    said = str(stopped).splitlines()[0]
            yield f"tiles {held} × {walked}, {warps} warps, {precision}: {said}"
    kernels.TILES.update(before)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--json", type=Path, help="a file for the same numbers")
    parser.add_argument("--tune", action="store_true", help="time the kernels over sizes of their tiles")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no NVIDIA GPU here")
    device = torch.device("cuda")
    if options.tune:
        for said in tune(device, options.batch, options.classes[0]):
            sys.stdout.write(said + "\n")
            sys.stdout.flush()
        return
    rate = rates(device, 8192)
    found = []
    for classes in options.classes:
        for line in lines(options.batch, classes, device, ways(kernels=True, compiled=True), rate, REPEATS):
            sys.stderr.write(f"{line}\n")
            found.append(line)
    measured = ", ".join(f"{rate[precision] / 1e12:.0f} TFLOP/s ({precision})" for precision in TIMES)
    where = (
        f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}; a product runs at {measured}, "
        f"a copy at {rate['bytes'] / 1e12:.2f} TB/s; medians of {REPEATS}."
    )
    sys.stdout.write(f"{where}\n\n{table(found)}")
    if options.json:
        write_json(options.json, {"where": where, "rates": rate, "lines": [asdict(line) for line in found]})
        sys.stdout.write(json.dumps([asdict(line) for line in found]) + "\n")


if __name__ == "__main__":
    main()
