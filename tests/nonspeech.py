"""Sounds that are no speech, made from a generator: name → (generator, samples) → float [N] at 16 kHz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATE = 16_000


def noise(rng: np.random.Generator, n: int, slope: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(n))
    wave = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20) ** slope, n)
    return 0.3 * wave / np.abs(wave).max()


def tones(rng: np.random.Generator, n: int) -> np.ndarray:
    time = np.arange(n) / RATE
    pitches = rng.uniform(100, 3_000, int(rng.integers(1, 5)))
    return 0.1 * np.sin(2 * np.pi * pitches[:, None] * time).sum(axis=0)


def chords(rng: np.random.Generator, n: int) -> np.ndarray:
    wave, start = np.zeros(n), 0
    while start < n:
        time = np.arange(min(int(rng.uniform(0.2, 0.7) * RATE), n - start)) / RATE
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        for step in (0, 4, 7):
            for h in range(1, 7):
                turn = 2 * np.pi * h * root * 2 ** (step / 12) * time
                wave[start : start + len(time)] += np.sin(turn + rng.uniform(0, 6)) / h * np.exp(-2 * time)
        start += len(time)
    return 0.3 * wave / np.abs(wave).max()


def clicks(rng: np.random.Generator, n: int) -> np.ndarray:
    wave = np.zeros(n)
    wave[rng.integers(0, n, int(rng.integers(1, 9)))] = 0.9
    return wave


def steps(rng: np.random.Generator, n: int) -> np.ndarray:
    wave = 1e-4 * rng.standard_normal(n)
    for at in rng.integers(0, n, 8):
        wave[at:] += rng.uniform(-0.1, 0.1)
    return wave


def throbbing(rng: np.random.Generator, n: int) -> np.ndarray:
    return noise(rng, n, 0) * (1 + 0.95 * np.sin(2 * np.pi * rng.uniform(1, 8) * np.arange(n) / RATE)) / 2


MADE: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "silence": lambda rng, n: np.zeros(n),
    "faint noise": lambda rng, n: 1e-4 * rng.standard_normal(n),
    "white": lambda rng, n: noise(rng, n, 0),
    "pink": lambda rng, n: noise(rng, n, 0.5),
    "brown": lambda rng, n: noise(rng, n, 1),
    "tones": tones,
    "square": lambda rng, n: 0.3 * np.sign(np.sin(2 * np.pi * rng.uniform(80, 400) * np.arange(n) / RATE)),
    "sweep": lambda rng, n: 0.3 * np.sin(2e-6 * rng.uniform(0.5, 2) * np.arange(n) ** 2.0),
    "pulses": lambda rng, n: 0.9 * (np.arange(n) % int(rng.integers(60, 200)) == 0),
    "clicks": clicks,
    "steps": steps,
    "chords": chords,
    "throbbing": throbbing,
}  # fmt: skip
