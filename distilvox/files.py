"""Files that are either whole or absent: write beside, flush, rename; manifests come last."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distilvox.errors import UserError

PARTIAL = ".partial"
"""How the names of unfinished files and folders end."""

ABANDONED_SECONDS = 3600


_FREE = "free some space, then run the same command again; `train` and `distil` go on with --resume"
_ELSEWHERE = "choose another output path, or change its permissions"
_WRITING: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full: {} was not written, what stood there before is untouched", _FREE),
    errno.EDQUOT: ("the disk is full: {} was not written, what stood there before is untouched", _FREE),
    errno.EACCES: ("no permission to write {}", _ELSEWHERE),
    errno.EROFS: ("no permission to write {}", _ELSEWHERE),
    errno.EPERM: ("no permission to write {}", _ELSEWHERE),
    errno.EFBIG: (
        "{} was not written: a file of its size is not allowed here; what stood there before is untouched",
        "lift the limit (`ulimit -f`), or choose a file system for larger files; then run the same command again",
    ),
    errno.EIO: (
        "the disk reports an error: {} was not written; what stood there before is untouched",
        "look at the disk and its cables, or choose another one",
    ),
    errno.ESTALE: (
        "{} was not written: its folder on the network is no longer there",
        "mount the folder again, then run the same command again",
    ),
    errno.ENAMETOOLONG: ("{} cannot be written: its name is too long", "choose a shorter name"),
}
"""The system's complaint → what is wrong, and the remedy."""


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's complaints about writing `path` into a `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        what, remedy = _WRITING[error.errno]
        raise UserError(what.format(path), got=str(error), remedy=remedy, exit_code=1) from error


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renamed onto `path` if the block succeeds.

    A reader sees the old file or the new one, never a part. On any error the temporary file goes; one that
    a kill left behind goes at a later write of the same file, or when its folder is swept.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{_host()}{PARTIAL}")
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def sweep(folder: Path) -> None:
    """Removes temporary files in a folder and its subfolders whose writers are gone: kills left them."""
    for left in [*folder.glob(f".*{PARTIAL}"), *folder.glob(f"*/.*{PARTIAL}")]:
        _remove_abandoned(left)


def _sweep(path: Path) -> None:
    """Removes temporary files of `path` whose writers are gone."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        _remove_abandoned(left)


def _remove_abandoned(left: Path) -> None:
    """Its writer is gone if this machine has no such process, or if nobody has written to it for an hour."""
    with suppress(OSError):
        writer = re.fullmatch(rf".*\.(\d+)-(.+){re.escape(PARTIAL)}", left.name)
        gone = writer is not None and writer[2] == _host() and not _runs(int(writer[1]))
        if gone or time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            left.unlink()


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())


def _runs(process: int) -> bool:
    """Whether this machine has that process; where it cannot be asked (Windows), it is taken to run."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_bytes(path: Path | str, data: bytes | memoryview) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # file names need not be UTF-8


def write_json(path: Path | str, value: Any) -> None:
    """JSON with sorted, indented keys; NaN and infinity are refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path | str, *, noun: str, remedy: str | None = None) -> Any:
    """Reads JSON; a missing or broken file, one nested without end too, is a `UserError` that calls it a `noun`."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise UserError(f"no {noun} here: {path} does not exist", remedy=remedy) from None
    except NotADirectoryError:
        raise UserError(f"no {noun} here: {path.parent} is a file", remedy=remedy) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"this {noun} is damaged: {path}", got=str(error), remedy=remedy) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yields `<path>.partial`, an empty folder; renamed to `path` if the block succeeds.

    An existing `path` is replaced only then. On any error the partial folder goes.
    """
    path = Path(path)
    temporary = path.with_name(path.name + PARTIAL)
    with explain_disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            _replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Renames folder `new` onto `path`; what stood there steps aside first and goes last.

    A kill between the two renames leaves `<path>.old`, which `recover_folder` puts back.
    """
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Puts `<path>.old` back if a kill struck between the two renames of `atomic_folder`."""
    old = path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        os.replace(old, path)


def sha256_file(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
