"""What a recording holds: its channels, offset, level and seconds of sound; judged once, for corpus and runtime alike.

A recording is measured in one pass (`Levels`), which decides how its channels become one wave within full scale
(`Treatment`), and what to say about that. The wave is then asked for sound, in frames: a peak says nothing, since a
click has one too. NumPy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.errors import UserError

SAMPLE_RATE = 16_000
"""Samples a second, everywhere in distilvox."""

MIN_SECONDS = 0.5
"""The shortest utterance that a corpus, a student or the runtime takes."""

MIN_SOUND_SECONDS = 0.4
"""The least sound in it, in seconds of frames: less is no speech, however loud a click in it is."""

SILENCE_PEAK = 1e-3
"""A recording whose largest deviation from its own mean stays below this (-60 dBFS) is silence."""

FRAME_SECONDS, SHIFT_SECONDS = 0.025, 0.01
LOUD_DB, FAINT_DB = 30.0, -71.0
"""A frame has sound if it lies within 30 dB of the loud ones and above -71 dBFS."""

LOUDEST = 10
"""The loud frames are told by the tenth loudest: a word among minutes of hiss is loud, too."""

OFFSET = 0.1
"""A mean farther from zero than this part of the largest deviation from it is an offset, and is taken off."""

CANCEL = 0.25
"""Channels cancel if their mean has less than this part of the power that unrelated channels would leave."""

FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Of integers that were saved as floats."""

MOST_ABOVE, SHARE_ABOVE = 2.0, 1e-3
"""A decoder may pass full scale by this much, in this share of the samples: they are clipped, not scaled."""

AT_FULL_SCALE, SHARE_AT_FULL_SCALE = 0.99, 0.01


class AudioError(UserError):
    """A recording that cannot be used; `reason` is short enough for a table."""

    def __init__(
        self, path: object, reason: str, *, remedy: str = "replace the file or leave it out"
    ) -> None:
        self.reason = reason
        super().__init__(f"cannot use {path}: {reason}", remedy=remedy)


@dataclass(frozen=True)
class Sound:
    """A wave at the rate that was asked for, and what was done to the recording to get it.

    Attributes:
        wave: float32 or int16 [N], one channel within full scale.
        notes: each "kind: detail", such as "several channels: the mean of 2".
        levels: of its frames (`frame_levels`), where it was asked for sound, so that nobody measures them again.
    """

    wave: np.ndarray
    notes: tuple[str, ...] = ()
    levels: np.ndarray | None = None


class Levels:
    """What is known of a recording after its blocks [n, K] have been added: enough to decide a `Treatment`."""

    def __init__(self, where: Path | str, channels: int) -> None:
        self.where = where
        self.frames = 0
        self.whole_numbers = True
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._low, self._high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._above = self._at_full_scale = 0

    def add(self, block: np.ndarray) -> None:
        """Takes the next float32 block [n, K].

        Raises:
            AudioError: a sample is NaN or infinite.
        """
        if not len(block):
            return
        low, high = block.min(axis=0), block.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise AudioError(self.where, "NaN or infinite samples")
        self.frames += len(block)
        exact = block.astype(np.float64)
        self._sum += exact.sum(axis=0)
        self._products += exact.T @ exact
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        largest = float(max(high.max(), -low.min()))
        if largest >= AT_FULL_SCALE:
            size = np.abs(block).max(axis=1)
            self._at_full_scale += int(np.count_nonzero(size >= AT_FULL_SCALE))
            self._above += int(np.count_nonzero(size > 1))
        self.whole_numbers = self.whole_numbers and largest > 1 and bool((block == np.rint(block)).all())

    def treatment(self) -> Treatment:
        """How the channels become one wave within full scale.

        Raises:
            AudioError: a level that no scale of integers explains.
        """
        channels = len(self._sum)
        if not self.frames:
            return Treatment(np.full(channels, 1 / channels), np.zeros(channels))
        mean = self._sum / self.frames
        covariance = self._products / self.frames - np.outer(mean, mean)
        deviation = np.maximum(self._high - mean, mean - self._low)
        offset = np.where(np.abs(mean) > OFFSET * deviation, mean, 0.0)
        level = float(np.maximum(self._high - offset, offset - self._low).max())
        divisor, notes = self._divisor(level, bool(offset.any()))
        weights, of_channels = _mix(covariance, deviation / divisor)
        heard = offset[weights > 0]
        if np.any(heard) and np.any(deviation > 0):
            notes.append(f"offset: a mean of {heard[np.abs(heard).argmax()] / divisor:.3g} was taken off")
        return Treatment(weights, offset, divisor, (*of_channels, *notes))

    def _divisor(self, level: float, has_offset: bool) -> tuple[float, list[str]]:
        """What to divide the samples by, for a largest deviation `level`, and what to say about it."""
        if level <= 1:
            share = 0.0 if has_offset else self._at_full_scale / self.frames
            said = f"clipped before: {share:.1%} of the samples stand at full scale"
            return 1.0, [said] if share > SHARE_AT_FULL_SCALE else []
        above = f"beyond full scale: up to {level:.4g}"
        if self.whole_numbers or level > 32:
            scale = next((scale for scale in FULL_SCALES if level <= scale), None)
            if scale is None:
                raise AudioError(
                    self.where, f"{above}, and full scale is 1: save it again as 16-bit integers"
                )
            return scale, [f"{above}, as integers have it; divided by {scale:.0f}"]
        if level <= MOST_ABOVE and self._above <= SHARE_ABOVE * self.frames:
            return 1.0, [f"{above}, {self._above:,} samples; clipped"]
        scale = 2.0 ** math.ceil(math.log2(level))
        return scale, [f"{above}, {self._above / self.frames:.1%} of the samples; divided by {scale:.0f}"]


@dataclass(frozen=True)
class Treatment:
    """Channels [K] → one: the offset taken off, divided, weighed, clipped.

    Args:
        weights: [K], of the channels; they add up to 1.
        offset: [K], in the recording's own scale.
        divisor: brings it within full scale; 1 where it lies there already.
        notes: what there is to say about it.
    """

    weights: np.ndarray
    offset: np.ndarray
    divisor: float = 1.0
    notes: tuple[str, ...] = ()

    def apply(self, block: np.ndarray) -> np.ndarray:
        """Float32 [n, K] → float32 [n] in [-1, 1]; one channel without fault comes back bit for bit."""
        (heard,) = np.nonzero(self.weights)
        offset = float(self.weights @ self.offset)
        if len(heard) == 1:
            wave = block[:, heard[0]]
        elif len(heard) == len(self.weights):
            wave = block.mean(axis=1, dtype=np.float32)
        else:
            wave = block[:, heard].mean(axis=1, dtype=np.float32)
        if offset:
            wave = (wave - offset).astype(np.float32)
        if self.divisor != 1:
            wave = wave / np.float32(self.divisor)
        return np.clip(wave, np.float32(-1), np.float32(1))


def _mix(covariance: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Weights [K] of the channels, of covariance [K, K] and largest deviations [K], and what to say."""
    channels = len(deviation)
    if channels == 1:
        return np.ones(1), []
    sounding = deviation >= SILENCE_PEAK
    if not sounding.any():
        sounding[:] = True
    weights = sounding / sounding.sum()
    unrelated = float(weights**2 @ np.diag(covariance))
    if sounding.sum() > 1 and float(weights @ covariance @ weights) < CANCEL * unrelated:
        power = np.diag(covariance)
        loudest = int(np.flatnonzero(power >= power.max() / 2)[0])
        said = f"channel {loudest + 1} of {channels} taken, for together they cancel"
        return np.eye(channels)[loudest], [f"several channels: {said}"]
    if sounding.all():
        return weights, [f"several channels: the mean of {channels}"]
    said = f"the mean of {sounding.sum()}" if sounding.sum() > 1 else f"channel {sounding.argmax() + 1}"
    return weights, [f"several channels: {said} of {channels}, the others are silent"]


def frame_levels(wave: np.ndarray, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Float or int16 wave [N] → the level of each frame of 25 ms, every 10 ms, in dBFS: float32 [T].

    By the span between the quartiles of a frame's samples, as the deviation of a normal noise with such a span: clicks
    and steps are no middle, however loud.
    """
    size, shift = round(FRAME_SECONDS * sample_rate), round(SHIFT_SECONDS * sample_rate)
    if len(wave) < size:
        return np.zeros(0, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::shift]
    spans = np.empty(len(frames), np.float32)
    low, high = size // 4, size - 1 - size // 4
    for start in range(0, len(frames), 4096):
        ranked = np.partition(frames[start : start + 4096].astype(np.float32), (low, high), axis=1)
        spans[start : start + 4096] = ranked[:, high] - ranked[:, low]
    full = 32768.0 if wave.dtype == np.int16 else 1.0
    return 20 * np.log10(np.maximum(spans / np.float32(1.349 * full), np.float32(1e-7)))


def loud_level(levels: np.ndarray) -> float:
    """Of levels in dB [T], T > 0, that of the loud frames: the 95th percentile of those near the loudest."""
    tenth = float(np.partition(levels, -min(LOUDEST, len(levels)))[-min(LOUDEST, len(levels))])
    return float(np.percentile(levels[levels >= tenth - LOUD_DB], 95))


def sounding(levels: np.ndarray) -> np.ndarray:
    """Which frames, of levels in dB [T], hold sound; bool [T]."""
    return levels > max(loud_level(levels) - LOUD_DB, FAINT_DB) if len(levels) else np.zeros(0, bool)


def seconds_of_sound(wave: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float:
    """Seconds of the frames with sound in a float or int16 wave [N]: the one measure of how much speech there is.

    >>> click = np.zeros(16_000, np.float32); click[8_000] = 0.9
    >>> seconds_of_sound(click), seconds_of_sound(np.sin(np.arange(16_000, dtype=np.float32)))
    (0.0, 0.98)
    """
    return _seconds(frame_levels(wave, sample_rate))


def _seconds(levels: np.ndarray) -> float:
    return round(float(np.count_nonzero(sounding(levels))) * SHIFT_SECONDS, 2)


def is_silence(wave: np.ndarray, peak: float = SILENCE_PEAK) -> bool:
    """Whether a float or int16 wave [N], N > 0, never leaves its own mean by `peak` of full scale."""
    mean = float(wave.mean(dtype=np.float64))
    return max(float(wave.max()) - mean, mean - float(wave.min())) < peak * (
        32768 if wave.dtype == np.int16 else 1
    )


def check_speech(
    wave: np.ndarray, where: Path | str, *, min_seconds: float = MIN_SECONDS, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Refuses a wave [N], N > 0, that is silent or holds too little sound; shorter limits ask for less of it.

    Returns:
        the level of each frame, as `frame_levels`.

    Raises:
        AudioError: "silence", or "too little sound: 0.02 s, at least 0.40 s".
    """
    if is_silence(wave):
        raise AudioError(where, "silence")
    least = min(MIN_SOUND_SECONDS, min_seconds * MIN_SOUND_SECONDS / MIN_SECONDS)
    levels = frame_levels(wave, sample_rate)
    if (found := _seconds(levels)) < least:
        raise AudioError(where, f"too little sound: {found:.2f} s, at least {least:.2f} s")
    return levels
