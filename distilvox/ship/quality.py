"""Is it speech, how much of it, and how good? Figures of one recording, and reasons to refuse it. NumPy alone.

Speech changes: its level rises and falls with the syllables, and the shape of its spectrum moves from sound to
sound, smoothly within each. Noise has one shape; its frames differ by chance and their averages do not. Tones,
chords and pulse trains stand still, and jump. Four figures tell these apart; no network does, so that the same
recording is judged alike whatever the model. Their bounds were set on real recordings (docs/results.md).

What this does not notice: a played-back or a synthetic voice, several people speaking in turn, speech that is sung.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from distilvox.sound import LOUD_DB, SAMPLE_RATE, frame_levels, loud_level, sounding

FRAME, SHIFT, POINTS = 400, 160, 512
"""25 ms every 10 ms, at 16 kHz: the frames of `distilvox.sound.frame_levels`."""

BLOCK = 256
"""Frames at a time, which fit into a processor's cache; an hour takes the memory of its levels and bands."""

BANDS, LOWEST, HIGHEST = 20, 100.0, 3_800.0
"""Equally wide in mel, within what a telephone carries."""

SMOOTH = 5
"""Frames averaged: 50 ms are shorter than most sounds of speech, and longer than chance in noise."""

CLIPPED = 0.98
"""Of full scale: samples from there on are counted as clipped."""

FADED_DB = 50.0
"""The bandwidth ends where the spectrum stays this far below its strongest part."""


@dataclass(frozen=True)
class Quality:
    """One recording in figures.

    Args:
        seconds: of sound (`distilvox.sound.seconds_of_sound`).
        level: of these, dBFS.
        clipped: share of samples at full scale.
        bandwidth: Hz up to which it has a spectrum; about 3,500 to 4,000 came by telephone.
        swing: dB, standard deviation of the level between the first sound and the last.
        variety: dB, how far spectral shapes (averaged over 50 ms, without their level) lie from their mean.
        change: dB, median change of the spectral shape from one frame to the next.
        drift: dB, the same of the averaged shape over 20 ms.
    """

    seconds: float
    level: float
    clipped: float
    bandwidth: float
    swing: float
    variety: float
    change: float
    drift: float

    def __str__(self) -> str:
        clipped = f", {self.clipped:.1%} clipped" if self.clipped >= 0.001 else ""
        phone = ", telephone" if self.bandwidth < 4_100 else ""
        return f"{self.seconds:.1f} s of sound at {self.level:.0f} dBFS, up to {self.bandwidth:,.0f} Hz{phone}{clipped}"

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Bounds:
    """What a recording must have to be used; the first field that fails gives the reason."""

    seconds: float = 0.3
    level: float = -60.0
    clipped: float = 0.10
    swing: float = 3.4
    variety: tuple[float, float] = (3.0, 12.5)
    change: tuple[float, float] = (1.9, 4.6)
    drift: float = 0.97


VERIFY = Bounds()
"""For one recording that is compared."""

ENROL = Bounds(seconds=1.0, level=-50.0, clipped=0.02, swing=4.5, variety=(3.6, 12.0))
"""For one that others will be compared with for years: stricter."""


def measure(wave: np.ndarray, levels: np.ndarray | None = None) -> Quality:
    """Measures float samples [N] in [-1, 1] at 16 kHz, N at least 400; `levels` are `frame_levels`, if at hand."""
    sound = sounding(frame_levels(wave) if levels is None else levels)
    energy, level, mean = spectra(wave, sound)
    seconds = round(float(sound.sum()) * SHIFT / SAMPLE_RATE, 2)
    clipped = float(np.mean(np.abs(wave) >= CLIPPED))
    if sound.sum() <= 2 * SMOOTH:
        return Quality(seconds, float(level.max()), clipped, 0.0, 0, 0, 0, 0)
    first, last = np.flatnonzero(sound)[[0, -1]]
    span = np.maximum(level[first : last + 1], loud_level(level) - LOUD_DB - 10)
    sums = np.cumsum(np.vstack([np.zeros((1, BANDS)), energy]), axis=0)
    smooth = (sums[SMOOTH:] - sums[:-SMOOTH]) / SMOOTH
    steady = sounding(10 * np.log10(smooth.sum(axis=1) + 1e-12))
    shape, averaged = shapes(energy), shapes(smooth)
    kept = averaged[steady]
    variety = float(np.sqrt(((kept - kept.mean(axis=0)) ** 2).mean())) if len(kept) else 0.0
    return Quality(
        seconds=seconds,
        level=float(10 * np.log10(np.mean(10 ** (level[sound] / 10)))),
        clipped=clipped,
        bandwidth=bandwidth(mean),
        swing=float(span.std()),
        variety=variety,
        change=moved(shape, sound, 1),
        drift=moved(averaged, steady, 2),
    )


def refusal(quality: Quality, bounds: Bounds = VERIFY) -> str | None:
    """Why a recording is not to be used, with the number and its bound; None if nothing speaks against it.

    >>> refusal(measure(0.1 * np.random.default_rng(0).standard_normal(32_000)))
    'no speech: one sound throughout (its level varies by 0.4 dB, speech by 3.4 or more)'
    """
    q, b = quality, bounds
    if q.seconds < b.seconds:
        return f"too little speech: {q.seconds:.2f} s of sound, at least {b.seconds:.2f} s"
    if q.level < b.level:
        return f"too faint: {q.level:.0f} dBFS, at least {b.level:.0f} dBFS"
    if q.clipped > b.clipped:
        return f"clipped: {q.clipped:.1%} of the samples stand at full scale, at most {b.clipped:.0%}"
    if q.swing < b.swing:
        return f"no speech: one sound throughout (its level varies by {q.swing:.1f} dB, speech by {b.swing:g} or more)"
    low, high = b.variety
    if q.variety < low:
        return f"no speech: a noise (its spectrum varies by {q.variety:.1f} dB, speech by {low:g} or more)"
    if q.variety > high:
        return f"no speech: tones (its spectrum varies by {q.variety:.1f} dB, speech by {high:g} or less)"
    low, high = b.change
    if q.change < low or q.drift < b.drift:
        figures = (
            f"{q.change:.2f} and {q.drift:.2f} dB from frame to frame, speech {low:g} and {b.drift:g} or more"
        )
        return f"no speech: it stands still ({figures})"
    if q.change > high:
        return f"no speech: it jumps ({q.change:.1f} dB from frame to frame, speech {high:g} or less)"
    return None


def spectra(wave: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float samples [N] → energies of bands [T, F], levels [T] in dBFS, and the mean power [257] of frames with sound.

    A full-scale sine has about -3 dBFS.
    """
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::SHIFT]
    window = np.hanning(FRAME).astype(np.float32)
    scale, weights = 2 / (POINTS * np.sum(window**2)), BAND_WEIGHTS.astype(np.float32)
    energy, level = np.empty((len(frames), BANDS)), np.empty(len(frames))
    total = np.zeros(POINTS // 2 + 1)
    for start in range(0, len(frames), BLOCK):
        rows = slice(start, start + BLOCK)
        some = frames[rows].astype(np.float32)
        spectrum = np.fft.rfft((some - some.mean(axis=1, keepdims=True)) * window, POINTS)
        power = (spectrum.real**2 + spectrum.imag**2) * scale
        energy[rows] = power @ weights
        level[rows] = 10 * np.log10(power.sum(axis=1) + 1e-12)
        total += power[sound[rows]].sum(axis=0)
    return energy, level, total / max(1, int(sound.sum()))


def first_seconds(wave: np.ndarray, seconds: float) -> np.ndarray | None:
    """From the first sound on until there were so many seconds of it; None where there are not so many."""
    (sound,) = np.nonzero(sounding(frame_levels(wave)))
    count = round(seconds * SAMPLE_RATE / SHIFT)
    if len(sound) < count:
        return None
    return wave[sound[0] * SHIFT : sound[count - 1] * SHIFT + FRAME]


def shapes(energy: np.ndarray) -> np.ndarray:
    """Energies of bands [T, F] → dB without each frame's mean."""
    log = 10 * np.log10(energy + 1e-10)
    return log - log.mean(axis=1, keepdims=True)


def moved(shape: np.ndarray, sound: np.ndarray, frames: int) -> float:
    """Median distance, dB, between shapes [T, F] that lie some frames apart and both hold sound."""
    both = sound[frames:] & sound[:-frames]
    if not both.any():
        return 0.0
    distance = np.sqrt(((shape[frames:] - shape[:-frames]) ** 2).mean(axis=1))
    return float(np.median(distance[both]))


def bandwidth(power: np.ndarray) -> float:
    """Hz up to which a power spectrum [257] stays within `FADED_DB` of its strongest 200 Hz."""
    mean = np.convolve(power, np.full(7, 1 / 7), "same")
    above = np.flatnonzero(10 * np.log10(mean + 1e-20) > 10 * np.log10(mean.max() + 1e-20) - FADED_DB)
    return float(above[-1] * SAMPLE_RATE / POINTS)


def band_weights() -> np.ndarray:
    """[257, F]: triangles equally wide in mel."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(hertz / 700)

    low, high = mel(np.array([LOWEST, HIGHEST])).tolist()
    edges = np.linspace(low, high, BANDS + 2)
    bins = mel(np.arange(POINTS // 2 + 1) * SAMPLE_RATE / POINTS)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


BAND_WEIGHTS = band_weights()
