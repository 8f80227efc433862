"""Drawn channels: microphone, band, room and noise floor of one recording session, applied in one FFT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distilvox.sound import SAMPLE_RATE

LONGEST = 5.0
"""Seconds of speech that a channel takes: one FFT size serves all, so a session is worked out once."""

_SIZE = 86_400  # 5.4 s, of small factors: the longest speech, then the longest room
_FREQUENCY = np.maximum(np.fft.rfftfreq(_SIZE, 1.0 / SAMPLE_RATE), 1.0)
_LOG_FREQUENCY = np.log(_FREQUENCY)
_KNOTS = np.log([100.0, 300.0, 900.0, 2700.0, 8000.0])


@dataclass(frozen=True)
class Channel:
    """A session's channel, on the bins of one FFT.

    Fields:
        response: complex64 [bins], what speech is multiplied by.
        noise: float32 [bins], the spectrum of the noise floor, norm 1.
        noise_level: norm of the noise floor over that of the speech.
    """

    response: np.ndarray
    noise: np.ndarray
    noise_level: float


def draw_channel(random: np.random.Generator) -> Channel:
    """A channel, from a generator that belongs to one session of one speaker.

    Draws the equaliser (1.5 dB at five frequencies an octave and a half apart, straight lines between),
    the band (40 to 200 Hz, 5 to 8 kHz), the room (a decaying tail of 0.08 to 0.3 s, 0 to 30 % of the
    direct sound's amplitude) and the noise floor (-45 to -22 dB, white to brown).
    """
    equaliser_db = np.interp(_LOG_FREQUENCY, _KNOTS, random.normal(0.0, 1.5, len(_KNOTS)))
    low = np.exp(random.uniform(np.log(40.0), np.log(200.0)))
    high = random.uniform(5_000.0, 8_000.0)
    band = 1.0 / np.sqrt((1.0 + (low / _FREQUENCY) ** 8) * (1.0 + (_FREQUENCY / high) ** 16))
    microphone = 10.0 ** (equaliser_db / 20.0) * band

    rt60 = random.uniform(0.08, 0.3)
    strength = random.uniform(0.0, 0.3)
    time = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    room = random.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60)
    room[: SAMPLE_RATE // 500] = 0.0
    room *= strength / np.sqrt(np.sum(room**2))
    room[0] = 1.0

    slope = random.uniform(-6.0, 0.0)  # dB an octave
    noise = microphone * np.maximum(_FREQUENCY, 60.0) ** (slope / 6.02)
    level = 10.0 ** (random.uniform(-45.0, -22.0) / 20.0)
    return Channel(
        (microphone * np.fft.rfft(room, _SIZE)).astype(np.complex64),
        (noise / _norm(noise)).astype(np.float32),
        float(level),
    )


def apply_channel(wave: np.ndarray, channel: Channel, random: np.random.Generator) -> np.ndarray:
    """What the session's microphone hears.

    Args:
        wave: float32 [N] at 16 kHz, N at most `LONGEST` seconds, not all zero.
        random: draws the noise of this utterance.

    Returns:
        float32 [N], of about the level of the input.
    """
    spectrum = np.fft.rfft(wave, _SIZE) * channel.response
    noise = random.standard_normal((len(spectrum), 2), dtype=np.float32).view(np.complex64)[:, 0]
    # Noise fills the whole FFT, speech only its first N samples: norms compare per sample.
    level = channel.noise_level * _norm(spectrum) * np.sqrt(_SIZE / len(wave) / 2.0)
    spectrum += noise * (channel.noise * np.float32(level))
    return np.fft.irfft(spectrum, _SIZE)[: len(wave)]


def _norm(x: np.ndarray) -> np.floating:
    """The Euclidean norm without BLAS, which starts threads and adds in an order of its own."""
    return np.sqrt(np.sum(np.square(x.real) + np.square(x.imag)))
