"""Every student side by side: what it costs to store, to run and to keep an embedding of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from distilvox.models import Student, macs, parameters_count
from distilvox.ship.speed import machine, time_student

SECONDS = 2.0
"""Of the utterance that arithmetic and time are stated for."""


def describe(student: Student, *, speed: bool) -> dict[str, Any]:
    """Counts a student, and perhaps times it on this machine.

    Args:
        student: on the CPU; put into evaluation mode.
        speed: time it too: some seconds, a minute for the deepest.

    Returns:
        name, architecture, about, config, parameters, macs, embedding_dim, and speed (in seconds) or None.
    """
    timed = time_student(student.eval(), seconds=SECONDS) if speed else None
    return {
        "name": student.name,
        "architecture": type(student.backbone).__name__,
        "about": student.config.about,
        "config": asdict(student.config),
        "parameters": parameters_count(student),
        "macs": macs(student, SECONDS),
        "embedding_dim": student.embedding_dim,
        "speed": None if timed is None else {**asdict(timed), "real_time_factor": timed.real_time_factor},
    }


def line_up(students: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `--json` prints: the students, what their figures are stated for, and where they were timed."""
    return {"seconds": SECONDS, "machine": machine(), "students": list(students)}


def render(lined_up: Mapping[str, Any]) -> Group:
    """The table for people, architectures in the order of their first student, each in one line below."""
    seconds, here, students = (lined_up[key] for key in ("seconds", "machine", "students"))
    timed = any(student["speed"] is not None for student in students)
    table = Table(box=None, pad_edge=False)
    table.add_column("student", style="bold")
    titles = ["parameters", f"MACs for {seconds:g} s", "embedding"]
    titles[2:2] = [f"ms for {seconds:g} s", "real-time factor"] if timed else []
    for title in titles:
        table.add_column(title, justify="right")
    about: dict[str, list[str]] = {}
    for student in students:
        about.setdefault(student["about"], []).append(student["name"])
    for names in about.values():
        for student in students:
            if student["name"] in names:
                table.add_row(*cells(student, timed))
        table.add_section()
    lines = [f"{line} ({', '.join(names)})" for line, names in about.items()]
    lines.append("MACs: the network's multiply-accumulates; the front end adds 23 M for every second.")
    if timed:
        lines.append(
            f"Time: median (fastest) of a waveform's embedding in float32 on one core of {here['cpu']}, "
            f"onnxruntime {here['onnxruntime']}."
        )
    return Group(table, Text(), *[Text(line) for line in lines])


def cells(student: Mapping[str, Any], timed: bool) -> list[str]:
    """One row of the table."""
    row = [
        student["name"],
        f"{student['parameters'] / 1e6:.2f} M",
        f"{student['macs'] / 1e6:,.0f} M",
        str(student["embedding_dim"]),
    ]
    if timed:
        speed = student["speed"]
        taken = f"{1e3 * speed['median']:,.1f} ({1e3 * speed['fastest']:,.1f})"
        row[3:3] = [taken, f"{speed['real_time_factor']:.4f}"]
    return row
