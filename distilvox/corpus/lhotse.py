"""Lhotse's cut sets, as its JSON lines: `cuts.jsonl`, or `cuts.jsonl.gz`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distilvox.corpus.records import Listed, Record, number, parsed
from distilvox.errors import UserError

_CLOSE = 1e-3
"""A cut that ends this near to its recording's end, in seconds, is all of it."""


def fits(first: str) -> bool:
    """Whether a file with this first line is one."""
    table = parsed(first)
    return table is not None and {"id", "start", "duration"} <= table.keys() and _is_cut(table)


def read(source: Path) -> Listed:
    """The cuts of a set: of one speaker each, from files.

    A cut of part of a recording has that as its session. Mixed and padded cuts, and audio from commands, addresses and
    archives, are named with the reason why they are not read.
    """
    records, rejected = [], []
    for where, line in lines(source):
        cut = parsed(line)
        if cut is None or not _is_cut(cut):
            rejected.append(
                (where, f"a {cut.get('type', 'line')} that is no MonoCut" if cut else "no JSON table")
            )
            continue
        name = str(cut.get("id", ""))
        try:
            records.append(_record(cut, name, where))
        except ValueError as error:
            rejected.append((name or where, str(error)))
    return Listed(source.parent, records, rejected)


def lines(source: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of the lines that say something, compressed or not."""
    try:
        with (
            gzip.open(source, "rt", encoding="utf-8")
            if source.suffix == ".gz"
            else open(source, encoding="utf-8") as file
        ):
            for count, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{source}:{count}", line
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"this list is damaged: {source}", got=str(error)) from None


def _record(cut: Mapping[str, Any], name: str, where: str) -> Record:
    """Raises a ValueError with the reason why it cannot be packed."""
    recording = cut["recording"]
    kinds = [source.get("type") for source in recording.get("sources", [])]
    if kinds != ["file"]:
        raise ValueError(f"its audio is no file, but {', '.join(map(str, kinds)) or 'nothing'}")
    speakers = sorted({str(s["speaker"]) for s in cut.get("supervisions") or [] if s.get("speaker")})
    if len(speakers) > 1:
        raise ValueError(f"one recording of {len(speakers)} speakers: {', '.join(map(repr, speakers))}")
    start, long = (number(cut[key], where, key) for key in ("start", "duration"))
    whole = start == 0 and long >= number(recording.get("duration"), where, "duration") - _CLOSE
    return Record(
        name,
        speakers[0] if speakers else "",
        recording["sources"][0]["source"],
        session="" if whole else str(recording.get("id", "")),
        start=start,
        end=None if whole else start + long,
    )


def _is_cut(table: Mapping[str, Any]) -> bool:
    return table.get("type", "MonoCut") in ("MonoCut", "MultiCut") and isinstance(
        table.get("recording"), dict
    )
