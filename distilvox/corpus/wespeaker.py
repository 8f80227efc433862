"""WeSpeaker's `raw.list`: a line of JSON an utterance, with `key`, `wav` and `spk`."""

from __future__ import annotations

from pathlib import Path

from distilvox.corpus.records import Listed, Record, json_lines, lacks, parsed

_FIELDS = ("key", "wav", "spk")


def fits(first: str) -> bool:
    """Whether a file with this first line is one."""
    return not lacks(parsed(first), _FIELDS)


def read(source: Path) -> Listed:
    """The utterances of a list."""
    records, rejected = [], []
    for where, table in json_lines(source, "WeSpeaker list"):
        if table is None or (why := lacks(table, _FIELDS)):
            rejected.append((where, "no JSON table" if table is None else why))
        else:
            records.append(Record(table["key"], table["spk"], table["wav"]))
    return Listed(source.parent, records, rejected)
