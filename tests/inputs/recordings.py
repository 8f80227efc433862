"""Recordings as people have them: how each is made, and what becomes of it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile

RATE = 16_000


@dataclass(frozen=True)
class Recording:
    """One kind of file.

    Attributes:
        kind: what it is, for the page.
        outcome: "read", "noted" (read, and said) or "rejected".
        words: how the note or the reason begins; "" where it is read without a word.
        make: samples float64 [N] at 16 kHz → the bytes of the file.
        name: of the file.
    """

    kind: str
    outcome: str
    words: str
    make: Callable[[np.ndarray], bytes]
    name: str = "a.wav"


def written(samples: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    """A file as libsndfile writes it, 16-bit WAV unless told otherwise."""
    held = io.BytesIO()
    soundfile.write(held, samples, rate, **{"format": "WAV", **options})
    return held.getvalue()


def encode(to: io.BytesIO | str, samples: np.ndarray, **options: str) -> None:
    """AAC in MPEG-4, as PyAV writes it."""
    with av.open(to, "w", format="ipod", options=options) as container:
        track = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)


def encoded(samples: np.ndarray) -> bytes:
    held = io.BytesIO()
    encode(held, samples)
    return held.getvalue()


def floats(samples: np.ndarray) -> bytes:
    return written(samples, subtype="FLOAT")


def with_length(wave: np.ndarray, length: int) -> bytes:
    """A WAV file whose header states `length` bytes of samples."""
    data = bytearray(written(wave))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", length)
    return bytes(data)


def stereo(left: np.ndarray, right: np.ndarray) -> bytes:
    return written(np.stack([left, right], 1))


def with_a(value: float) -> Callable[[np.ndarray], bytes]:
    return lambda wave: floats(np.where(np.arange(len(wave)) == 99, value, wave))


def clicks(wave: np.ndarray) -> bytes:
    return written(np.where(np.arange(len(wave)) % 8000 == 99, 0.9, 0.0))


RECORDINGS = (
    Recording("16-bit WAV of one channel", "read", "", written),
    Recording("FLAC", "read", "", lambda x: written(x, format="FLAC"), "a.flac"),
    Recording("Ogg Opus", "read", "", lambda x: written(x, format="OGG", subtype="OPUS"), "a.opus"),
    Recording("MP3", "read", "", lambda x: written(x, format="MP3"), "a.mp3"),
    Recording("another format under the name .wav", "read", "", lambda x: written(x, format="FLAC")),
    Recording("GSM 06.10", "read", "", lambda x: written(x, subtype="GSM610")),
    Recording("G.721", "read", "", lambda x: written(x, format="AU", subtype="G721_32"), "a.au"),
    Recording("a header of a pipe: no length", "read", "", lambda x: with_length(x, 0xFFFF_FFFF)),
    Recording("another sample rate", "noted", "resampled: from 8000 Hz", lambda x: written(x, 8000)),
    Recording(
        "several channels", "noted", "several channels: the mean of 2", lambda x: stereo(x, np.roll(x, 5000))
    ),
    Recording(
        "channels that cancel", "noted", "several channels: channel 1 of 2 taken", lambda x: stereo(x, -x)
    ),
    Recording(
        "a silent channel",
        "noted",
        "several channels: channel 1 of 2, the others",
        lambda x: stereo(x, 0 * x),
    ),
    Recording("an offset", "noted", "offset: a mean of 5 was taken off", lambda x: floats(x + 5)),
    Recording(
        "integers saved as floats",
        "noted",
        "beyond full scale: up to ",
        lambda x: floats(np.rint(32768 * x)),
    ),
    Recording("three times full scale", "noted", "beyond full scale: up to ", lambda x: floats(20 * x)),
    Recording(
        "a level that nothing explains", "rejected", "beyond full scale: up to ", lambda x: floats(1e12 * x)
    ),
    Recording(
        "clipped when it was recorded", "noted", "clipped before: ", lambda x: written(np.clip(99 * x, -1, 1))
    ),
    Recording("silence", "rejected", "silence", lambda x: written(0 * x)),
    Recording("a constant", "rejected", "silence", lambda x: written(0 * x + 0.5)),
    Recording("clicks in silence", "rejected", "too little sound: 0.00 s, at least 0.40 s", clicks),
    Recording(
        "a word of 0.3 s", "rejected", "too short: 0.30 s, at least 0.50 s", lambda x: written(x[:4800])
    ),
    Recording(
        "a word of 0.3 s in silence",
        "rejected",
        "too little sound: 0.29 s, at least 0.40 s",
        lambda x: written(np.concatenate([x[:4800], 0 * x])),
    ),
    Recording("NaN", "rejected", "NaN or infinite samples", with_a(np.nan)),
    Recording("infinity", "rejected", "NaN or infinite samples", with_a(np.inf)),
    Recording(
        "a header that states nothing", "rejected", "its header states 0 of ", lambda x: with_length(x, 0)
    ),
    Recording(
        "a header that states half", "rejected", "its header states ", lambda x: with_length(x, len(x))
    ),
    Recording("a file that was cut off", "rejected", "truncated: ", lambda x: written(x)[:-999]),
    Recording("an empty file", "rejected", "empty file", lambda x: b""),
    Recording("zeros of a download", "rejected", "nothing but zero bytes", lambda x: b"\0" * 9999),
    Recording(
        "m4a under the name .wav",
        "rejected",
        "MPEG-4 (m4a, mp4)",
        lambda x: b"\0\0\0\x20ftypM4A " + b"\0" * 99,
    ),
    Recording("m4a, with `distilvox[media]`", "read", "", encoded, "a.m4a"),
    Recording("an m4a that is none", "rejected", "not audio (", lambda x: b"\0\0\0\x20ftypM4A ", "a.m4a"),
    Recording("WebM", "rejected", "WebM or Matroska", lambda x: b"\x1a\x45\xdf\xa3" + b"\0" * 99),
    Recording("a web page", "rejected", "a web page (HTML, XML)", lambda x: b"<!DOCTYPE html><html>"),
    Recording(
        "a Git LFS pointer", "rejected", "a Git LFS pointer", lambda x: b"version https://git-lfs.github.com/"
    ),
    Recording(
        "macOS's ._ files", "rejected", "macOS's notes about a file", lambda x: b"\0\5\x16\7" + b"\0" * 99
    ),
    Recording(
        "shorten in SPHERE",
        "rejected",
        "SPHERE compressed with shorten: decompress it with `sph2pipe",
        lambda x: b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n",
        "a.sph",
    ),
)
