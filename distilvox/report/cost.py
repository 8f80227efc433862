"""What the models of a report cost: arithmetic from shapes, and on request the time on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from distilvox.errors import UserError
from distilvox.models import Student, build, macs, parameters_count
from distilvox.models.frontend import FrontEnd
from distilvox.report.read import Run, Speed
from distilvox.ship.speed import time_student

SECONDS = 2.0
"""Of speech that multiply–accumulates and times are given for."""


def student_of(run: Run) -> Student | None:
    """An untrained student of the run's shape; None where this version cannot build it."""
    model = run.config["model"]
    try:
        front = FrontEnd.from_json(model.get("frontend", {}))
        return build(model["name"], front, **model["config"]).eval()
    except UserError:
        return None


def multiply_accumulates(runs: Sequence[Run]) -> dict[str, int]:
    """Run → multiply–accumulates for `SECONDS` of speech; runs whose model cannot be built are left out."""
    known: dict[str, int | None] = {}
    for run in runs:
        key = _key(run)
        if key not in known:
            student = student_of(run)
            known[key] = macs(student, SECONDS) if student else None
    return {run.name: count for run in runs if (count := known[_key(run)]) is not None}


def latencies(runs: Sequence[Run]) -> list[Speed]:
    """How long each run's student takes here for `SECONDS` of speech: ONNX Runtime, one thread.

    Runs of one shape are timed once. It takes seconds a shape; see `distilvox.ship.speed.time_student`.
    """
    known: dict[str, Speed | None] = {}
    for run in runs:
        key = _key(run)
        if key not in known:
            student = student_of(run)
            known[key] = _time(run, student) if student else None
    return [replace(item, name=run.name) for run in runs if (item := known[_key(run)]) is not None]


def _time(run: Run, student: Student) -> Speed:
    took = time_student(student, seconds=SECONDS)
    count = parameters_count(student)
    size = run.bytes if run.bytes is not None else 4 * count
    return Speed(run.name, count, size, 1000 * took.median, took.utterance)


def _key(run: Run) -> str:
    return json.dumps(run.config["model"], sort_keys=True)
