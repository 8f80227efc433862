"""The audio files under a folder: sorted, links followed, loops ended, and nothing left out without a word."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from distilvox.names import EXTENSIONS, FOREIGN


@dataclass(frozen=True)
class Walked:
    """What lies under a folder.

    Attributes:
        files: everything with an audio extension, sorted by its path; a link to nothing too.
        left_out: (path, why) of folders that were not entered, and links to nothing.
        ignored: how many files of no audio extension there are, by extension (or name); "hidden" for names with a dot.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def walk(root: Path | str) -> Walked:
    """Lists the audio files under `root`. A link to a folder that lies around it is a loop, and is not entered."""
    found = Walked()
    _enter(os.fspath(root), (os.path.realpath(root),), found)
    found.files.sort(key=lambda path: path.as_posix())
    return found


def _enter(folder: str, inside: tuple[str, ...], found: Walked) -> None:
    """Adds what lies in `folder`; `inside` are the real paths of it and of the folders it was reached through."""
    try:
        with os.scandir(folder) as entries:
            there = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.left_out.append((folder, f"the folder cannot be read: {error.strerror}"))
        return
    for entry in there:
        extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if entry.name.startswith("."):
            found.ignored["hidden"] += 1
        elif os.path.isdir(entry.path):  # noqa: PTH112 (false, not an error, for a link to itself)
            real = os.path.realpath(entry.path)
            if entry.is_symlink() and any(_holds(real, other) for other in inside):
                found.left_out.append((entry.path, f"a link to a folder that it lies in: {real}"))
            else:
                _enter(entry.path, (*inside, real), found)
        elif extension in EXTENSIONS + FOREIGN:
            found.files.append(Path(entry.path))
        elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
            found.left_out.append((entry.path, "a link to nothing"))
        else:
            found.ignored[extension or entry.name] += 1


def _holds(folder: str, other: str) -> bool:
    """Whether the real path `other` is `folder` or lies in it."""
    return other == folder or other.startswith(folder.rstrip(os.sep) + os.sep)
