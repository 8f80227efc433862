"""The log-mels and the windows of `dvector:` the slow way, NumPy float64: a DFT by its matrix, loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.reference.ge2e import mel_filters


def log_mel(wave: np.ndarray) -> np.ndarray:
    """[N] → [1 + (N − 512) // 160, 40]: 512 samples every 160, of which a Hamming window keeps the middle 400."""
    window = np.zeros(512)
    window[56:456] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512)
    filters = mel_filters(window=512)
    rows = []
    for start in range(0, len(wave) - 511, 160):
        power = np.abs(basis @ (wave[start : start + 512].astype(np.float64) * window)) ** 2
        rows.append(np.log10(filters @ power + 1e-10))
    return np.array(rows)


def embed(wave: np.ndarray, encode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """At a level of 0.1, windows of 80 frames, 40 apart, each through `encode` [80, 40] → [D]; the mean direction."""
    frames = log_mel(0.1 * wave / np.sqrt(np.mean(wave.astype(np.float64) ** 2)))
    if len(frames) < 80:
        frames = np.concatenate([frames, np.zeros((80 - len(frames), 40))])
    total = np.zeros(256)
    for start in range(0, len(frames) - 79, 40):
        vector = encode(frames[start : start + 80])
        total += vector / np.linalg.norm(vector)
    return total / np.linalg.norm(total)
