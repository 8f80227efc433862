"""Small things that tests are made of: a corpus of buzzing speakers, a run configuration that trains in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distilvox.corpus.pairs import draw_trials
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.train.config import RunConfig, replace_fields

TINY = {"channels": 8, "last_channels": 12, "hidden": 8, "embedding_dim": 8}
"""An x-vector of a few thousand parameters."""


def buzz(rng: np.random.Generator, pitch: float, samples: int) -> np.ndarray:
    """A pulse train of a pitch with vibrato, through noise: a voice as far as a test is concerned. int16 [N]."""
    time = np.arange(samples) / 16_000
    phase = 2 * np.pi * pitch * (time + 0.01 * np.sin(2 * np.pi * rng.uniform(2, 5) * time))
    wave = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12)) + 0.1 * rng.standard_normal(
        samples
    )
    return (wave * 4000).clip(-32768, 32767).astype(np.int16)


def murmur(rng: np.random.Generator, pitch: float, samples: int) -> np.ndarray:
    """A pulse train of a pitch through three resonances that move from syllable to syllable, with pauses: speech as
    far as `distilvox.ship.quality` can tell. int16 [N].
    """
    time = np.arange(samples) / 16_000
    marks = np.arange(0, samples + 1_600, 1_600)  # five syllables a second
    depths = rng.uniform(-40, -20, len(marks)) * (np.arange(len(marks)) % 2)
    loudness = np.interp(np.arange(samples), marks, depths)
    phase = 2 * np.pi * pitch * (time + 0.01 * np.sin(2 * np.pi * 3 * time))
    ranges = ((250, 800), (900, 2_300), (2_400, 3_600))
    places = [np.interp(np.arange(samples), marks, rng.uniform(*one, len(marks))) for one in ranges]
    wave = np.zeros(samples)
    for k in range(1, int(4_000 / pitch)):
        gain = sum(1 / (1 + ((k * pitch - place) / 100) ** 2) for place in places) / k**0.5
        wave += gain * np.sin(k * phase + rng.uniform(0, 6))
    wave = (wave + 0.02 * rng.standard_normal(samples)) * 10 ** (loudness / 20)
    return np.rint(wave / np.abs(wave).max() * 16_000).astype(np.int16)


def make_corpus(
    path: Path, *, speakers: int = 6, utterances: int = 6, seed: int = 0, prefix: str = "s"
) -> Corpus:
    rng = np.random.default_rng(seed)
    writer = CorpusWriter(path)
    for speaker in range(speakers):
        pitch = 80 * 1.35**speaker
        for k in range(utterances):
            name = f"{prefix}{speaker}"
            wave = buzz(rng, pitch * rng.uniform(0.97, 1.03), int(rng.integers(9_000, 16_000)))
            writer.add(f"{name}/a/{k:02d}", name, "a", wave)
    return writer.finish()


def make_trials(corpus: Corpus, path: Path) -> Path:
    draw_trials(corpus, path, target=40, non_target=80)
    return path


def tiny_config(**fields: object) -> RunConfig:
    """Two epochs of six steps of a tiny student on half-second crops, in float32, on one thread."""
    values = {
        "student_options": TINY,
        "epochs": 2,
        "batch_size": 6,
        "warmup_epochs": 0.5,
        "views.seconds": 0.5,
        "speeds": (0.9, 1.0, 1.1),
        "noise_probability": 0.6,
        "room_probability": 0.3,
        "precision": "float32",
        "threads": 1,
        "checkpoint_steps": 2,
        "kd_warmup_epochs": 0.5,
    }
    return replace_fields(RunConfig(), {**values, **fields})
