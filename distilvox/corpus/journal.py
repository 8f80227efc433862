"""What a pack has done so far: a line for every utterance, written only after its samples are on the disk.

A killed pack leaves `<OUT>.partial` with audio.bin and this journal; the next one with the same
source reads it and goes on. Without the same source, or without a usable line, it starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilvox import files
from distilvox.corpus.sources import Item


@dataclass(frozen=True, slots=True)
class Entry:
    """The fate of one utterance: its length and what was noted of it, or the reason of its rejection."""

    utterance: str
    samples: int = 0
    notes: Sequence[str] = ()
    reason: str | None = None


class Journal:
    """Appends entries to `path`; a header names the source that they belong to."""

    def __init__(self, path: Path, source: str, kept: Sequence[Entry]) -> None:
        """Starts the journal with the entries that are kept from an earlier one."""
        self._waiting: list[Entry] = []
        with files.explain_disk_errors(path):
            files.write_text(path, _line({"source": source}) + "".join(_line(asdict(e)) for e in kept))
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def add(self, entry: Entry) -> None:
        self._waiting.append(entry)

    def flush(self) -> None:
        """Writes the entries added since; call it after the samples are on the disk."""
        with files.explain_disk_errors(Path(self._file.name)):
            self._file.writelines(_line(asdict(entry)) for entry in self._waiting)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._waiting.clear()

    def __len__(self) -> int:
        """The number of entries that wait to be written."""
        return len(self._waiting)

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path, source: str, items: Sequence[Item], audio_bytes: int) -> list[Entry]:
    """The entries that still hold: the same source, the same order, and samples that are on the disk."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # the last may be cut off
    if not lines or _parse(lines[0]) != {"source": source}:
        return []
    entries: list[Entry] = []
    used = 0
    for line, item in zip(lines[1:], items, strict=False):
        values = _parse(line)
        if values is None or values.get("utterance") != item.utterance:
            break
        used += 2 * values["samples"]
        if used > audio_bytes:
            break
        entries.append(Entry(**values))
    return entries


def fingerprint(items: Sequence[Item], settings: dict[str, Any]) -> str:
    """sha256 (hex) of everything that decides what a pack will make: settings, names, files, columns."""
    digest = hashlib.sha256(_line(settings).encode())
    for item in items:
        digest.update(_line(asdict(item)).encode())
    return digest.hexdigest()


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True) + "\n"


def _parse(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values if isinstance(values, dict) else None
