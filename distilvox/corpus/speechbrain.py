"""SpeechBrain's CSV of speakers' speech: `ID, duration, wav, start, stop, spk_id`, as its VoxCeleb recipe writes it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from distilvox.corpus.records import Listed, Record, number
from distilvox.corpus.text import read_text
from distilvox.errors import require
from distilvox.sound import SAMPLE_RATE

_ROOT = "$data_root/"


def fits(first: str) -> bool:
    """Whether a file with this first line is one."""
    return {"ID", "wav", "spk_id"} <= {name.strip() for name in first.split(",")}


def read(source: Path) -> Listed:
    """The utterances of a CSV; `$data_root` is the folder of the file.

    `start` and `stop` count samples at 16 kHz, in files that are longer too: which of them a row means is checked
    against its `duration`, in seconds.

    Raises:
        UserError: a number that is none, or rows whose `start` and `stop` do not count samples.
    """
    records, rejected = [], []
    rows = csv.DictReader(
        io.StringIO(read_text(source, "SpeechBrain CSV"), newline=""), skipinitialspace=True
    )
    for row in rows:
        where = f"{source}:{rows.line_num}"
        if None in row or None in row.values():
            rejected.append((where, "another number of cells than the header has"))
            continue
        start, end = 0.0, None
        if row.get("stop", "").strip():
            start, end = (number(row[name], where, name) / SAMPLE_RATE for name in ("start", "stop"))
            long = number(row["duration"], where, "duration")
            require(
                abs(end - start - long) < 0.05,
                f"start and stop of {where} do not count samples at 16 kHz",
                got=f"{row['start']} to {row['stop']}, and a duration of {row['duration']} s",
                remedy="give a table with start and end in seconds: --table",
            )
        path = row["wav"].strip()
        records.append(
            Record(row["ID"].strip(), row["spk_id"].strip(), path.removeprefix(_ROOT), start=start, end=end)
        )
    return Listed(source.parent, records, rejected)
