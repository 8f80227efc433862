"""Kaldi's data folders: `wav.scp` and `utt2spk`, perhaps `segments`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distilvox.corpus.records import Listed, Record
from distilvox.corpus.text import read_text


def fits(source: Path) -> bool:
    """Whether a folder is one."""
    return (source / "wav.scp").is_file()


def read(source: Path) -> Listed:
    """The utterances of a data folder; those of `segments` are parts of its recordings, and these their sessions.

    A recording that a command would make is named, and not made: nothing that a list says is run.
    """
    audio = dict(_pairs(source / "wav.scp"))
    speakers = dict(_pairs(source / "utt2spk")) if (source / "utt2spk").exists() else {}
    parts = source / "segments"
    records: list[Record] = []
    rejected: list[tuple[str, str]] = []
    for name, rest in _pairs(parts) if parts.exists() else ((name, name) for name in audio):
        recording, *times = rest.split() if parts.exists() else [rest]
        place = audio.get(recording, "")
        why = _unusable(place) if place else f"no recording {recording!r} in wav.scp"
        try:
            start, end = map(float, times) if times else (0.0, -1.0)
        except ValueError:
            why = f"its times are {' '.join(times)!r}, and must be two numbers"
        if why:
            rejected.append((name, why))
            continue
        session = recording if times else ""
        records.append(Record(name, speakers.get(name, ""), place, session, start, None if end < 0 else end))
    return Listed(source, records, rejected)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(first word, the rest) of every line."""
    for line in read_text(path, "Kaldi list").split("\n"):
        name, _, rest = line.strip().partition(" ")
        name, tab, more = name.partition("\t")
        if name:
            yield name, (f"{more} {rest}" if tab else rest).strip()


def _unusable(place: str) -> str:
    """Why the place of a recording is no file; empty if it may be one."""
    if place.endswith("|"):
        return f"its audio comes from a command, which is not run: {place}"
    if place.rpartition(":")[2].isdigit():
        return f"its audio lies in a Kaldi archive: {place}"
    return ""
