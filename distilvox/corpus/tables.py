"""A TSV or CSV table of utterances, as people keep them beside their audio."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distilvox.corpus.spans import Spans, find_spans
from distilvox.corpus.table import RESERVED
from distilvox.corpus.text import read_text
from distilvox.errors import UserError, require

NAMES = ("utterance", "path", "file")
"""Columns that may name the utterance, in order of preference; `path` and `file` may also say where it is."""


ALIASES = {
    "client_id": "speaker",  # Common Voice
    "speaker_id": "speaker",
    "spk_id": "speaker",
    "spk": "speaker",
    "file_name": "path",  # Hugging Face's audio folders
}
"""Other tables' columns → ours, where a table has not ours."""


@dataclass(frozen=True)
class Table:
    """The rows of a table as text.

    Attributes:
        path: of the file.
        header: the columns.
        rows: one dict a row, all with the header's keys.
        lines: where each row stands, as "line 7".
        spans: the columns that say which part of a file a row means.
        rejected: (where, reason) of rows that do not fit the header.
    """

    path: Path
    header: list[str]
    rows: list[dict[str, str]]
    lines: list[str]
    spans: Spans = field(default_factory=Spans)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The column that names the utterance."""
        return next(name for name in NAMES if name in self.header)

    @property
    def location(self) -> str:
        """The column that says where the file is."""
        return next(name for name in (*NAMES[1:], NAMES[0]) if name in self.header)

    @property
    def lost(self) -> list[str]:
        """Columns that a corpus fills in itself and that mean nothing else here."""
        own = ("offset", "samples")
        return [name for name in self.header if name in own and name not in self.spans.columns]

    def columns(self, index: int) -> dict[str, str | float]:
        """The extra columns of a row: numbers where the whole column holds numbers, else text."""
        row = self.rows[index]
        return {name: float(row[name]) if number else row[name] for name, number in self._extra.items()}

    @cached_property
    def _extra(self) -> dict[str, bool]:
        used = {*RESERVED, self.name, self.location}
        extra = [name for name in self.header if name not in used]
        return {name: all(_is_number(row[name]) for row in self.rows) for name in extra}


def read_table(path: Path, *, unlabelled: bool = False) -> Table:
    """Reads a table; the separator follows from the header (tab, comma or semicolon).

    Rows end at line ends alone: what Unicode calls a line separator may stand in a cell.

    Args:
        unlabelled: whether it may lack the column `speaker`.

    Raises:
        UserError: no such file, not text, no `speaker` or `utterance` column, a column twice, no rows, columns that
            may cut a file and do not say how.
    """
    text = read_text(path, "table")
    require(bool(text.strip()), f"the table is empty: {path}", remedy="its first line names the columns")
    lines = io.StringIO(text, newline="")
    first = next(lines)
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # a spreadsheet's note to itself
        separator, first = first.strip()[-1], next(lines)
    else:
        separator = _separator(path, first)
    tabs = separator == "\t"  # a lone quotation mark is common in TSV, and quotes nothing
    options = {"dialect": csv.excel_tab, "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": separator}
    reader = csv.reader(lines, **options)
    rows, places, rejected = [], [], []
    before = text[: text.index(first) + len(first)].count("\n")
    try:
        header = _renamed([_known(name.strip()) for name in next(csv.reader([first], **options))])
        _check_header(path, header, unlabelled)
        for cells in reader:
            number = before + reader.line_num
            if not any(cells):
                continue
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
                places.append(f"line {number}")
            else:
                rejected.append(
                    (f"{path}:{number}", f"{len(cells)} cells where the header has {len(header)}")
                )
    except csv.Error as error:
        where = f"{path}, line {before + reader.line_num}"
        raise UserError(f"the table cannot be read: {where}", got=str(error)) from None
    require(bool(rows or rejected), f"the table has no rows: {path}")
    return Table(path, header, rows, places, find_spans(header, path), rejected)


def _known(name: str) -> str:
    """The name of a column that packing knows in its own spelling: `Path` is `path`."""
    lower = name.lower()
    return lower if lower in (*NAMES, *RESERVED) else name


def _renamed(header: list[str]) -> list[str]:
    """The header with the first of each alias under our name.

    >>> _renamed(["client_id", "path", "speaker_id"])
    ['speaker', 'path', 'speaker_id']
    """
    for name, ours in ALIASES.items():
        if ours not in header and name in header:
            header = [ours if column == name else column for column in header]
    return header


def _check_header(path: Path, header: list[str], unlabelled: bool) -> None:
    found = ", ".join(header)
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, f"a column stands twice in {path}: {', '.join(twice)}", got=found)
    require(
        "speaker" in header or unlabelled,
        f"the table {path} has no column 'speaker'",
        got=found,
        remedy="name the column so; where nobody knows who speaks: --unlabelled",
    )
    wanted = " or ".join(repr(name) for name in NAMES)
    require(any(n in header for n in NAMES), f"the table {path} has no column {wanted}", got=found)


def _separator(path: Path, header: str) -> str:
    by_extension = {".tsv": "\t", ".csv": ","}.get(path.suffix.lower())
    candidates = [by_extension, "\t", ",", ";"] if by_extension else ["\t", ",", ";"]
    return next((c for c in candidates if c and c in header), ",")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
