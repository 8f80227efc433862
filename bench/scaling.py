"""How cost grows: the objective with speakers and with the batch, the loader with hours of corpus."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median as middle

import numpy as np

from bench.streaming import THREADS, VOXCELEB2, drawn, grown, threads, times
from distilvox.corpus.check import sample_check
from distilvox.corpus.store import VERSION, Corpus
from distilvox.corpus.table import Row, write_table
from distilvox.files import write_json
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.batches import draw_views, epoch_order, make_views, step_indices
from distilvox.views.draws import ViewConfig
from distilvox.views.resident import read_groups

BATCH, CLASSES = 128, (1_000, 3_000, 10_000, 30_000, 111_284, 300_000, 1_000_000)
BATCHES = (16, 32, 64, 128, 256, 512, 1024)
NAIVE_CLASSES = 300_000
"""The baseline's dozen and more matrices [B, C] take 3 GB here; a million speakers would take 9 GB."""

RESOLVED_MB = 1.0
"""Memory grown by less than this is stated as this: a process's peak is no finer."""

HOURS, CROPS, BATCHES_READ = (1, 10, 100, 1_000), 64, 15
SECONDS, RATE = 8, 16_000
"""Length of an utterance: that of VoxCeleb's, on average."""

SPEAKERS = 0.5
"""Hours of each speaker, as in VoxCeleb2's training part."""


@dataclass(frozen=True)
class Curve:
    """One cost at several sizes.

    Attributes:
        panel: what is measured, over what.
        name: whose cost.
        axis: name of the sizes.
        unit: of the costs.
        sizes, costs: both above 0.
    """

    panel: str
    name: str
    axis: str
    unit: str
    sizes: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Of the straight line through the logarithms: 1 is linear, 0 constant."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.costs), 1)[0])


def of_objective(
    classes: Sequence[int] = CLASSES, batches: Sequence[int] = BATCHES, naive_classes: int = NAIVE_CLASSES
) -> list[Curve]:
    """Seconds and peak memory of `bench.streaming.step` over C, and seconds over B."""
    found: dict[tuple[str, str, str, str], list[tuple[int, float]]] = {}

    def add(what: tuple[str, str, str], who: tuple[str, ...], size: int, costs: Sequence[float]) -> None:
        for name, cost in zip(who, costs, strict=True):
            found.setdefault((what[0], name, *what[1:]), []).append((size, cost))

    over = f"a step of the objective, B {BATCH}"
    for count in classes:
        who = ("ours", "naive") if count <= naive_classes else ("ours",)
        with threads(THREADS):
            add((f"{over}: time", "C", "ms"), who, count, _ms(BATCH, count, who, 7 if count < 5e4 else 3))
        memory = [max(grown(name, BATCH, count), RESOLVED_MB) for name in who]
        add((f"{over}: peak memory", "C", "MB"), who, count, memory)
    fixed = VOXCELEB2[1]
    for batch in batches:
        with threads(THREADS):
            ms = _ms(batch, fixed, ("ours", "naive"), 7 if batch < 500 else 5)
        add((f"a step of the objective, C {fixed:,}: time", "B", "ms"), ("ours", "naive"), batch, ms)
    return [
        Curve(*what, *(tuple(map(float, values)) for values in zip(*points, strict=True)))
        for what, points in found.items()
    ]


def _ms(batch: int, classes: int, who: tuple[str, ...], repeats: int) -> list[float]:
    return [1e3 * seconds for seconds in times(drawn(batch, classes), who, repeats)]


def sparse_corpus(folder: Path, hours: float) -> Path:
    """A corpus of silence whose audio is one hole: the disk holds its table alone, and reading meets no disk."""
    count, length = max(1, round(hours * 3600 / SECONDS)), SECONDS * RATE
    each = max(1, round(SPEAKERS * 3600 / SECONDS))
    rows = [Row(f"s{k // each:05}/a/{k:07}", f"s{k // each:05}", "a", length) for k in range(count)]
    folder.mkdir()
    checks = [sample_check(np.zeros(length, np.int16))] * count
    write_table(folder / "utterances.parquet", rows, checks)
    with open(folder / "audio.bin", "wb") as audio:
        audio.truncate(2 * length * count)
    write_json(
        folder / "corpus.json",
        {"version": VERSION, "sample_rate": RATE, "utterances": count, "sha256": "0" * 64},
    )
    return folder


def of_corpus(hours: Sequence[float] = HOURS) -> list[Curve]:
    """Milliseconds to open a corpus, to have its first batch, and for one of its batches later on."""
    config = ViewConfig(noise_probability=1.0, room_probability=1.0)
    bank = synthetic_bank(0)
    costs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        for size in hours:
            folder = sparse_corpus(Path(root) / f"{size}h", size)
            for name, seconds in _loading(folder, config, bank).items():
                costs.setdefault(name, []).append(1e3 * seconds)
    panel = f"loader, {CROPS} crops of 2 s, noise and room: time"
    return [
        Curve(panel, name, "hours", "ms", tuple(map(float, hours)), tuple(ms)) for name, ms in costs.items()
    ]


def _loading(folder: Path, config: ViewConfig, bank: Bank) -> dict[str, float]:
    """Medians of seconds; every batch is of other utterances, and every opening forgets what was known."""
    placed = DeviceBank.place(bank, config.samples(RATE))

    def first() -> None:
        epoch_order.cache_clear()
        corpus = Corpus.open(folder)
        make_views(corpus, step_indices(len(corpus), 0, seed=0, batch_size=CROPS), 0, config, placed)

    corpus = Corpus.open(folder)

    def read(step: int) -> None:
        indices = step_indices(len(corpus), step, seed=0, batch_size=CROPS)
        read_groups(corpus, indices, draw_views(corpus, indices, step, config, placed), placed.device)

    def made(step: int) -> None:
        indices = step_indices(len(corpus), step, seed=0, batch_size=CROPS)
        make_views(corpus, indices, step, config, placed)

    return {
        "open": _median(lambda _: Corpus.open(folder)),
        "open to first batch": _median(lambda _: first()),
        "read a batch": _median(read, BATCHES_READ),
        "make a batch": _median(made, BATCHES_READ),
    }


def _median(call: Callable[[int], object], repeats: int = 5) -> float:
    """Of seconds of call(0), call(1) …, the first aside."""
    taken = []
    for k in range(repeats + 1):
        start = time.perf_counter()
        call(k)
        taken.append(time.perf_counter() - start)
    return middle(taken[1:])


def curves() -> list[Curve]:
    """All of them, in two or three minutes."""
    return of_objective() + of_corpus()
