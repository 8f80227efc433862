"""A TSV or CSV table of utterances, as people keep them beside their audio."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distilvox.corpus.table import RESERVED
from distilvox.errors import UserError, require

NAMES = ("utterance", "path", "file")
"""Columns that may name the utterance, in order of preference; `path` and `file` may also say where it is."""


@dataclass(frozen=True)
class Table:
    """The rows of a table as text.

    Attributes:
        path: of the file.
        header: the columns.
        rows: one dict a row, all with the header's keys.
        lines: where each row stands, as "line 7".
        rejected: (where, reason) of rows that do not fit the header.
    """

    path: Path
    header: list[str]
    rows: list[dict[str, str]]
    lines: list[str]
    rejected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The column that names the utterance."""
        return next(name for name in NAMES if name in self.header)

    @property
    def location(self) -> str:
        """The column that says where the file is."""
        return next(name for name in (*NAMES[1:], NAMES[0]) if name in self.header)

    def columns(self, index: int) -> dict[str, str | float]:
        """The extra columns of a row: numbers where the whole column holds numbers, else text."""
        row = self.rows[index]
        return {name: float(row[name]) if number else row[name] for name, number in self._extra.items()}

    @cached_property
    def _extra(self) -> dict[str, bool]:
        used = {*RESERVED, self.name, self.location}
        extra = [name for name in self.header if name not in used]
        return {name: all(_is_number(row[name]) for row in self.rows) for name in extra}


def read_table(path: Path) -> Table:
    """Reads a table; the separator follows from the header (tab, comma or semicolon).

    Raises:
        UserError: no such file, not text, no `speaker` or `utterance` column, a column twice, no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no such table: {path}") from None
    except IsADirectoryError:
        raise UserError(f"the table is a folder: {path}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"the table is not UTF-8 text: {path}", got=str(error)) from None
    lines = text.splitlines(keepends=True)
    require(bool(text.strip()), f"the table is empty: {path}", remedy="its first line names the columns")
    separator = _separator(path, lines[0])
    tabs = separator == "\t"  # a lone quotation mark is common in TSV, and quotes nothing
    reader = (
        csv.reader(lines, csv.excel_tab, quoting=csv.QUOTE_NONE)
        if tabs
        else csv.reader(lines, delimiter=separator)
    )
    rows, places, rejected = [], [], []
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(path, header)
        for cells in reader:
            place = f"line {reader.line_num}"
            if not any(cells):
                continue
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
                places.append(place)
            else:
                reason = f"{len(cells)} cells where the header has {len(header)}"
                rejected.append((f"{path}:{reader.line_num}", reason))
    except csv.Error as error:
        raise UserError(f"the table cannot be read: {path}, line {reader.line_num}", got=str(error)) from None
    require(bool(rows or rejected), f"the table has no rows: {path}")
    return Table(path, header, rows, places, rejected)


def _check_header(path: Path, header: list[str]) -> None:
    found = ", ".join(header)
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, f"a column stands twice in {path}: {', '.join(twice)}", got=found)
    require("speaker" in header, f"the table {path} has no column 'speaker'", got=found)
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
