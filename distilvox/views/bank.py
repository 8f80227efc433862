"""The noises and rooms that views are drawn from: from folders of audio, or made here from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from distilvox.audio import read_audio
from distilvox.console import say
from distilvox.errors import UserError, require
from distilvox.names import EXTENSIONS
from distilvox.sound import SAMPLE_RATE, SILENCE_PEAK, AudioError, is_silence
from distilvox.walk import walk

ROOM_SECONDS = 0.5
"""A room's response is cut here; what rings on is too faint to matter to a crop of 2 s."""

ROOM_PEAK = 1e-4
"""A room's response that stays below this is silence; a faint one is no worse than a loud one, once normalised."""

MAX_REJECTED = 0.01
"""The share of unusable files that is put up with, as in `distilvox pack`."""


@dataclass(frozen=True)
class Bank:
    """Noises and room responses, float32, in a fixed order.

    Args:
        noises: any lengths from 1 sample; any loudness, since they are mixed at a drawn SNR.
        rooms: impulse responses, as `normalise_room` returns them.
        sample_rate: Hz, of all of them.
    """

    noises: tuple[Float32[np.ndarray, " _"], ...] = ()
    rooms: tuple[Float32[np.ndarray, " _"], ...] = ()
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        for noun, waves in (("noise", self.noises), ("room", self.rooms)):
            for index, wave in enumerate(waves):
                usable = wave.size > 0 and bool(np.isfinite(wave).all())
                require(usable, f"{noun} {index} of the bank is empty or not finite")

    @cached_property
    def id(self) -> str:
        """sha256 of the content, in hex: a cache of views is keyed by it."""
        digest = hashlib.sha256(f"bank 1 {self.sample_rate} {len(self.noises)}".encode())
        for wave in (*self.noises, *self.rooms):
            digest.update(f" {wave.size} ".encode())
            digest.update(np.ascontiguousarray(wave, "<f4").tobytes())
        return digest.hexdigest()


def normalise_room(
    response: Float32[np.ndarray, " L"], *, sample_rate: int = SAMPLE_RATE
) -> Float32[np.ndarray, " M"]:
    """The direct path (largest peak) at delay 0, at most 0.5 s, energy 1.

    Raises:
        UserError: the response is empty or silent.
    """
    wave = response.astype(np.float64)
    require(wave.size > 0 and bool(np.abs(wave).max() > 0), "a room's response is empty or silent")
    peak = int(np.abs(wave).argmax())
    wave = wave[peak : peak + round(ROOM_SECONDS * sample_rate)]
    return (wave / np.sqrt(np.sum(wave**2))).astype(np.float32)


def _read_folder(folder: Path, noun: str, sample_rate: int, peak: float) -> list[Float32[np.ndarray, " _"]]:
    """Every usable file under a folder, by the rules and in the words of `distilvox pack`.

    Args:
        peak: a file that stays below is silent.
    """
    if not folder.is_dir():
        raise UserError(f"no folder of {noun} here", got=folder, remedy="give a folder of audio files")
    walked = walk(folder)
    require(
        len(walked.files) > 0, f"no audio in this folder of {noun}", got=folder, allowed=" ".join(EXTENSIONS)
    )
    waves, rejected = [], []
    for path in walked.files:
        try:
            wave = read_audio(path, sample_rate=sample_rate, min_seconds=0.0, allow_silence=True)
            if is_silence(wave, peak):
                raise AudioError(path, "silence")
            waves.append(wave)
        except AudioError as error:
            rejected.append(f"{path.relative_to(folder)}: {error.reason}")
    shown = "; ".join(rejected[:5]) + (f"; and {len(rejected) - 5:,} more" if len(rejected) > 5 else "")
    if rejected and len(rejected) > MAX_REJECTED * len(walked.files):
        raise UserError(
            f"too many files of this folder of {noun} cannot be used: {len(rejected):,} of {len(walked.files):,}",
            got=shown,
            allowed=f"{MAX_REJECTED:.0%}",
            remedy="mend these files, or take them out of the folder",
            exit_code=1,
        )
    if rejected:
        say(f"{noun}: {len(rejected):,} of {len(walked.files):,} files left out: {shown}")
    return waves


def load_bank(
    noise_folder: Path | None = None, room_folder: Path | None = None, *, sample_rate: int = SAMPLE_RATE
) -> Bank:
    """Reads the audio under each folder, in the order of its paths; without a folder, made ones stand in.

    Raises:
        UserError: a folder is missing or holds no audio, or too many files in it cannot be used (names them).
    """
    made = synthetic_bank(sample_rate=sample_rate) if noise_folder is None or room_folder is None else Bank()
    noises: Sequence[np.ndarray] = made.noises
    rooms: Sequence[np.ndarray] = made.rooms
    if noise_folder is not None:
        noises = _read_folder(noise_folder, "noises", sample_rate, SILENCE_PEAK)
    if room_folder is not None:
        responses = _read_folder(room_folder, "rooms", sample_rate, ROOM_PEAK)
        rooms = [normalise_room(response, sample_rate=sample_rate) for response in responses]
    return Bank(tuple(noises), tuple(rooms), sample_rate)


def _coloured(rng: np.random.Generator, samples: int, exponent: float) -> Float64[np.ndarray, " N"]:
    """Gaussian noise whose power falls as 1 / f**exponent: 0 white, 1 pink, 2 brown; level 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    bins = np.maximum(np.arange(spectrum.size, dtype=np.float64), 1.0)
    wave = np.fft.irfft(spectrum * bins ** (-exponent / 2), n=samples)
    return wave / max(float(np.sqrt(np.mean(wave**2))), 1e-12)


def _babble(rng: np.random.Generator, samples: int, sample_rate: int) -> Float64[np.ndarray, " N"]:
    """Several speech-shaped noises, each swelling at a syllable's pace (2 … 6 Hz), like talk in a hall."""
    time = np.arange(samples) / sample_rate
    total = np.zeros(samples)
    for _ in range(int(rng.integers(3, 8))):
        pace, phase = rng.uniform(2, 6), rng.uniform(0, 2 * np.pi)
        swell = np.exp(2 * np.sin(2 * np.pi * pace * time + phase)) / np.e**2
        total += swell * _coloured(rng, samples, 1.3)
    return total / np.sqrt(np.mean(total**2))


def _room(rng: np.random.Generator, sample_rate: int) -> Float32[np.ndarray, " L"]:
    """Exponentially decaying noise behind a direct path; RT60 0.15 … 0.9 s, direct part 0 … 12 dB above."""
    samples = round(ROOM_SECONDS * sample_rate)
    rt60 = rng.uniform(0.15, 0.9)
    tail = rng.standard_normal(samples) * 10 ** (-3 * np.arange(samples) / (rt60 * sample_rate))
    tail[: round(sample_rate * rng.uniform(0.001, 0.006))] = 0  # nothing returns before the first wall
    direct = 10 ** (rng.uniform(0, 12) / 20) * np.sqrt(np.sum(tail**2))
    tail[0] = max(direct, 1.01 * float(np.abs(tail).max()))
    return normalise_room(tail.astype(np.float32), sample_rate=sample_rate)


def synthetic_bank(seed: int = 0, *, sample_rate: int = SAMPLE_RATE, seconds: float = 6.0) -> Bank:
    """24 noises (white, pink, brown, babble: 6 each, level 0.1) and 24 rooms, from nothing but a seed."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    noises = [_coloured(rng, samples, exponent) for exponent in (0.0, 1.0, 2.0) for _ in range(6)]
    noises += [_babble(rng, samples, sample_rate) for _ in range(6)]
    rooms = [_room(rng, sample_rate) for _ in range(24)]
    return Bank(tuple((0.1 * noise).astype(np.float32) for noise in noises), tuple(rooms), sample_rate)
