"""A file of samples in memory: mapped, and asked for in whole crops rather than page by page."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np


class MappedAudio:
    """The int16 samples of a file, read-only; nothing is read before it is asked for.

    A crop that is not in memory yet is announced first: the system then reads it in one go. Page faults alone read it
    piece by piece and much beyond its end: fifty times slower on a corpus larger than memory.

    Attributes:
        samples: int16 [S], all of them.
    """

    def __init__(self, path: Path) -> None:
        """Maps the file; one that is empty or missing has no samples."""
        self._pages: mmap.mmap | None = None
        if path.exists() and path.stat().st_size:
            with open(path, "rb") as file:
                self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.samples = np.frombuffer(self._pages or b"", dtype="<i2")

    def read(self, begin: int, end: int) -> np.ndarray:
        """Samples [begin, end): int16 [end − begin], a view."""
        if self._pages is not None and begin < end:
            page = 2 * begin // mmap.PAGESIZE * mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_WILLNEED, page, 2 * end - page)
        return self.samples[begin:end]
