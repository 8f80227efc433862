"""One utterance as a list names it, whatever the list's form; and how it becomes an item to pack."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilvox.corpus.sources import Item, Source, keep, part_name, session_of
from distilvox.corpus.text import read_text
from distilvox.errors import UserError
from distilvox.names import is_name, without_extension


@dataclass(frozen=True, slots=True)
class Record:
    """What a list says of an utterance.

    Attributes:
        utterance: its name; several parts of one name are told apart by their times.
        speaker: empty where the list has none.
        path: of the audio, absolute or relative to the list or to where the command runs.
        session: empty where the list has none.
        start, end: the seconds of the audio that are meant; (0, None) is all of it.
    """

    utterance: str
    speaker: str
    path: str
    session: str = ""
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Listed:
    """What a list holds: `rejected` (where, reason) are the entries that no record can be made of."""

    folder: Path
    records: list[Record]
    rejected: list[tuple[str, str]] = field(default_factory=list)


def source_of(listed: Listed, where: Sequence[str], unlabelled: bool) -> Source:
    """The list's utterances as items; what cannot be one is named with its reason."""
    rows = [{"utterance": r.utterance, "speaker": r.speaker, "session": r.session} for r in listed.records]
    kept = [listed.records[k] for k in keep(rows, where)]
    times = Counter(without_extension(record.utterance) for record in kept)
    items: list[Item] = []
    rejected = list(listed.rejected)
    for record in kept:
        try:
            several = times[without_extension(record.utterance)] > 1
            items.append(_item(record, listed.folder, unlabelled, several))
        except ValueError as error:
            rejected.append((record.path or record.utterance, str(error)))
    return Source(items, rejected)


def json_lines(path: Path, noun: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(where, table) of each line of a file of JSON lines; None for a line that is none."""
    for number, line in enumerate(read_text(path, noun).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", parsed(line)


def parsed(line: str) -> dict[str, Any] | None:
    """A line's JSON table; None if it is none."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def lacks(table: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """Why a line's table is of no use, if it has not these as text; empty if it has."""
    if table is None:
        return "no JSON table"
    return next(
        (f"no {name!r}" for name in names if not isinstance(table.get(name), str) or not table[name]), ""
    )


def _item(record: Record, folder: Path, unlabelled: bool, several: bool) -> Item:
    """Raises a ValueError with the reason why it cannot be packed."""
    if not (record.speaker or unlabelled):
        raise ValueError(f"utterance {record.utterance!r}: no speaker")
    if not record.utterance or not is_name(record.utterance + record.speaker + record.session):
        raise ValueError("its name is empty, or has control characters")
    if not 0 <= record.start < (float("inf") if record.end is None else record.end):
        raise ValueError(f"its part ends at {record.end:g} s, and begins at {record.start:g} s")
    span = None if record.end is None and not record.start else (record.start, record.end)
    utterance = without_extension(record.utterance)
    if span is not None and several:
        utterance = part_name(utterance, span)
    for place in (folder / record.path, Path(os.path.abspath(record.path))):  # noqa: PTH100 (links stay)
        if place.is_file():
            break
    else:
        raise ValueError("no such file")
    status = place.stat()
    guess = session_of(utterance) if record.speaker else "-" if span is None else record.path
    return Item(
        utterance,
        record.speaker,
        record.session or guess,
        str(place),
        status.st_size,
        status.st_mtime_ns,
        {},
        span,
    )


def number(value: Any, path: Path | str, noun: str) -> float:
    """A list's number, which may be text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"this list is damaged: {path}", got=f"{noun} {value!r}", allowed="a number"
        ) from None
