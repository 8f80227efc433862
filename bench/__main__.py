"""`python -m bench` (make bench): measures every part in a few minutes and writes BENCH.md."""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench import Row, frontend, loss, median, runtime, scoring, step, streaming, views
from distilvox.files import write_text
from distilvox.models.frontend import Fbank
from distilvox.models.runfolder import load_student
from distilvox.ship.export import export
from distilvox.ship.runtime import Verifier
from distilvox.ship.speed import machine
from tests.reference.frontend import fbank

PAGE = Path(__file__).resolve().parents[1] / "BENCH.md"


def of_frontend() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    waves = 0.1 * torch.randn(64, 32_000, generator=generator)
    probe = 0.1 + 0.01 * torch.randn(1, 16_000, generator=generator)
    truth = fbank(probe[0].numpy())
    found = []
    for mode, training in (("in training", True), ("to be shipped, one matrix", False)):
        ours = Fbank(mean_norm=False).train(training)
        found.append(
            Row(
                work=f"log-mel features of 64 crops of 2 s, {mode}",
                baseline="one FFT a frame, in torch",
                seconds=median(partial(ours, waves), 9),
                baseline_seconds=median(partial(frontend.with_fft(ours), waves), 9),
                error=float(np.abs(ours(probe)[0].numpy() - truth).max()),
                of="Kaldi's steps in float64, nats",
            )
        )
    return found


def of_scoring() -> list[Row]:
    table = []
    for runs in zip(*(scoring.rows() for _ in range(5)), strict=True):
        work, _, baseline = runs[0][0].partition("; ")
        ours, theirs = (statistics.median(float(run[k]) for run in runs) for k in (1, 2))
        table.append(Row(work, baseline, ours, theirs, max(run[3] for run in runs), "the baseline's result"))
    return table


def of_runtime() -> list[Row]:
    table = []
    wave = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)
    batch = torch.from_numpy(wave)[None]
    with tempfile.TemporaryDirectory() as root:
        for name in ("xvector", "xvector-s"):
            run, bundle = runtime.drawn_run(name, Path(root) / name), Path(root) / f"bundle-{name}"
            student = load_student(run).student
            export(run, bundle)
            with torch.inference_mode():
                truth = student(batch)[0].numpy()
                baseline = median(partial(student, batch), 15)
            for precision in ("float32", "int8"):
                verifier = Verifier.load(bundle, threads=1, precision=precision)
                found = verifier.embed(wave)
                cosine = found @ truth / np.linalg.norm(found) / np.linalg.norm(truth)
                seconds = median(partial(verifier.embed, wave), 15)
                error = max(0.0, 1 - float(cosine))
                work = f"{name} in the runtime, {precision}: one embedding of 4 s"
                table.append(Row(work, "PyTorch", seconds, baseline, error, "PyTorch's, as 1 − cosine"))
    return table


PARTS: dict[str, Callable[[], list[Row]]] = {
    "losses": loss.rows,
    "objective": streaming.rows,
    "views": views.rows,
    "front end": of_frontend,
    "training": step.rows,
    "evaluation": of_scoring,
    "runtime": of_runtime,
}


def hardware() -> str:
    """The processor, its cores, and the versions that matter."""
    here = machine()
    return (
        f"{here['cpu']}, {here['cores']} cores, {here['system']}; "
        f"Python {here['python']}, torch {here['torch']}, NumPy {np.__version__}"
    )


def page(rows: dict[str, list[Row]], date: datetime.date) -> str:
    """The whole of BENCH.md."""
    busy = os.getloadavg()[0]
    lines = [
        "# Speed, beside error",
        "",
        "`make bench` writes this page. Median wall time of 5 calls or more on one thread; how many times faster than",
        "a baseline measured in the same run; and the largest error of our result, in the same row.",
        "",
        f"{hardware()}; {date.isoformat()}; load of the machine at the end {busy:.1f}.",
        "",
        "| part | work | ms | baseline | its ms | times faster | largest error | from | more |",
        "|---|---|---:|---|---:|---:|---:|---|---|",
    ]
    for part, found in rows.items():
        for row in found:
            lines.append(
                f"| {part} | {row.work} | {1e3 * row.seconds:,.1f} | {row.baseline} | "
                f"{1e3 * row.baseline_seconds:,.1f} | {row.faster:,.2f} | {row.error:.1e} | {row.of} | {row.note} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for part in options.parts:
        sys.stderr.write(f"{part} …\n")
        found[part] = PARTS[part]()
    text = page(found, datetime.date.today())
    write_text(options.out, text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
