"""Some utterances of a corpus as a corpus of their own: what a cache of the trials' utterances is keyed by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from distilvox.teachers.live import Speech


class Subset:
    """The utterances `rows` of a corpus, in that order. `id` changes with the corpus and with the rows.

    Args:
        rows: [R] in [0, U), repeats allowed.
    """

    def __init__(self, corpus: Speech, rows: Int[np.ndarray, " R"]) -> None:
        self.corpus = corpus
        self.rows = np.asarray(rows, dtype=np.int64)
        self.sample_rate: int = corpus.sample_rate
        self.speakers: Sequence[str] = corpus.speakers
        self.utterances = [corpus.utterances[row] for row in self.rows]
        self.labels = corpus.labels[self.rows]
        self.samples = corpus.samples[self.rows]
        self.id = hashlib.sha256(corpus.id.encode() + self.rows.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def address(self) -> np.ndarray:
        return self.corpus.address()[self.rows]

    def wave(self, index: int) -> np.ndarray:
        return self.corpus.wave(int(self.rows[index]))

    def crop(self, index: int, start: int, length: int) -> np.ndarray:
        return self.corpus.crop(int(self.rows[index]), start, length)
