"""A file of samples in memory: mapped, and asked for in whole crops rather than page by page."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from distilvox.errors import require


class MappedAudio:
    """The int16 samples of a file, read-only; nothing is read before it is asked for.

    A crop that is not in memory yet is announced first: the system then reads it in one go. Page faults alone read it
    piece by piece and much beyond its end: fifty times slower on a corpus larger than memory.

    Attributes:
        samples: int16 [S], all of them.
    """

    def __init__(self, path: Path) -> None:
        """Maps the file; one that is empty or missing has no samples."""
        self._path = path
        self._pages: mmap.mmap | None = None
        if path.exists() and path.stat().st_size:
            with open(path, "rb") as file:
                self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.samples = np.frombuffer(self._pages or b"", dtype="<i2")

    def read(self, begin: int, end: int) -> np.ndarray:
        """Samples [begin, end): int16 [end − begin], a view.

        Raises:
            UserError: the file is shorter now than when it was mapped. To touch what is gone would end the process by
                a bus error, without a word.
        """
        if self._pages is not None and begin < end:
            there = self._pages.size()
            require(
                there >= 2 * end,
                f"{self._path} was cut while it was read",
                got=f"{there:,} bytes",
                allowed=f"{2 * len(self.samples):,} bytes, as when it was opened",
                remedy="copy the corpus again, or pack it again; a training goes on with --resume",
            )
            page = 2 * begin // mmap.PAGESIZE * mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_WILLNEED, page, 2 * end - page)
        return self.samples[begin:end]
