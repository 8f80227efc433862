"""One utterance from a file: any format and rate that libsndfile reads, to mono float32.

No torch here: the runtime that ships reads its audio through this file too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from distilvox.errors import UserError

SAMPLE_RATE = 16_000
"""Samples a second, everywhere in distilvox."""

MIN_SECONDS = 0.5
"""The shortest utterance that a corpus, a student or the runtime takes."""

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".w64", ".caf", ".au")


class AudioError(UserError):
    """A file that cannot be used as speech; `reason` is short enough for a table."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot use {path}: {reason}", remedy="replace the file or leave it out")
