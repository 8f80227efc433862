"""The peak memory of all that stands before the first step, at the size of VoxCeleb2: `python -m bench.setup`.

A corpus of a million utterances (a table, and a sparse file of silence) and the teacher's cache of five views of each
are laid out; then a process of its own opens both, centres, fits the class centres, looks at the teacher and makes the
objective, as one rank of a training does. Its peak of resident memory goes to docs/results/setup.json, stage by stage.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.check import VERSION, sample_check
from distilvox.corpus.store import Corpus
from distilvox.corpus.table import Row, write_table
from distilvox.files import read_json, write_json
from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.teachers.base import Teacher, TeacherHead
from distilvox.teachers.blocks import BLOCK, DATA, KEY, MARKS
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.inspect import inspect
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.taught import Taught
from distilvox.train.distributed import World
from distilvox.train.targets import Targets
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig

SAMPLES = 16_000
"""Of each utterance: a second."""

DIM, VIEWS = 256, 5
CPU = torch.device("cpu")
HOME = Path(__file__).resolve().parents[1]


class Nobody(Teacher):
    """Says the same of everything; its cache does not."""

    def __init__(self) -> None:
        super().__init__(uri="nobody:", id="0" * 16, sample_rate=16_000, embedding_dim=DIM)

    def forward(self, waves: Tensor) -> Tensor:
        return torch.ones(len(waves), DIM)

    def head(self) -> TeacherHead | None:
        return None


def lay_out(folder: Path, utterances: int, speakers: int) -> None:
    """The corpus, and a cache of embeddings around a direction for each speaker."""
    place = folder / "corpus"
    place.mkdir()
    rows = [Row(f"u{k:07d}", f"s{k % speakers:06d}", "a", SAMPLES, {}) for k in range(utterances)]
    write_table(
        place / "utterances.parquet", rows, [sample_check(np.zeros(SAMPLES, dtype=np.int16))] * utterances
    )
    with open(place / "audio.bin", "wb") as file:
        file.truncate(2 * SAMPLES * utterances)
    manifest = {"version": VERSION, "sample_rate": 16_000, "utterances": utterances, "speakers": speakers}
    write_json(place / "corpus.json", {**manifest, "seconds": float(utterances), "sha256": "0" * 64})
    del rows
    corpus, cache = Corpus.open(place), folder / "cache"
    cache.mkdir()
    write_json(cache / KEY, LiveTeacher(Nobody(), corpus, ViewConfig(), Bank(), "view", CPU).key(VIEWS))
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((speakers, DIM), dtype=np.float32)
    with open(cache / DATA, "wb") as file:
        for _ in range(VIEWS):
            for start in range(0, utterances, 50_000):
                who = corpus.labels[start : start + 50_000]
                noise = rng.standard_normal((len(who), DIM), dtype=np.float32)
                file.write((directions[who] + noise).astype(np.float16).tobytes())
    with open(cache / DATA, "r+b") as file:  # what every start compares with the teacher itself
        for row in np.unique(np.linspace(0, utterances - 1, 8).astype(np.int64)):
            file.seek(((VIEWS - 1) * utterances + int(row)) * DIM * 2)
            file.write(np.ones(DIM, dtype=np.float16).tobytes())
    (cache / MARKS).write_bytes(b"\1" * (VIEWS * -(-utterances // BLOCK)))


def peak() -> float:
    """Of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def prepare(folder: Path, head: Literal["means", "fitted"]) -> dict[str, float]:
    """One rank's set-up, by its parts: peak GB at the end of each, and seconds in all."""
    start, found = time.perf_counter(), {"libraries": peak()}
    corpus = Corpus.open(folder / "corpus")
    found["corpus"] = peak()
    taught = Taught.open(
        Nobody(), corpus, config=TargetConfig(sees="view", views=VIEWS, head=head), views=ViewConfig(),
        bank=Bank(), device=CPU, ranks=World(), cache=folder / "cache",
    )  # fmt: skip
    found["cache"] = peak()
    assert taught.centres.weight.shape == (len(corpus.speakers), DIM)
    found["mean and class centres"] = peak()
    looked = inspect(taught, scale=16.0)
    assert looked is not None
    assert looked.accuracy > 0.9
    found["pre-flight"] = peak()
    targets = Targets.of(taught)
    objective = Objective(
        ObjectiveConfig("nskd", kd_projection="pca"), SpeakerHead(taught.names, 192),
        teacher_centres=targets.head.weight,
    )  # fmt: skip
    assert objective.projection is not None
    found["objective, with principal axes"] = peak()
    found["seconds"] = time.perf_counter() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--speakers", type=int, default=6_000)
    parser.add_argument("--head", default="means", choices=["means", "fitted"])
    parser.add_argument("--folder", type=Path, help="lay out here, and keep it")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=HOME / "docs/results/setup.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.inside:
        write_json(given.json, prepare(given.folder, given.head))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if not (folder / "cache" / MARKS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            lay_out(folder, given.utterances, given.speakers)
        out = Path(scratch) / "found.json"
        words = ["--inside", "--folder", folder, "--head", given.head, "--json", out]
        subprocess.run([sys.executable, "-m", "bench.setup", *map(str, words)], check=True)
        found = read_json(out, noun="measurement")
    size = {"utterances": given.utterances, "speakers": given.speakers, "dim": DIM, "views": VIEWS}
    write_json(given.json, {**size, "head": given.head, "peak_gb": found})
    for name, value in found.items():
        sys.stdout.write(f"{name:<32}{value:.2f}\n")


if __name__ == "__main__":
    main()
