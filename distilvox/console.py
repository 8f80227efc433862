"""What people read: text and progress go to stderr, results to stdout."""

from __future__ import annotations

import json
import os
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def _console(*, stderr: bool) -> Console:
    """A console that is wide where nobody watches: a table in a log file is not squeezed into 80 columns."""
    console = Console(stderr=stderr, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def say(message: RenderableType) -> None:
    """For people, on stderr. Text stands as it is: a [bracket] in a path is no markup, no line is folded."""
    err.print(
        message, markup=not isinstance(message, str), highlight=False, soft_wrap=isinstance(message, str)
    )


def progress(*, enabled: bool = True) -> Progress:
    """A bar with time left, on stderr; silent where stderr is not a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        disable=not (enabled and err.is_terminal),
    )


def print_json(value: Any) -> None:
    """Machine output: one JSON document on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False))  # noqa: T201
