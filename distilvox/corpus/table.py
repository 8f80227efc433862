"""The table of a corpus: one row an utterance, as Parquet on disk and as bytes for the sha256."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from distilvox.corpus.check import REMEDY, check_columns
from distilvox.errors import UserError, require

RESERVED = ("utterance", "speaker", "session", "offset", "samples")
"""Columns that every corpus has; the others are extra."""

CHECK = "check"
"""The column of `check.sample_check`, which a corpus from before it was written has not."""

UNKNOWN = -1
"""The label of an utterance without a speaker: one whose speaker's name is empty."""


@dataclass(frozen=True, slots=True)
class Row:
    """One utterance of the table. `samples` is its length; `columns` holds text or numbers."""

    utterance: str
    speaker: str
    session: str
    samples: int
    columns: dict[str, Any] = field(default_factory=dict)

    def content(self) -> bytes:
        """The row as it enters the corpus's sha256."""
        row = [self.utterance, self.speaker, self.session, self.samples, sorted(self.columns.items())]
        return json.dumps(row).encode() + b"\n"


def content_id(audio_digest: Any, rows: Iterable[Row]) -> str:
    """The corpus's sha256 (hex): of all samples, then of all rows."""
    digest = audio_digest.copy()
    for row in rows:
        digest.update(row.content())
    return digest.hexdigest()


def write_table(path: Path, rows: Sequence[Row], checks: Sequence[int]) -> None:
    """Writes the rows, with the offset of each and the check of its samples, as Parquet."""
    lengths = np.array([row.samples for row in rows], dtype=np.int64)
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in RESERVED[:3]}
    arrays = {name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()}
    arrays["offset"] = pyarrow.array(np.cumsum(lengths) - lengths)
    arrays["samples"] = pyarrow.array(lengths)
    arrays[CHECK] = pyarrow.array(checks, pyarrow.int64())
    for name in rows[0].columns if rows else ():
        arrays[name] = pyarrow.array([row.columns[name] for row in rows])
    parquet.write_table(pyarrow.table(arrays), path, compression="zstd")


def read_table(path: Path) -> dict[str, Any]:
    """Reads the columns, as lists or, where they count samples, int64 [U].

    Raises:
        UserError: a missing or broken file, or one without `RESERVED` or of other types.
    """
    remedy = REMEDY
    if not path.is_file():
        raise UserError(f"the corpus is damaged: {path} does not exist", remedy=remedy)
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)  # no thread pool: a forked process would wait for it
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"the corpus is damaged: {path}", got=str(error), remedy=remedy) from None
    missing = [name for name in RESERVED if name not in table.column_names]
    require(
        not missing, f"the corpus is damaged: {path} lacks columns", got=", ".join(missing), remedy=remedy
    )
    check_columns(table, path)
    return {name: _values(table[name], name) for name in table.column_names}


def _values(column: pyarrow.ChunkedArray, name: str) -> Any:
    """A column's values, in little memory: a speaker or a session that stands in many rows is one object."""
    if name in ("offset", "samples", CHECK):
        return column.to_numpy().astype(np.int64)
    if name not in ("speaker", "session"):
        return column.to_pylist()
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    return [names[index] for index in encoded.indices.to_numpy()]
