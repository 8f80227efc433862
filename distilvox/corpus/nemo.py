"""NeMo's manifests: a line of JSON an utterance, with `audio_filepath`, perhaps `label`, `offset` and `duration`."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from distilvox.corpus.records import Listed, Record, json_lines, lacks, number, parsed


def fits(first: str) -> bool:
    """Whether a file with this first line is one."""
    return not lacks(parsed(first), ("audio_filepath",))


def read(source: Path) -> Listed:
    """The utterances of a manifest, named by their paths below the folder that holds all of them.

    `label` is the speaker, or `speaker` where there is none. With an `offset` a part is meant, else the whole file.
    """
    found, rejected = [], []
    for where, table in json_lines(source, "NeMo manifest"):
        if table is None or (why := lacks(table, ("audio_filepath",))):
            rejected.append((where, "no JSON table" if table is None else why))
        else:
            found.append((where, table))
    paths = [table["audio_filepath"] for _, table in found]
    common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""  # noqa: PTH120
    records = []
    for (where, table), path in zip(found, paths, strict=True):
        start, end = 0.0, None
        if table.get("offset") is not None:
            start = number(table["offset"], where, "offset")
            long = table.get("duration")
            end = None if long is None else start + number(long, where, "duration")
        speaker = str(table.get("label") or table.get("speaker") or "")
        name = PurePath(path).relative_to(common).as_posix() if common else path
        records.append(Record(name, speaker, path, start=start, end=end))
    return Listed(source.parent, records, rejected)
