"""Where a run comes from: the command as it was typed, and the code's commit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "distilvox"
PACKAGE = Path(__file__).resolve().parents[1]


def typed_command(argv: Sequence[str]) -> str | None:
    """A process's words (`sys.argv`) as they could be typed again; None where `distilvox` is not its program.

    >>> typed_command(["/opt/bin/distilvox", "train", "--out", "my runs/a"])
    "distilvox train --out 'my runs/a'"
    >>> typed_command(["/opt/bin/pytest", "train"])
    """
    program = Path(argv[0]) if argv else Path()
    started = program.parent.name if program.name == "__main__.py" else program.stem
    return shlex.join([PROGRAM, *argv[1:]]) if started == PROGRAM else None


def code_commit(package: Path = PACKAGE) -> str | None:
    """The git commit of the code that runs, with `-dirty` behind it where tracked files differ from it.

    None where the package is no part of a git checkout: installed, or without git.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None where it fails or there is none; it takes no lock."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True, text=True, timeout=20, check=True, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None
