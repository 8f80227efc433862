"""The columns of a table that say which part of a recording a row means, under the names that people give them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distilvox.errors import UserError

_ROLES = {
    **dict.fromkeys(("start", "starts", "begin", "begins", "onset", "offset", "tmin", "xmin"), "start"),
    **dict.fromkeys(("end", "ends", "stop", "stops", "finish", "tmax", "xmax"), "end"),
    **dict.fromkeys(("duration", "dur", "length", "len"), "length"),
}
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "milliseconds"), 1e-3),
}
_COUNTED = frozenset(("frame", "frames", "sample", "samples", "byte", "bytes", "idx", "index"))
_OF = re.compile(
    r"segment|seg|utterance|utt|audio|clip|cut|chunk|speech|voice|vad|turn|word|phrase|sentence|sent|speaker|spk|time|t"
    r"|in|at|file|wav|sound|region|interval|event|talk|recording|rec|num|number|n|of"
)
"""Words that may stand beside "start" in a column's name and change nothing."""

_ALLOWED = (
    "start and end, or start and duration (or onset, offset, begin, stop …), in seconds, or in ms as start_ms"
)


@dataclass(frozen=True)
class Spans:
    """Which columns say where a row's speech begins and ends; each (column, seconds in its unit) or None."""

    start: tuple[str, float] | None = None
    end: tuple[str, float] | None = None
    length: tuple[str, float] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are used."""
        return tuple(column[0] for column in (self.start, self.end, self.length) if column is not None)

    def of(self, row: Mapping[str, str]) -> tuple[float, float | None] | None:
        """First and last second of a row's part; None if it means the whole recording.

        Raises:
            ValueError: with the reason why the row's numbers make no sense.
        """
        start, end, length = (self._number(row, column) for column in (self.start, self.end, self.length))
        begin = start or 0.0
        if end is None and length is not None:
            end = begin + length
        if end is not None and end <= begin:
            raise ValueError(f"its part ends at {end:g} s, and begins at {begin:g} s")
        return None if end is None and not begin else (begin, end)

    def _number(self, row: Mapping[str, str], column: tuple[str, float] | None) -> float | None:
        text = "" if column is None else row[column[0]].strip()
        if column is None or not text or (column != self.start and text in ("-1", "-1.0")):
            return None  # Kaldi's way to say "to the end"
        try:
            value = float(text) * column[1]
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise ValueError(f"its {column[0]} is {text!r}, and must be a number of 0 or more")
        return value


def find_spans(header: Sequence[str], path: Path) -> Spans:
    """The columns of a table's header that say so, whatever their case and separators.

    A `duration` alone, without a beginning, describes the file and cuts nothing.

    Raises:
        UserError: a column that counts samples or frames, two that say the same, or a corpus's own table.
    """
    role = {name: _role(name) for name in header}
    if "offset" in header and "samples" in header:
        raise UserError(
            f"the table {path} has the columns of a corpus's own table: offset and samples count samples of audio.bin",
            remedy="leave these two columns out",
        )
    counted = [name for name, (kind, unit) in role.items() if kind and unit is None]
    if counted:
        raise UserError(
            f"the column {counted[0]!r} of {path} may say which part of a file is meant, but not in seconds",
            got=", ".join(header),
            allowed=_ALLOWED,
            remedy="give seconds, or leave the column out",
        )
    words = {name: _words(name) for name in header}
    if any("onset" in each for each in words.values()):  # onset and offset are then a beginning and an end
        role |= {
            name: ("end", role[name][1]) for name, each in words.items() if "offset" in each and role[name][0]
        }
    found: dict[str, tuple[str, float]] = {}
    for name, (kind, unit) in role.items():
        if kind in found:
            raise UserError(
                f"two columns of {path} say the same of a row's part",
                got=f"{found[kind][0]} and {name}",
                allowed=_ALLOWED,
                remedy="leave one of them out",
            )
        if kind and unit is not None:
            found[kind] = (name, unit)
    if "start" not in found and "end" not in found:
        return Spans()
    if "end" in found:
        found.pop("length", None)
    return Spans(**found)


def _words(name: str) -> list[str]:
    """The words of a column's name, in lower case: `startTime`, `start_time` and `Start Time` have the same."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    joined = re.sub(r"\b(start|end|begin|stop)(time|ms|s|sec|frame|sample)s?\b", r"\1 \2", parted.lower())
    return re.findall(r"[a-z]+", joined.replace("_", " "))


def _role(name: str) -> tuple[str, float | None]:
    """What a column says of a part ("start", "end", "length" or "") and its unit in seconds; None if it counts.

    >>> _role("Start_Time"), _role("segment end (ms)"), _role("start_frame"), _role("end_date")
    (('start', 1.0), ('end', 0.001), ('start', None), ('', None))
    """
    words = _words(name)
    roles = [_ROLES[word] for word in words if word in _ROLES]
    others = [word for word in words if word not in _ROLES and not _OF.fullmatch(word)]
    if len(roles) != 1 or not all(word in _UNITS or word in _COUNTED for word in others):
        return "", None
    if any(word in _COUNTED for word in others):
        return ("", None) if roles[0] == "length" else (roles[0], None)
    return roles[0], next((_UNITS[word] for word in others), 1.0)
