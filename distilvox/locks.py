"""One writer at a time: a lock on what a verb writes, which says who holds it and since when.

The system drops the lock of a process that dies, however it dies; what it left half written goes then.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from distilvox.console import say
from distilvox.errors import UserError
from distilvox.files import explain_disk_errors, sweep

LOCK = ".lock"
"""The lock's name inside a folder that is written in place; beside `OUT` it is `.OUT.lock`."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
MOST_WORDS = 160


@contextmanager
def alone(path: Path | str, *, inside: bool = False, wait: bool = False) -> Iterator[None]:
    """Holds `path` for this process while the block runs.

    Args:
        path: what is written: a file, or a folder; its parents are made.
        inside: it is a folder that is written in place, made if absent: the lock lies in it, and what writers that
            are gone left unfinished there is removed. Else the lock lies beside it.
        wait: for another process to be done, after saying so; if not, another process is an error.

    Raises:
        UserError: another process holds it (which, since when); no permission; exit code 1.
    """
    path = Path(os.path.realpath(path))
    file = path / LOCK if inside else path.with_name(f".{path.name}{LOCK}")
    lock = FileLock(file, fallback_to_soft=False)
    with explain_disk_errors(path):
        made = inside and not path.exists()
        held = _acquire(lock, file, path, wait)
        if held:
            file.write_text(json.dumps(_myself()), encoding="utf-8")
    try:
        if inside:
            sweep(path)
        yield
    finally:
        if held:
            with suppress(OSError):
                file.unlink()  # while it is held: who waits for it sees that and makes a new one
            lock.release()
        if made:
            with suppress(OSError):
                path.rmdir()  # nothing was written


def _acquire(lock: FileLock, file: Path, path: Path, wait: bool) -> bool:
    """Whether the lock is held now; False where the file system has none."""
    patience = 0.0
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            if not wait:
                raise UserError(
                    f"another process writes here: {path}",
                    got=_holder(file),
                    remedy="wait for it, or end it; or write to another place",
                    exit_code=1,
                ) from None
            say(f"another process writes {path}: waiting for {_holder(file)}")
            patience = -1.0
        except FileNotFoundError:
            continue  # who held it wrote nothing and took the folder away
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say(f"this file system has no locks: let one process at a time write {path}")
            return False
        else:
            return True


def _myself() -> dict[str, object]:
    words = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "host": platform.node(), "since": since, "command": words[:MOST_WORDS]}


def _holder(file: Path) -> str:
    """Who holds the lock, in words."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['host']}, since {found['since']}: {found['command']}"
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # just begun, just ended, or kept from readers by Windows
        return "a process that has just begun or ended"
