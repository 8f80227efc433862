"""What a line does to speech: a wave through a codec and back, of the same length, in memory.

Encoded and decoded by libsndfile, at the rate that the codec is used with.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from distilvox.sound import SAMPLE_RATE


@dataclass(frozen=True)
class Codec:
    """One way of coding.

    Args:
        container, subtype: libsndfile's names.
        rate: of the samples that are coded, Hz.
        options: of `soundfile.write`; a compression level of 1 is the fewest bits.
    """

    container: str
    subtype: str
    rate: int = SAMPLE_RATE
    options: dict[str, Any] = field(default_factory=dict)


CODECS = {
    "telephone, G.711 µ-law": Codec("WAV", "ULAW", 8_000),
    "mobile, GSM 13 kbit/s": Codec("WAV", "GSM610", 8_000),
    "Opus, 7 kbit/s": Codec("OGG", "OPUS", SAMPLE_RATE, {"compression_level": 1.0}),
}
"""What they are called in a table. Bits a second as measured over speech of chorus."""


def through(wave: Float32[np.ndarray, " N"], codec: Codec) -> Float32[np.ndarray, " N"]:
    """A wave at 16 kHz as it comes out of a codec, N samples, in [-1, 1]."""
    sent = soxr.resample(wave, SAMPLE_RATE, codec.rate) if codec.rate != SAMPLE_RATE else wave
    coded = io.BytesIO()
    soundfile.write(
        coded, sent.clip(-1, 1), codec.rate, format=codec.container, subtype=codec.subtype, **codec.options
    )
    coded.seek(0)
    heard = soundfile.read(coded, dtype="float32")[0]
    back = soxr.resample(heard, codec.rate, SAMPLE_RATE) if codec.rate != SAMPLE_RATE else heard
    found = np.zeros(wave.size, np.float32)  # a codec that works in blocks returns some samples more
    found[: back.size] = back[: wave.size]
    return found
