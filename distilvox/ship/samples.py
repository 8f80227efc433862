"""A recording, from a path or from memory → its checked samples, as a corpus judges them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soxr

from distilvox.audio import read_sound
from distilvox.errors import require
from distilvox.sound import MIN_SECONDS, SAMPLE_RATE, AudioError, Levels, Sound, check_speech

Source = Path | str | np.ndarray | Sound
"""A path to a recording, its samples, or what `sound_of` made of them."""

LONGEST_SECONDS = 300  # longer ones are embedded in windows: three hours at once take ten gigabytes


MEMORY = "samples in memory"


def named(source: Source) -> Path | str:
    """What messages call a source."""
    return MEMORY if isinstance(source, np.ndarray | Sound) else source


def windows(wave: np.ndarray) -> list[np.ndarray]:
    """A wave [N] in equal parts of at most `LONGEST_SECONDS`; nearly all are one part."""
    return np.array_split(wave, max(1, -(-len(wave) // (LONGEST_SECONDS * SAMPLE_RATE))))


def sound_of(source: Source, sample_rate: int = SAMPLE_RATE) -> Sound:
    """A recording, judged as a corpus judges it: its wave, float32 [N] at 16 kHz, and what was done to get it.

    Args:
        source: a path, or samples [N]: floats in [-1, 1] or signed integers; a `Sound` comes back as it is.
        sample_rate: of the samples, Hz; a file states its own.
    """
    if isinstance(source, Sound):
        return source
    sound = _of_samples(source, sample_rate) if isinstance(source, np.ndarray) else read_sound(source)
    if (count := len(windows(sound.wave))) == 1:
        return sound
    said = f"long: {len(sound.wave) / SAMPLE_RATE:,.0f} s, the mean over {count} windows"
    return replace(sound, notes=(*sound.notes, said))


def samples(wave: np.ndarray, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Samples from memory, checked as a file's are: → float32 [N] at 16 kHz."""
    return _of_samples(wave, sample_rate).wave


def _of_samples(wave: np.ndarray, sample_rate: int) -> Sound:
    noun = MEMORY
    require(wave.ndim == 1, "samples must be of one channel", got=f"shape {wave.shape}", allowed="shape (N,)")
    require(sample_rate > 0, "the sample rate must be above 0 Hz", got=sample_rate)
    if wave.dtype.kind == "i":
        wave = wave / -float(np.iinfo(wave.dtype).min)
    require(
        wave.dtype.kind == "f",
        "samples must be numbers",
        got=wave.dtype,
        allowed="floats in [-1, 1] or signed integers",
    )
    wave = wave.astype(np.float32)
    levels = Levels(noun, channels=1)
    levels.add(wave[:, None])
    treatment = levels.treatment()
    seconds = len(wave) * 100 // sample_rate / 100
    wave = treatment.apply(wave[:, None])
    if len(wave) and sample_rate != SAMPLE_RATE:
        wave = soxr.resample(wave, sample_rate, SAMPLE_RATE, quality="HQ").clip(-1, 1)
    if len(wave) < round(MIN_SECONDS * SAMPLE_RATE):
        raise AudioError(noun, f"too short: {seconds:.2f} s, at least {MIN_SECONDS:.2f} s")
    return Sound(np.ascontiguousarray(wave), treatment.notes, check_speech(wave, noun))
