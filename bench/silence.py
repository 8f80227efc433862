"""The law of silence, measured: does silence beside speech move scores over a threshold?

    python -m bench.silence --corpus dev/ --out docs/results/silence.json MODEL…

A model is a run folder or a teacher's URI. Two utterances each of 40 speakers, all pairs; the threshold is set
for 1 % false accepts on the plain files. Then silence goes to both files, before, within or behind the speech,
and the same threshold decides again. Impostors accepted must stay below 2 %, targets accepted above 95 % of
before, and a file must keep a cosine of 0.9 with itself plus a second of silence. Single thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.evaluation.calibrate import threshold_at
from distilvox.teachers import load

SPEAKERS, FILES = 40, 2
FALSE_ACCEPT = 0.01
LEVELS = {"zeros": None, "±1 LSB": "lsb", "−80 dBFS": -80.0, "−70 dBFS": -70.0, "−60 dBFS": -60.0}
CONDITIONS: list[tuple[str, float, str]] = [
    ("zeros", 0.25, "behind"),
    *[(level, 1.0, "behind") for level in LEVELS],
    ("zeros", 1.0, "before"),
    ("zeros", 1.0, "within"),
    ("−60 dBFS", 1.0, "before"),
    ("−60 dBFS", 1.0, "within"),
]
"""Level, seconds, place."""


@dataclass(frozen=True)
class Outcome:
    """What silence does to one model: shares in [0, 1], a cosine."""

    condition: str
    impostors: float
    targets: float
    self_cosine: float
    worst_self_cosine: float


def silence(level: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    kind = LEVELS[level]
    if kind is None:
        return np.zeros(samples, np.float32)
    if kind == "lsb":
        return (rng.integers(-1, 2, samples) / 32768).astype(np.float32)
    return (10 ** (float(kind) / 20) * rng.standard_normal(samples)).astype(np.float32)


def with_silence(
    wave: np.ndarray, level: str, seconds: float, place: str, rng: np.random.Generator
) -> np.ndarray:
    quiet = silence(level, round(16_000 * seconds), rng)
    at = {"before": 0, "within": len(wave) // 2, "behind": len(wave)}[place]
    return np.concatenate([wave[:at], quiet, wave[at:]])


def choose(corpus: Corpus) -> tuple[list[int], np.ndarray]:
    """The first two utterances of each of the first speakers that have two: rows, and whose they are."""
    rows: list[int] = []
    for speaker in range(len(corpus.speakers)):
        own = np.flatnonzero(corpus.labels == speaker)[:FILES].tolist()
        rows += own if len(own) == FILES and len(rows) < SPEAKERS * FILES else []
    return rows, corpus.labels[rows]


def units(embed: Callable[[Tensor], Tensor], waves: Sequence[np.ndarray]) -> np.ndarray:
    """Embeddings of length 1 [n, D]."""
    found = np.concatenate([embed(torch.from_numpy(wave)[None]).numpy() for wave in waves])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def measure(uri: str, corpus: Corpus) -> list[Outcome]:
    """One model under every condition, the plain files first."""
    teacher = load(uri if ":" in uri else f"run:{uri}")
    rows, whose = choose(corpus)
    waves = [corpus.wave(row).astype(np.float32) / 32768 for row in rows]
    first, second = np.triu_indices(len(rows), 1)
    labels = (whose[first] == whose[second]).astype(np.int64)
    plain = units(teacher.embed, waves)
    scores = (plain @ plain.T)[first, second]
    threshold = threshold_at(scores, labels, FALSE_ACCEPT)

    def outcome(name: str, found: np.ndarray) -> Outcome:
        accepted = (found @ found.T)[first, second] > threshold
        own = np.einsum("nd,nd->n", plain, found)
        return Outcome(
            name, float(accepted[labels == 0].mean()), float(accepted[labels == 1].mean()),
            float(own.mean()), float(own.min()),
        )  # fmt: skip

    found = [outcome("nothing", plain)]
    for level, seconds, place in CONDITIONS:
        rng = np.random.default_rng(0)
        padded = [with_silence(wave, level, seconds, place, rng) for wave in waves]
        found.append(outcome(f"{seconds:g} s of {level} {place}", units(teacher.embed, padded)))
    return found


def holds(found: Sequence[Outcome]) -> bool:
    """The law, over all conditions."""
    before = found[0].targets
    return all(
        one.impostors < 0.02 and one.targets > 0.95 * before and one.worst_self_cosine >= 0.9 for one in found
    )


def render(name: str, found: Sequence[Outcome]) -> str:
    lines = [
        f"\n{name}: the law {'holds' if holds(found) else 'does not hold'}\n",
        "| both files with | impostors accepted | targets accepted | cosine with itself, mean (worst) |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one.condition} | {one.impostors:.1%} | {one.targets:.1%} | "
        f"{one.self_cosine:.3f} ({one.worst_self_cosine:.3f}) |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--corpus", type=Path, required=True, help="speakers that no model was trained on")
    parser.add_argument("--out", type=Path, help="JSON; models that it names already are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus.open(options.corpus)
    kept = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for model in options.models:
        found = measure(model, corpus)
        sys.stdout.write(render(model, found))
        sys.stdout.flush()
        kept[Path(model).name if ":" not in model else model] = [asdict(one) for one in found]
        if options.out:
            options.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
