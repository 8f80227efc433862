"""What there is to pack: the utterances of a folder or of a table, filtered by `column=value` terms.

A source lists and checks; it opens no audio. What it cannot use it names with a reason, so that
nothing disappears unseen.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from distilvox.corpus.tables import Table, read_table
from distilvox.errors import UserError, require, unknown
from distilvox.names import EXTENSIONS, FOREIGN, composed, is_name, without_extension
from distilvox.walk import walk

LAYOUT = "SRC/speaker/[session/]utterance.ext, or a TSV or CSV table given with --table"


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance to pack, from a file or from the seconds `span` of it (None as the last is the file's end).

    `size` (bytes) and `changed` (ns) tell whether its file is still the same.
    """

    utterance: str
    speaker: str
    session: str
    path: str
    size: int
    changed: int
    columns: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float | None] | None = None


@dataclass(frozen=True)
class Source:
    """Everything found: items sorted by utterance, rejected (path, reason), ignored files by extension.

    `notes` (path, "kind: detail") says what was found odd and packed all the same, or left out.
    """

    items: list[Item]
    rejected: list[tuple[str, str]]
    ignored: dict[str, int] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)


def find(
    root: Path, *, table: Path | None = None, where: Sequence[str] = (), unlabelled: bool = False
) -> Source:
    """Lists what `root` holds, by its folders or by a table.

    Args:
        root: the folder with the audio.
        table: a TSV or CSV file with the columns `speaker` and `utterance` (or `path`, or `file`).
        where: terms `column=value`; terms for one column are alternatives, all columns must agree.
        unlabelled: a folder's files have no speakers, whatever its folders are called; those of one folder are taken
            for one recording, unless all lie in one. A table's rows may lack the speaker.

    Raises:
        UserError: no such folder, nothing to pack in it, a table or a filter that makes no sense.
    """
    require(root.exists(), f"no such folder: {root}", allowed=LAYOUT)
    require(root.is_dir(), f"{root} is a file, and a folder is needed", allowed=LAYOUT)
    if table is None:
        source = _by_folder(root, where, unlabelled)
    else:
        source = _by_table(root, read_table(table, unlabelled=unlabelled), where, unlabelled)
    if not source.items and not source.rejected:
        ignored = ", ".join(f"{n} {extension}" for extension, n in source.ignored.items())
        raise UserError(f"nothing to pack in {root}", got=ignored or "no files", allowed=LAYOUT)
    return settled(source, root)


def settled(source: Source, root: Path) -> Source:
    """A source in the order of its utterances, each name once, and no recording given to two speakers."""
    torn = _of_two_speakers(source.items)
    rejected = source.rejected + [(path, reason) for (path, _), reason in torn.items()]
    items: dict[str, Item] = {}
    for item in sorted(source.items, key=lambda item: (item.utterance, item.path)):
        if (item.path, item.span) in torn:
            continue
        first = items.setdefault(item.utterance, item)
        if first is not item:
            shown = (
                Path(first.path).relative_to(root) if Path(first.path).is_relative_to(root) else first.path
            )
            rejected.append((item.path, f"utterance {item.utterance!r} again: {shown} has this name already"))
    notes = source.notes + _alike({item.speaker for item in items.values()} - {""})
    return replace(source, items=list(items.values()), rejected=sorted(rejected), notes=notes)


def _by_folder(root: Path, where: Sequence[str], unlabelled: bool) -> Source:
    walked = walk(root)
    rows: list[dict[str, str]] = []
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    for path in walked.files:
        relative = path.relative_to(root).as_posix()
        if not is_name(relative):
            rejected.append((str(path), "its name is not UTF-8, or has control characters"))
        elif unlabelled:
            utterance = without_extension(relative)
            rows.append(
                {"utterance": utterance, "speaker": "", "session": relative.rpartition("/")[0] or "-"}
            )
            items.append(_item(rows[-1], path, {}) or _gone(rows[-1], path))
        elif "/" not in relative:
            rejected.append((str(path), "lies in SRC itself: its speaker's folder is missing"))
        else:
            utterance = without_extension(relative)
            speaker = utterance.split("/")[0]
            rows.append({"utterance": utterance, "speaker": speaker, "session": session_of(utterance)})
            items.append(_item(rows[-1], path, {}) or _gone(rows[-1], path))
    require(
        bool(items) or not rejected,
        f"{len(rejected):,} files lie in {root} itself, so nothing says whose they are",
        got=Path(rejected[0][0]).name if rejected else None,
        allowed=LAYOUT,
        remedy="put the files of each speaker into a folder of that name, or name the speakers in a table: --table; "
        "where nobody knows them: --unlabelled",
    )
    if unlabelled and len({row["session"] for row in rows}) == 1:
        items = [replace(item, session="-") for item in items]
    notes = [(path, f"left out: {why}") for path, why in walked.left_out]
    kept = keep(rows, where)
    return Source([items[i] for i in kept], rejected, dict(sorted(walked.ignored.items())), notes)


def _by_table(root: Path, table: Table, where: Sequence[str], unlabelled: bool) -> Source:
    bases = _Bases([root, root / "audio", root / "clips", table.path.parent])  # clips/ is Common Voice's
    items: list[Item] = []
    rejected = list(table.rejected)
    kept = keep(table.rows, where)
    times = Counter(table.rows[index][table.name] for index in kept)
    for index in kept:
        row = table.rows[index]
        location = row[table.location]
        try:
            item = _of_row(table, index, bases, unlabelled, several=times[row[table.name]] > 1)
        except ValueError as error:
            rejected.append((location or str(table.path), str(error)))
        else:
            items.append(item)
    lost = [f"column {name!r} is not kept: a corpus has its own" for name in table.lost]
    return Source(items, rejected, notes=[(str(table.path), f"left out: {why}") for why in lost])


def _of_row(table: Table, index: int, bases: _Bases, unlabelled: bool, *, several: bool) -> Item:
    """One row as an item; `several` parts of one file are told apart by their times.

    Raises:
        ValueError: with the reason why it cannot be packed.
    """
    row = table.rows[index]
    given, speaker = row[table.name].strip(), row.get("speaker", "").strip()
    if not given or not (speaker or unlabelled):
        raise ValueError(
            f"{table.lines[index]}: no speaker" if given else f"{table.lines[index]}: no utterance"
        )
    if not is_name(given + speaker + row.get("session", "")):
        raise ValueError("its name has control characters")
    inside, name = bases.inside(row[table.location]), bases.inside(given)
    if inside is None or name is None:
        raise ValueError("its path leaves SRC")
    span = table.spans.of(row)
    utterance = without_extension(name)
    if span is not None and several:
        utterance = part_name(utterance, span)
    guess = session_of(utterance) if speaker else "-" if span is None else inside
    session = row.get("session", "").strip() or guess
    found = bases.find(inside)
    names = {"utterance": utterance, "speaker": speaker, "session": session}
    item = None if found is None else _item(names, found, table.columns(index))
    if item is None:
        raise ValueError("no such file")
    return item if span is None else replace(item, span=span)


def _of_two_speakers(items: Sequence[Item]) -> dict[tuple, str]:
    """(path, span) → why, of what a table gives to several speakers: nobody knows whose it is."""
    speakers: defaultdict[tuple, dict[str, None]] = defaultdict(dict)
    for item in items:
        speakers[item.path, item.span][item.speaker] = None
    return {
        key: f"one recording of {len(names)} speakers: {', '.join(map(repr, names))}"
        for key, names in speakers.items()
        if len(names) > 1
    }


def _alike(speakers: Iterable[str]) -> list[tuple[str, str]]:
    """A note for speakers whose names differ in case or in Unicode's forms alone: one person, perhaps."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in speakers:
        groups[composed(name).casefold()].append(name)
    return [
        (sorted(names)[0], f"speakers that look alike: {', '.join(ascii(name) for name in sorted(names))}")
        for _, names in sorted(groups.items())
        if len(names) > 1
    ]


def part_name(utterance: str, span: tuple[float, float | None]) -> str:
    """The name of a part of a recording, by its times in milliseconds.

    >>> part_name("anna/1", (0.5, 2.25)), part_name("anna/1", (3, None))
    ('anna/1-0000500-0002250', 'anna/1-0003000-end')
    """
    end = "end" if span[1] is None else f"{round(1000 * span[1]):07d}"
    return f"{utterance}-{round(1000 * span[0]):07d}-{end}"


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
        wanted.setdefault(column.strip(), set()).add(composed(value.strip()))
    for column, values in wanted.items():
        if rows and column not in rows[0]:
            raise unknown("column in --where", column, rows[0])
        there = {composed(row[column].strip()) for row in rows}
        for value in sorted(values - there):
            shown = ", ".join(sorted(there)[:20]) + (f" … ({len(there)} values)" if len(there) > 20 else "")
            raise UserError(f"no row has this value of {column!r}", got=repr(value), allowed=shown)
    tests = list(wanted.items())
    kept = [i for i, row in enumerate(rows) if all(composed(row[c].strip()) in values for c, values in tests)]
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
                relative = PurePosixPath(path).relative_to(base).as_posix()
                return (
                    relative if "\\" not in relative or self.find(relative) else relative.replace("\\", "/")
                )
        return None

    def find(self, relative: str) -> Path | None:
        """The file of that name, with any audio extension, in either of Unicode's forms."""
        forms = [relative] if relative.isascii() else [relative, composed(relative), _decomposed(relative)]
        for form in dict.fromkeys(forms):
            for place in self.endings:
                path = f"{place[0]}/{form}{place[1]}"
                if os.path.isfile(path):  # noqa: PTH113 (a Path for each of a million guesses is slow)
                    if place is not self.endings[0]:
                        self.endings.remove(place)
                        self.endings.insert(0, place)
                    return Path(path)
        return None


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


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
