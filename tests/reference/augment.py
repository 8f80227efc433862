"""The augmentation of one crop, slow and obvious, in float64: direct sinc, direct convolution."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

ZERO_CROSSINGS, BETA, SLOPE = 24, 5.5, 1.75 / 24


def change_speed(wave: np.ndarray, speed: float, samples: int) -> np.ndarray:
    """Output n is the windowed-sinc interpolation of the wave at n × speed; outside it is silence."""
    ratio = float(Fraction(speed).limit_denominator(100))
    if ratio == 1.0:
        return wave[:samples].astype(np.float64)
    cutoff = min(1.0, 1.0 / ratio) * (1 - SLOPE)
    reach = ZERO_CROSSINGS / cutoff
    out = np.zeros(samples)
    for n in range(samples):
        m = np.arange(max(0, int(n * ratio - reach)), min(wave.size, int(n * ratio + reach) + 1))
        t = m - n * ratio
        m, t = m[np.abs(t) < reach], t[np.abs(t) < reach]
        window = np.i0(BETA * np.sqrt(1 - (t / reach) ** 2)) / np.i0(BETA)
        out[n] = np.sum(wave[m] * cutoff * np.sinc(cutoff * t) * window)
    return out


def augment(
    crop: np.ndarray,
    *,
    speed: float,
    room: np.ndarray | None,
    noise: np.ndarray | None,
    noise_start: float,
    snr_db: float,
    gain_db: float,
    samples: int,
) -> np.ndarray:
    """int16 crop → float64 view: speed, room, noise at its SNR, gain."""
    wave = change_speed(crop.astype(np.float64) / 32768, speed, samples)
    if room is not None:
        wave = np.convolve(wave, room.astype(np.float64))[:samples]
    if noise is not None:
        start = int(noise_start * noise.size)
        stretch = np.array([noise[(start + n) % noise.size] for n in range(samples)], np.float64)
        speech_power, noise_power = np.mean(wave**2), np.mean(stretch**2)
        if noise_power > 1e-12:
            wave = wave + stretch * np.sqrt(speech_power / noise_power * 10 ** (-snr_db / 10))
    return wave * 10 ** (gain_db / 20)
