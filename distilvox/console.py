"""What people read: text and progress go to stderr, results to stdout."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
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


EVERY = 60.0
"""Seconds between two lines of progress in a log."""

out = _console(stderr=False)
err = _console(stderr=True)


def say(message: RenderableType) -> None:
    """For people, on stderr. Text stands as it is: a [bracket] in a path is no markup, no line is folded."""
    err.print(
        message, markup=not isinstance(message, str), highlight=False, soft_wrap=isinstance(message, str)
    )


class Told(Progress):
    """Progress in lines for a log: what, how far, how long still; at most one every `EVERY` seconds for a task."""

    def __init__(self, *columns: Any, **more: Any) -> None:
        super().__init__(*columns, **more, disable=True)
        self._told: dict[TaskID, float] = {}

    def update(self, task_id: TaskID, **fields: Any) -> None:
        super().update(task_id, **fields)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], time.monotonic()
        if now - self._told.setdefault(task_id, now) < EVERY or task.finished:
            return
        self._told[task_id] = now
        left = (
            "" if task.time_remaining is None else f", {timedelta(seconds=round(task.time_remaining))} left"
        )
        of = "" if task.total is None else f" of {task.total:,.0f}"
        note = f", {task.fields['note']}" if task.fields.get("note") else ""
        say(f"{task.description}: {task.completed:,.0f}{of}{left}{note}")


def progress(*, enabled: bool = True) -> Progress:
    """A bar with time left, on stderr; a line a minute where stderr is not a terminal; nothing where not enabled."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    if enabled and not err.is_terminal:
        return Told(*columns, console=err)
    return Progress(*columns, console=err, disable=not enabled)


def print_json(value: Any) -> None:
    """Machine output: one JSON document on stdout."""
    print(json.dumps(value, indent=2, allow_nan=False))  # noqa: T201
