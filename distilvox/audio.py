"""One utterance from a file: any format and rate that libsndfile (or PyAV) reads, to one channel at one rate.

A file is read in blocks, twice: once to measure it, once to convert it. Hours of speech so take the memory of the
result and of one block. No torch here: the runtime that ships reads its audio through this file too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from distilvox.containers import CONVERT, STREAMED_BYTES, check_container
from distilvox.held import Held
from distilvox.media import decode
from distilvox.names import FOREIGN
from distilvox.sound import MIN_SECONDS, SAMPLE_RATE, AudioError, Levels, Sound, check_speech

MIN_FILE_RATE = 2_000
"""The lowest sample rate that a speech file may have; a smaller one is a damaged header."""

_BLOCK, _MP3_BLOCK = 1 << 20, 1 << 24
"""Samples, of all channels together, that are read at a time; after each, the decoder of MP3 has to find its place."""

_OVERHANG = 0.1  # seconds
_UNKNOWN_FRAMES = 1 << 40
_MOST_SAMPLES_A_SECOND = 4 * 96_000
_MP3_SLACK = 2 * 1152  # the length that an MP3 states may include the padding of its codec


def read_audio(
    path: Path | str,
    *,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = MIN_SECONDS,
    allow_silence: bool = False,
) -> np.ndarray:
    """Reads one utterance: one channel, resampled (soxr HQ), float32 [N] in [-1, 1].

    A 16-bit file of one channel at `sample_rate` comes back exactly, as integer / 32768. Several channels become
    their mean, or one of them where they cancel; an offset is taken off; `sound.Levels` says what happens to samples
    beyond full scale. `read_sound` tells what was done.

    Args:
        path: a file in any format that libsndfile reads.
        sample_rate: of the result, in Hz.
        min_seconds: anything shorter is refused.
        allow_silence: accept files without sound, and with too little of it.

    Raises:
        AudioError: with a `reason`: no such file, a folder, empty, not audio (and what it is), truncated, a header
            that states less than is there, NaN or infinite samples, too short, silence, too little sound.
    """
    return read_sound(
        path, sample_rate=sample_rate, min_seconds=min_seconds, allow_silence=allow_silence
    ).wave


def read_sound(
    path: Path | str | Held,
    *,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float = math.inf,
    allow_silence: bool = False,
    span: tuple[float, float | None] | None = None,
    dtype: type = np.float32,
) -> Sound:
    """`read_audio` with what was done to the file, and maybe of a part of it alone.

    Args:
        path: a file, on the disk or held in memory.
        max_seconds: anything longer is refused before it is decoded.
        span: first and last second of the part; None as the last is the file's end.
        dtype: float32, or int16 (times 32768, rounded), which needs half the memory.
    """
    path = path if isinstance(path, Held) else Path(path)
    file = _File(path, span)
    file.check_bounds(max_seconds)
    if file.rate < MIN_FILE_RATE:
        raise AudioError(path, f"a sample rate of {file.rate} Hz, at least {MIN_FILE_RATE} Hz")
    levels = Levels(str(path), file.channels)
    short = None
    for number, block in enumerate(file.blocks()):
        levels.add(block)
        short = block if number == 0 else None  # a file of one block need not be read again
    file.check_length(levels.frames)
    treatment = levels.treatment()
    notes = list(treatment.notes)
    if file.rate != sample_rate:
        notes.append(f"resampled: from {file.rate} Hz")
    length = -(-levels.frames * sample_rate // file.rate)
    wave: np.ndarray = np.empty(length + 64, dtype=dtype)
    used = 0
    resampler = soxr.ResampleStream(file.rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in file.blocks() if short is None else [short]:
        mono = treatment.apply(block)
        if file.rate != sample_rate:
            mono = resampler.resample_chunk(np.ascontiguousarray(mono))
        used = _append(wave, used, mono)
    if file.rate != sample_rate and levels.frames:
        used = _append(wave, used, resampler.resample_chunk(np.empty(0, np.float32), last=True))
    wave = wave[:used]
    if used < round(min_seconds * sample_rate) or not used:
        hundredths = levels.frames * 100 // file.rate
        raise AudioError(path, f"too short: {hundredths / 100:.2f} s, at least {min_seconds:.2f} s")
    found = None
    if not allow_silence:
        found = check_speech(wave, str(path), min_seconds=min_seconds, sample_rate=sample_rate)
    return Sound(wave, tuple(notes), found)


def _append(wave: np.ndarray, used: int, part: np.ndarray) -> int:
    """Puts float samples [n] into `wave` from `used` on, in its type and within its range; returns where they end."""
    end = used + len(part)
    if wave.dtype == np.int16:
        wave[used:end] = np.clip(np.rint(part * np.float32(32768)), -32768, 32767)
    else:
        wave[used:end] = np.clip(part, np.float32(-1), np.float32(1))
    return end


class _File:
    """A file opened and compared with what it promises; `blocks` reads it, or a span of it, as often as wanted.

    Raises:
        AudioError: it cannot be opened, or its header says that it is not whole.
    """

    def __init__(self, path: Path | Held, span: tuple[float, float | None] | None) -> None:
        self.path = path
        self._media: np.ndarray | None = None
        self._missing, self._is_mp3 = None, False
        if path.suffix.lower() in FOREIGN:
            if isinstance(path, Held):  # what strangers send is left to libsndfile alone
                raise AudioError(path, f"libsndfile does not read {path.suffix.lower()}: {CONVERT}")
            self._media, self.rate = decode(path)
            self._frames, self.channels = self._media.shape
            self._first, self._last = (0, None) if span is None else self._range(*span)
            return
        self._missing = check_container(path)
        with self._explained(), soundfile.SoundFile(_source(path)) as file:
            self.rate, self.channels = file.samplerate, file.channels
            self._frames, self._is_mp3, log = file.frames, file.subtype.startswith("MPEG"), file.extra_info
        if self._frames >= _UNKNOWN_FRAMES:
            raise AudioError(path, "its header does not state its length: encode it again")
        if (missing := self._missing or _logged(log)) is not None:
            raise AudioError(path, f"truncated: {missing}")
        self._first, self._last = (0, None) if span is None else self._range(*span)

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 [n, K], one block after the other."""
        if self._media is not None:
            yield self._media[self._first : self._last]
            return
        size = max(1, (_MP3_BLOCK if self._is_mp3 else _BLOCK) // self.channels)
        with self._explained(), soundfile.SoundFile(_source(self.path)) as file:
            at, end = 0, math.inf if self._last is None else self._last
            if self._first and file.seekable():
                at = file.seek(self._first)
            while at < end:
                block = file.read(int(min(size, end - at)), dtype="float32", always_2d=True)
                if not len(block):
                    return
                skipped = max(0, self._first - at)  # only where the file cannot be sought in
                at += len(block)
                if skipped < len(block):
                    yield block[skipped:]

    def check_bounds(self, seconds: float) -> None:
        """Refuses what is longer, or has more samples than so many seconds of the densest audio that people record."""
        if self._frames > seconds * self.rate:
            raise AudioError(
                self.path, f"too long: {self._frames / self.rate:,.1f} s, at most {seconds:g} s are taken"
            )
        if self._frames * self.channels > seconds * _MOST_SAMPLES_A_SECOND:
            shown = f"{self.channels} channels at {self.rate:,} Hz"
            raise AudioError(self.path, f"too many samples: {self._frames * self.channels:,}, {shown}")

    def check_length(self, decoded: int) -> None:
        """Compares the frames that the header promises with those that were decoded."""
        promised = (self._frames if self._last is None else self._last) - self._first
        slack = _MP3_SLACK if self._is_mp3 else 0
        if decoded + slack < promised:
            raise AudioError(self.path, f"truncated: {decoded:,} of {promised:,} samples")

    def _range(self, start: float, end: float | None) -> tuple[int, int | None]:
        """A span in frames; its end may miss the file's by a rounding."""
        first, last = round(start * self.rate), None if end is None else round(end * self.rate)
        if first >= self._frames or (last or 0) > self._frames + _OVERHANG * self.rate:
            shown = f"{start:.2f} s to {'its end' if end is None else f'{end:.2f} s'}"
            length = self._frames / self.rate
            raise AudioError(self.path, f"{shown} is wanted, and the recording has {length:.2f} s")
        return first, None if last is None else min(last, self._frames)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """libsndfile's complaints as reasons."""
        try:
            yield
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
            detail = str(error).strip().rpartition(": ")[2].rstrip(".").lower() or "libsndfile cannot read it"
            if self._missing is not None or "lost sync" in detail:
                raise AudioError(self.path, f"truncated: {self._missing or detail}") from None
            raise AudioError(self.path, f"not audio ({detail})") from None


def _source(file: Path | Held) -> Path | BinaryIO:
    """What libsndfile opens."""
    return file.open() if isinstance(file, Held) else file


def _logged(log: str) -> str | None:
    """What libsndfile noted while opening AIFF, AU, W64 and CAF: a chunk that passes the file's end."""
    pattern = r"^\s*(?:SSND|Data Size|data|riff)\s*:\s*(\d+) \(should be (\d+)\)"
    for match in re.finditer(pattern, log, re.MULTILINE):
        promised, there = int(match[1]), int(match[2])
        if there < promised < STREAMED_BYTES:
            return f"{there:,} of {promised:,} bytes"
    return None
