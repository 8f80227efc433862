"""What there is to pack: the utterances of a folder or of a table, filtered by `column=value` terms.

A source lists and checks; it opens no audio. What it cannot use it names with a reason, so that
nothing disappears unseen.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from distilvox.audio import EXTENSIONS, FOREIGN, without_extension
from distilvox.corpus.tables import Table, read_table
from distilvox.errors import UserError, require, unknown

LAYOUT = "SRC/speaker/[session/]utterance.ext, or a TSV or CSV table given with --table"


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance to pack. `size` (bytes) and `changed` (ns) tell whether its file is still the same."""

    utterance: str
    speaker: str
    session: str
    path: str
    size: int
    changed: int
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Everything found: items sorted by utterance, rejected (path, reason), ignored files by extension."""

    items: list[Item]
    rejected: list[tuple[str, str]]
    ignored: dict[str, int] = field(default_factory=dict)


def find(root: Path, *, table: Path | None = None, where: Sequence[str] = ()) -> Source:
    """Lists what `root` holds, by its folders or by a table.

    Args:
        root: the folder with the audio.
        table: a TSV or CSV file with the columns `speaker` and `utterance` (or `path`, or `file`).
        where: terms `column=value`; terms for one column are alternatives, all columns must agree.

    Raises:
        UserError: no such folder, nothing to pack in it, a table or a filter that makes no sense.
    """
    require(root.exists(), f"no such folder: {root}", allowed=LAYOUT)
    require(root.is_dir(), f"{root} is a file, and a folder is needed", allowed=LAYOUT)
    source = _by_folder(root, where) if table is None else _by_table(root, read_table(table), where)
    if not source.items and not source.rejected:
        ignored = ", ".join(f"{n} {extension}" for extension, n in source.ignored.items())
        raise UserError(f"nothing to pack in {root}", got=ignored or "no files", allowed=LAYOUT)
    items: dict[str, Item] = {}
    rejected = list(source.rejected)
    for item in sorted(source.items, key=lambda item: (item.utterance, item.path)):
        first = items.setdefault(item.utterance, item)
        if first is not item:
            shown = (
                Path(first.path).relative_to(root) if Path(first.path).is_relative_to(root) else first.path
            )
            rejected.append((item.path, f"utterance {item.utterance!r} again: {shown} has this name already"))
    return replace(source, items=list(items.values()), rejected=sorted(rejected))


def _by_folder(root: Path, where: Sequence[str]) -> Source:
    rows: list[dict[str, str]] = []
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    ignored: Counter[str] = Counter()
    seen = {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and _once(folder, name, seen)
        )
        for name in sorted(names):
            path = Path(folder, name)
            extension = path.suffix.lower()
            relative = path.relative_to(root).as_posix()
            if name.startswith(".") or extension not in EXTENSIONS + FOREIGN:
                ignored["hidden" if name.startswith(".") else extension or name] += 1
            elif not _is_text(relative):
                rejected.append((str(path), "its name is not UTF-8, or has control characters"))
            elif "/" not in relative:
                rejected.append((str(path), "lies in SRC itself: its speaker's folder is missing"))
            else:
                utterance = without_extension(relative)
                speaker = utterance.split("/")[0]
                rows.append({"utterance": utterance, "speaker": speaker, "session": session_of(utterance)})
                items.append(_item(rows[-1], path, {}) or _gone(rows[-1], path))
    kept = keep(rows, where)
    return Source([items[i] for i in kept], rejected, dict(sorted(ignored.items())))


def _by_table(root: Path, table: Table, where: Sequence[str]) -> Source:
    bases = _Bases([root, root / "audio", table.path.parent])
    items: list[Item] = []
    rejected = list(table.rejected)
    kept = keep(table.rows, where)
    for index in kept:
        row, columns = table.rows[index], table.columns(index)
        location = row[table.location]
        given = row[table.name].strip()
        reason = None
        if not given or not row["speaker"].strip():
            reason = f"{table.lines[index]}: no speaker" if given else f"{table.lines[index]}: no utterance"
        elif not _is_text(given + row["speaker"] + row.get("session", "")):
            reason = "its name has control characters"
        inside = bases.inside(location)
        name = bases.inside(given)
        if reason is None and (inside is None or name is None):
            reason = "its path leaves SRC"
        if reason is not None or inside is None or name is None:
            rejected.append((location or str(table.path), reason or ""))
            continue
        found = bases.find(inside)
        utterance = without_extension(name)
        session = row.get("session", "").strip() or session_of(utterance)
        names = {"utterance": utterance, "speaker": row["speaker"].strip(), "session": session}
        item = None if found is None else _item(names, found, columns)
        if item is None:
            rejected.append((location, "no such file"))
        else:
            items.append(item)
    return Source(items, rejected)


def session_of(utterance: str) -> str:
    """The folders between speaker and utterance, "-" if there are none.

    >>> session_of("anna/monday/early/01"), session_of("anna/01")
    ('monday/early', '-')
    """
    return "/".join(utterance.split("/")[1:-1]) or "-"


def keep(rows: Sequence[dict[str, str]], where: Sequence[str]) -> list[int]:
    """The indices of the rows that every column named in `where` agrees with."""
    wanted: dict[str, set[str]] = {}
    for term in where:
        column, equals, value = term.partition("=")
        require(bool(equals), "a filter is column=value", got=repr(term), remedy="--where split=train")
        wanted.setdefault(column.strip(), set()).add(value.strip())
    for column, values in wanted.items():
        if rows and column not in rows[0]:
            raise unknown("column in --where", column, rows[0])
        there = {row[column].strip() for row in rows}
        for value in sorted(values - there):
            shown = ", ".join(sorted(there)[:20]) + (f" … ({len(there)} values)" if len(there) > 20 else "")
            raise UserError(f"no row has this value of {column!r}", got=repr(value), allowed=shown)
    tests = list(wanted.items())
    kept = [i for i, row in enumerate(rows) if all(row[c].strip() in values for c, values in tests)]
    require(bool(kept) or not rows, "no row passes all filters together", got=" ".join(where))
    return kept


class _Bases:
    """The folders in which a table's audio may lie, searched in order; the last place found goes first."""

    def __init__(self, folders: Iterable[Path]) -> None:
        absolute = (os.path.abspath(folder) for folder in folders)  # noqa: PTH100 (links stay as they are)
        self.folders = list(dict.fromkeys(absolute))
        self.endings = [(base, ending) for base in self.folders for ending in ("", *EXTENSIONS, *FOREIGN)]

    def inside(self, location: str) -> str | None:
        """The location as a path relative to a base; None if it leaves all of them."""
        for base in self.folders:
            path = os.path.normpath(os.path.join(base, location.strip()))  # noqa: PTH118
            if path.startswith(base.rstrip("/") + "/"):
                return PurePosixPath(path).relative_to(base).as_posix()
        return None

    def find(self, relative: str) -> Path | None:
        for place in self.endings:
            path = f"{place[0]}/{relative}{place[1]}"
            if os.path.isfile(path):  # noqa: PTH113 (a Path for each of a million guesses is slow)
                if place is not self.endings[0]:
                    self.endings.remove(place)
                    self.endings.insert(0, place)
                return Path(path)
        return None


def _once(folder: str, name: str, seen: set[str]) -> bool:
    """False for a link to a folder that was walked already, so that a loop of links ends."""
    path = os.path.join(folder, name)  # noqa: PTH118
    if not os.path.islink(path):  # noqa: PTH114
        return True
    real = os.path.realpath(path)
    fresh = real not in seen and not str(folder).startswith(real + os.sep)
    seen.add(real)
    return fresh


def _item(names: Mapping[str, Any], path: Path, columns: dict[str, Any]) -> Item | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return Item(
        path=str(path), size=status.st_size, changed=status.st_mtime_ns, columns=columns, **dict(names)
    )


def _gone(names: Mapping[str, Any], path: Path) -> Item:
    """A link to nothing: kept, so that decoding it says so."""
    return Item(path=str(path), size=0, changed=0, **dict(names))


def _is_text(name: str) -> bool:
    """False for a name with control characters, line breaks, or bytes that are not UTF-8."""
    return name.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
