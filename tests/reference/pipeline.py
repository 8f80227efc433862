"""A training example made the obvious way: decode a file, crop, speed, room, noise from a file; one by one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile


def example(
    path: Path,
    *,
    start: int,
    samples: int,
    speed: float,
    room: np.ndarray,
    noise: Path,
    noise_start: float,
    snr_db: float,
    gain_db: float,
) -> np.ndarray:
    """The wave [N] float32 of one view, with the libraries that everyone uses.

    Args:
        path, noise: audio files at the rate wanted; what ends too soon begins again.
        start: first sample of the crop.
        samples: N.
        speed: a fraction with a denominator up to 100.
        room: impulse response.
        noise_start: as a part of the noise, from 0 to 1.
    """
    whole, _ = soundfile.read(path, dtype="float32")
    wave = np.take(whole, np.arange(start, start + round(samples * speed)), mode="wrap")
    if speed != 1:
        ratio = Fraction(speed).limit_denominator(100)
        wave = scipy.signal.resample_poly(wave, ratio.denominator, ratio.numerator)
        wave = np.pad(wave, (0, max(0, samples - wave.size)))[:samples]
    wave = scipy.signal.fftconvolve(wave, room)[:samples]
    sound, _ = soundfile.read(noise, dtype="float32")
    begin = int(noise_start * sound.size)
    stretch = np.take(sound, np.arange(begin, begin + samples), mode="wrap")
    wave = wave + stretch * np.sqrt(np.mean(wave**2) / np.mean(stretch**2) * 10 ** (-snr_db / 10))
    return (wave * 10 ** (gain_db / 20)).astype(np.float32)
