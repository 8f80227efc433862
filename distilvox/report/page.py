"""The page: header, figures, tables, sources, in one file that asks the network for nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from distilvox import __version__
from distilvox.errors import require
from distilvox.files import write_text
from distilvox.report import captions, style
from distilvox.report.cost import latencies, multiply_accumulates
from distilvox.report.det import drawn_runs
from distilvox.report.groups import groups as grouped
from distilvox.report.groups import named_by_settings
from distilvox.report.read import Run, Speed, read_runs
from distilvox.report.sections import body
from distilvox.report.summary import best_run, study_summary, study_tiles, summary, tiles

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Content security policy: the browser itself refuses every request that this page might make."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str,
    study: dict[str, Any] | None = None,
    speed: Sequence[Speed] = (),
    latency: bool = False,
    notes: Sequence[str] = (),
    command: str | None = None,
) -> Path:
    """Writes one HTML page about runs, which works without a network; the same input gives the same page.

    Args:
        runs: run folders, in the order of the tables; what one lacks is said on the page. None are needed
            where there is a study.
        out: the page's file, replaced when the new one is whole.
        title: plain text, as are all names and notes.
        study: the result of `distilvox.study.compare`, or the content of study.json: mean and spread over
            seeds then stand for the runs of its methods.
        speed: of runs, by name, and of other models, which get rows of their own.
        latency: time the students of the runs here and now, those that `speed` does not name.
        notes: sentences that the reader must know, such as that voices are synthetic.
        command: what made this page; the runs say for themselves what made them.

    Returns:
        `out`.

    Raises:
        UserError: neither runs nor a study, not a run folder, a damaged file in one, a study that is none, a
            full disk.
    """
    require(
        len(runs) > 0 or study is not None,
        "a report needs at least one run, or a study",
        remedy="give one or more run folders, or a study.json",
    )
    read = named_by_settings(read_runs(runs))
    if study is not None:
        lacks = [key for key in ("methods", "paired", "baselines") if key not in study]
        require(not lacks, "this is not the result of a study", got=f"without {', '.join(lacks)}")
    if latency:
        named = {item.name for item in speed}
        speed = [*speed, *latencies([run for run in read if run.name not in named])]
    write_text(out, page(read, title=title, study=study, speed=speed, notes=notes, command=command))
    return out


def page(
    runs: Sequence[Run],
    *,
    title: str,
    study: Mapping[str, Any] | None,
    speed: Sequence[Speed],
    notes: Sequence[str],
    command: str | None,
) -> str:
    """The HTML text; arguments as in `write_report`."""
    methods, best = grouped(runs, study), best_run(runs)
    found = body(
        methods, runs, drawn_runs(methods), best,
        study=study, speed=speed, macs=multiply_accumulates(runs), command=command,
    )  # fmt: skip
    told = summary(runs, best) if runs or study is None else study_summary(study, methods)
    shown = tiles(runs, best) if runs or study is None else study_tiles(study, methods)
    if study is not None and not runs:
        notes = [*notes, captions.STUDY_ALONE]
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'><head><meta charset='utf-8'>",
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            "<meta name='color-scheme' content='light dark'>",
            f"<title>{escape(title)}</title>",
            f"<style>{style.CSS}</style></head><body>",
            "<a class='skip' href='#main'>Skip to the figures</a>",
            header(runs, title, told, shown, notes, found.names),
            f"<main id='main'>{found.html}</main>",
            f"<footer>Made by distilvox {escape(__version__)}. This page needs no network.</footer>",
            f"<script type='application/json' id='figures'>{embedded(found.figures)}</script>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{style.SCRIPT}</script>",
            "</body></html>\n",
        ]
    )


def header(
    runs: Sequence[Run],
    title: str,
    told: str,
    shown: str,
    notes: Sequence[str],
    names: Sequence[str],
) -> str:
    """The top of the page; `shown` is HTML, everything else text."""
    links = "".join(f"<a href='#{name}'>{captions.NAVIGATION[name]}</a>" for name in names)
    return (
        "<header><div>"
        f"<p class='kicker'>distilvox report</p><h1>{escape(title)}</h1>"
        f"<p class='lead'>{escape(told)}</p>"
        + shown
        + bulleted("Please note", notes)
        + bulleted("Missing", missing(runs))
        + f"<nav aria-label='sections'>{links}</nav></div></header>"
    )


def missing(runs: Sequence[Run]) -> list[str]:
    """A sentence for every kind of gap, with the runs that have it."""
    whose: dict[str, list[str]] = {}
    for run in runs:
        for what in run.missing:
            whose.setdefault(what, []).append(run.name)
    lines = []
    for what, names in whose.items():
        who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"{who}: {what}")
    return lines


def bulleted(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<div class='notes'><h2>{title}</h2><ul>{items}</ul></div>" if lines else ""


def embedded(value: Any) -> str:
    """JSON that may stand in a script element: no tag can end it early, and NaN becomes null."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def finite(value: Any) -> Any:
    """The same value with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
