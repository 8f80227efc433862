"""`python -m bench` (make bench): measures every part in a few minutes and writes BENCH.md.

The numbers go to docs/results/bench.json, and the page and docs/results/scaling.svg are made from that file alone.
`--parts views training` measures these parts anew, `--parts` alone none: the page is then only written again.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench import Row, frontend, loss, median, page, plot, runtime, scaling, scoring, step, streaming, views
from bench.page import Found
from bench.scaling import Curve
from distilvox.files import read_json, write_json, write_text
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import FrontEnd
from distilvox.models.runfolder import load_student
from distilvox.ship.export import export
from distilvox.ship.runtime import Verifier
from distilvox.ship.speed import machine
from tests.reference.frontend import fbank

HOME = Path(__file__).resolve().parents[1]


def of_frontend() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    waves = 0.1 * torch.randn(64, 32_000, generator=generator)
    probe = 0.1 + 0.01 * torch.randn(1, 16_000, generator=generator)
    truth = fbank(probe[0].numpy())
    found = []
    for mode, training in (("in training", True), ("to be shipped, one matrix", False)):
        ours = Fbank(FrontEnd(mean_norm=False)).train(training)
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
                found = verifier.run(wave)
                cosine = found @ truth / np.linalg.norm(found) / np.linalg.norm(truth)
                seconds = median(partial(verifier.run, wave), 15)
                error = max(0.0, 1 - float(cosine))
                work = f"{name} in the runtime, {precision}: one embedding of 4 s"
                table.append(Row(work, "PyTorch", seconds, baseline, error, "PyTorch's, as 1 − cosine"))
    return table


PARTS: dict[str, Callable[[], list[Row] | list[Curve]]] = {
    "losses": loss.rows,
    "objective": streaming.rows,
    "views": views.rows,
    "front end": of_frontend,
    "training": step.rows,
    "evaluation": of_scoring,
    "runtime": of_runtime,
    page.SCALING: scaling.curves,
}


def hardware() -> str:
    """The processor, its cores, and the versions that matter."""
    here = machine()
    return (
        f"{here['cpu']}, {here['cores']} cores, {here['system']}; "
        f"Python {here['python']}, torch {here['torch']}, NumPy {np.__version__}"
    )


def measure(parts: Sequence[str], found: Found) -> Found:
    """Measures these parts; the others stay as they were found before, if that was on the same machine."""
    here = hardware()
    kept = found["parts"] if found.get("hardware") == here else {}
    for part in parts:
        sys.stderr.write(f"{part} …\n")
        measured = PARTS[part]()
        kept[part] = {
            "date": datetime.date.today().isoformat(),
            "load": os.getloadavg()[0],
            "found": [asdict(one) for one in measured],
        }
    return {"hardware": here, "parts": {part: kept[part] for part in PARTS if part in kept}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=HOME, help="the folder of the page and of docs/results")
    parser.add_argument(
        "--parts", nargs="*", choices=list(PARTS), default=list(PARTS), help="what to measure anew"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    numbers, drawn = options.out / page.NUMBERS, options.out / page.DRAWING
    numbers.parent.mkdir(parents=True, exist_ok=True)
    before = read_json(numbers, noun="earlier measurement") if numbers.exists() else {}
    write_json(numbers, measure(options.parts, before))
    found = read_json(numbers, noun="measurement")
    if curves := page.curves(found):
        write_text(drawn, plot.drawing(curves))
    gpu = options.out / page.GPU
    text = page.markdown(found, read_json(gpu, noun="measurement on a GPU") if gpu.exists() else None)
    write_text(options.out / page.PAGE, text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
