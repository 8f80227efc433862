"""A file that lies in memory, such as an upload: read like one on the disk, and never written to it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Held:
    """A file's content, and the name that it goes by; the name is data and never a path.

    >>> Held("a.WAV", b"RIFF").suffix, str(Held("a.WAV", b"RIFF"))
    ('.WAV', 'a.WAV')
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def open(self) -> BinaryIO:
        """The content, to be read from its start."""
        return io.BytesIO(self.content)


def opened(file: Path | Held) -> BinaryIO:
    """A file on the disk or in memory, opened to be read."""
    return file.open() if isinstance(file, Held) else file.open("rb")
