"""The command line, called in this process as a person calls it: words in; exit code, stdout and stderr out."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from distilvox.cli import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str


TINY = [
    *("--student-options", "channels=8", "last_channels=12", "hidden=8", "embedding_dim=8"),
    *("--batch-size", "6", "--views.seconds", "0.5", "--precision", "float32", "--threads", "1"),
    *("--device", "cpu"),
]
"""Options of `train` and `distil` that finish an epoch in a moment."""


def run(*words: object) -> Ran:
    """Calls `distilvox WORDS`."""
    code: object = 0
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def succeed(*words: object) -> Ran:
    """`run` that must exit with 0; its stderr is the failure's message."""
    ran = run(*words)
    assert ran.code == 0, ran.err
    return ran


def refused(code: int, *words: object) -> str:
    """The message of a command that must fail with this code, in sentences, with nothing on stdout."""
    ran = run(*words)
    assert ran.code == code, ran
    assert "Traceback" not in ran.err
    assert ran.out == ""
    return ran.err


def said(text: str) -> str:
    """Text without the frames and the folding of a box."""
    return " ".join(text.replace("│", " ").split())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, with its content: to see that nothing was lost and nothing is left behind."""
    found = {}
    for path, _, names in os.walk(folder):
        found.update(
            {str(Path(path, name).relative_to(folder)): Path(path, name).read_bytes() for name in names}
        )
    return found
