"""How long `verify` takes in a warm process, on one core: `python bench/runtime.py [--corpus FOLDER]`.

Exports models with drawn weights (speed does not depend on them), then times `Verifier.verify` on two
recordings of about 4 s: as 16 kHz opus, as 16 kHz WAV, and against a stored embedding. Prints one Markdown
table; the median beside the fastest call, so that a busy machine shows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
from safetensors.torch import save_file

from distilvox import __version__
from distilvox.audio import read_audio
from distilvox.models import build
from distilvox.models.runfolder import model_record
from distilvox.ship.card import PRECISIONS
from distilvox.ship.export import export
from distilvox.ship.runtime import Verifier

SECONDS = (3.8, 4.2)
AUDIO = Path(__file__).resolve().parents[2] / "shared" / "corpora" / "chorus" / "audio"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=AUDIO, help="a folder of opus files at 16 kHz")
    parser.add_argument("--models", nargs="+", default=["xvector", "xvector-s"])
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = recordings(options.corpus, 14)
    out = sys.stdout.write
    out("| model | precision | MB | opus + opus | WAV + WAV | embedding + WAV | one embedding | cosine |\n")
    out("|---|---|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as root:
        waves = [as_wav(path, Path(root)) for path in files[:2]]
        for name in options.models:
            bundle = Path(root) / f"bundle-{name}"
            calibration = [read_audio(path) for path in files[2:]]
            card = export(drawn_run(name, Path(root) / name), bundle, calibration=calibration)
            for precision, file in PRECISIONS.items():
                verifier = Verifier.load(bundle, precision=precision)
                enrolment = Path(root) / f"{name}-{precision}.npz"
                verifier.save_embedding(enrolment, verifier.embed(waves[0]))
                cells = [
                    timed(verifier, files[0], files[1], options.repeats),
                    timed(verifier, waves[0], waves[1], options.repeats),
                    timed(verifier, enrolment, waves[1], options.repeats),
                    timed_embed(verifier, waves[1], options.repeats),
                ]
                size = card.files[file]["bytes"] / 1e6
                close = "1" if precision == "float32" else f"{card.int8['cosine_mean']:.4f}"
                out(f"| {name} | {precision} | {size:.1f} | {' | '.join(cells)} | {close} |\n")
    out("\nMedian ms (fastest) of one call on one thread; cosine of int8 with float32 on held-out speech.\n")


def recordings(corpus: Path, count: int) -> list[Path]:
    """The first recordings of about 4 s, by name."""
    found: list[Path] = []
    for path in sorted(corpus.rglob("*.opus")):
        if SECONDS[0] <= soundfile.info(path).duration <= SECONDS[1]:
            found.append(path)
        if len(found) == count:
            return found
    raise SystemExit(f"{corpus} holds fewer than {count} opus files of {SECONDS[0]} to {SECONDS[1]} s")


def as_wav(path: Path, folder: Path) -> Path:
    out = folder / f"{path.parent.parent.name}.wav"
    soundfile.write(out, read_audio(path), 16_000, subtype="PCM_16")
    return out


def drawn_run(name: str, folder: Path) -> Path:
    """A run folder with drawn weights."""
    torch.manual_seed(0)
    student = build(name)
    folder.mkdir()
    tensors = {f"student.{key}": value for key, value in student.state_dict().items()}
    save_file({**tensors, "head.weight": torch.zeros(2, student.embedding_dim)}, folder / "model.safetensors")
    config = {
        "version": 1,
        "distilvox": __version__,
        "model": model_record(student),
        "speakers": ["a", "b"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def timed(verifier: Verifier, first: Path, second: Path, repeats: int) -> str:
    return median(lambda: verifier.verify(first, second), repeats)


def timed_embed(verifier: Verifier, path: Path, repeats: int) -> str:
    wave = read_audio(path)
    return median(lambda: verifier.embed(wave), repeats)


def median(call: Callable[[], object], repeats: int) -> str:
    """Median and least wall time of a call, in ms, after three calls to warm up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(times):.1f} ({min(times):.1f})"


if __name__ == "__main__":
    main()
