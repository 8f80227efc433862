"""The way of a new user through every verb, from speech files to a verifier, travelled once a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.making import buzz, murmur
from tests.running import TINY, Ran, run, succeed

RECIPE = """\
title: tiny [study]
teacher: "run:{teacher}"
base:
  student: xvector-s
  student_options: {{channels: 8, last_channels: 12, hidden: 8, embedding_dim: 8}}
  epochs: 1
  batch_size: 6
  views.seconds: 0.5
  precision: float32
  threads: 1
methods:
  none: {{objective: none}}
  cosine: {{objective: cosine}}
seeds: [0]
baseline: none
"""


def speak(folder: Path, *, seed: int, speakers: str, sound: Callable[..., np.ndarray] = buzz) -> Path:
    """Speech files in the layout that `pack` reads: a folder a speaker, two sessions, six files."""
    rng = np.random.default_rng(seed)
    for k, speaker in enumerate(speakers):
        for number in range(6):
            path = folder / speaker / f"day{number % 2}" / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = sound(rng, 80 * 1.35**k * rng.uniform(0.97, 1.03), int(rng.integers(9_000, 16_000)))
            soundfile.write(path, wave, 16_000)
    return folder


class Journey:
    """A folder with a bracket in its name, everything made in it, and what each verb said on the way."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said: dict[str, Ran] = {}
        self.corpus = train = home / "train"
        self.dev = dev = home / "dev"
        self.trials = trials = home / "trials.txt"
        self.run = home / "small"
        self.bundle = home / "bundle"
        judged = ("--trials", trials, "--trials-corpus", dev)
        speak(home / "speech", seed=0, speakers="abcdef")
        speak(home / "others", seed=1, speakers="wxyz")
        self.call("pack", home / "speech", train, "--jobs", 1)
        self.call("pack dev", home / "others", dev, "--jobs", 1)
        self.call("trials", dev, trials, "--target", 60, "--non-target", 216)
        self.call("corpus", train)
        self.call(
            "train",
            "--corpus",
            train,
            "--out",
            home / "big",
            *TINY,
            "--epochs",
            20,
            "--learning-rate",
            0.01,
            *judged,
        )
        self.call("teacher", f"run:{home / 'big'}", "--corpus", train, *judged, "--device", "cpu")
        self.call(
            "distil", "--corpus", train, "--teacher", f"run:{home / 'big'}", "--out", home / "small", *TINY,
            "--epochs", 2, "--objective", "cosine", *judged,
        )  # fmt: skip
        self.call("evaluate", home / "small", "--corpus", dev, "--trials", trials, "--device", "cpu")
        self.call("export", home / "small", home / "bundle", "--false-accept", 0.4)
        self.files = sorted(speak(home / "voices", seed=2, speakers="w", sound=murmur).rglob("*.wav"))
        self.call("embed", home / "bundle", *self.files, "--out-folder", home / "enrolled")
        self.call("verify", home / "bundle", self.files[0], self.files[1])
        (home / "tiny.yaml").write_text(RECIPE.format(teacher=home / "big"))
        self.call(
            "study",
            home / "tiny.yaml",
            "--corpus",
            train,
            *judged,
            "--out",
            home / "study",
            "--device",
            "cpu",
        )
        self.call(
            "report", home / "big", home / "small", "--out", home / "report.html", "--title", "all [of] it"
        )

    def call(self, name: str, *words: object) -> None:
        verb = name.split()[0]
        self.said[name] = (run if verb == "verify" else succeed)(verb, *words)


def travelled(factory: pytest.TempPathFactory) -> Journey:
    """The one journey of the session; its folder has a bracket in its name, and nobody writes in it any more."""
    return _travel(factory.getbasetemp() / "a [red]journey")


@functools.cache
def _travel(home: Path) -> Journey:
    home.mkdir()
    return Journey(home)
