"""The page: header, figures, tables, sources, in one file that asks the network for nothing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from distilvox import __version__
from distilvox.errors import require
from distilvox.files import write_text
from distilvox.report import curves, figures, style
from distilvox.report.det import det_figure
from distilvox.report.figures import Figure
from distilvox.report.read import Run, Speed, read_runs
from distilvox.report.summary import best_run, summary, tiles
from distilvox.report.table import models_table, sources_table, study_table

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Content security policy: the browser itself refuses every request that this page might make."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str,
    study: dict[str, Any] | None = None,
    speed: Sequence[Speed] = (),
    notes: Sequence[str] = (),
    command: str | None = None,
) -> Path:
    """Writes one HTML page about runs, which works without a network; the same input gives the same page.

    Args:
        runs: run folders, in the order of the tables; what one lacks is said on the page.
        out: the page's file, replaced when the new one is whole.
        title: plain text, as are all names and notes.
        study: the result of `distilvox.study.compare`, or the content of study.json: mean and spread over
            seeds then stand for the runs of its methods.
        speed: of runs, by name, and of other models, which get rows of their own.
        notes: sentences that the reader must know, such as that voices are synthetic.
        command: what made the runs; their config's own `command` if None.

    Returns:
        `out`.

    Raises:
        UserError: no runs, not a run folder, a damaged file in one, a study that is none, a full disk.
    """
    read = read_runs(runs)
    if study is not None:
        lacks = [key for key in ("methods", "paired", "baselines") if key not in study]
        require(not lacks, "this is not the result of a study", got=f"without {', '.join(lacks)}")
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
    methods = dict.fromkeys([*(study["methods"] if study else ()), *(run.method for run in runs)])
    colours = {method: k for k, method in enumerate(methods)}
    best = best_run(runs)
    drawn: list[Figure] = []

    def plot(figure: Figure | None, otherwise: str) -> str:
        if figure is None:
            return f"<p class='none'>{escape(otherwise)}</p>"
        drawn.append(figure)
        return (
            f"<div class='plot' id='{figure['id']}' style='min-height:{figure['layout']['height']}px'></div>"
        )

    eer = plot(figures.eer_figure(runs, colours, study), "No run has been evaluated yet.")
    det = plot(det_figure(runs, colours), "There are no scores to draw.")
    scores = plot(figures.histogram_figure(best) if best else None, "There are no scores to draw.")
    learning = curves.learning_figures(runs, colours)
    small = "".join(f"<div><h3>{escape(name)}</h3>{plot(figure, '')}</div>" for name, figure in learning)
    small = small and f"<div class='grid'>{small}</div>"
    mapped = curves.map_figure(best) if best else None
    people = plot(mapped[0] if mapped else None, "There are no embeddings to draw.")
    scored = legend_list(colours, [run for run in runs if run.scores is not None])
    logged = legend_list(colours, [run for run in runs if run.log])
    compared = study_table(study) if study else ""
    named = escape(best.name) if best else ""
    body = [
        section("eer", "Equal error rate", EER_CAPTION[study is not None], eer, compared),
        "<div class='pair'>"
        + section("det", "Detection error trade-off", DET_CAPTION, scored, det)
        + section("scores", "Scores" + (f" of {named}" if best else ""), SCORES_CAPTION, scores)
        + "</div>",
        section("learning", "Learning curves", LEARNING_CAPTION, logged,
                small or "<p class='none'>No run has logged steps yet.</p>"),
        section("map", "Unseen speakers" + (f", seen by {named}" if best else ""),
                MAP_CAPTION.format(mapped[1]) if mapped else "", people),
        section("models", "Models", MODELS_CAPTION, models_table(runs, speed, best)),
        section("sources", "Where these numbers come from", "", sources(runs, command)),
    ]  # fmt: skip
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'><head><meta charset='utf-8'>",
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{escape(title)}</title>",
            f"<style>{style.CSS}</style></head><body>",
            header(runs, best, title, notes),
            f"<main>{''.join(body)}</main>",
            f"<footer>Made by distilvox {escape(__version__)}. This page needs no network.</footer>",
            f"<script type='application/json' id='figures'>{embedded(drawn)}</script>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{style.SCRIPT}</script>",
            "</body></html>\n",
        ]
    )


EER_CAPTION = {
    False: "Lower is better. Bars are 95 % intervals over speakers: others would have given other rates.",
    True: "Lower is better. Large marks are means over training seeds with one standard deviation, rings the "
    "single seeds; runs outside the study carry their 95 % interval over speakers.",
}
DET_CAPTION = (
    "Lower left is better. ● equal error rate, ◆ least cost where 1 trial in 100 is a target (minDCF 0.01)."
)
SCORES_CAPTION = "The less the two hills overlap, the better. Each is drawn as shares of its own trials."
LEARNING_CAPTION = (
    "Moving means over 1/40 of the steps (5 steps in short runs). Losses of distillation are shown before "
    "their weights."
)
MAP_CAPTION = (
    "The {} speakers with most utterances: length-normalised embeddings, first two principal components. "
    "Two of many dimensions: speakers that overlap here may well be apart in the others."
)
MODELS_CAPTION = "Where no speed was measured, the size is that of the student's weights."


def section(name: str, title: str, caption: str, *parts: str) -> str:
    """A titled part of the page; `title` and `parts` are HTML, `caption` is text."""
    words = f"<p class='caption'>{escape(caption)}</p>" if caption else ""
    return f"<section id='{name}'><h2>{title}</h2>{words}{''.join(parts)}</section>"


NAVIGATION = {
    "eer": "EER", "det": "DET curves", "scores": "Scores", "learning": "Learning", "map": "Speakers",
    "models": "Models", "sources": "Sources",
}  # fmt: skip


def header(runs: Sequence[Run], best: Run | None, title: str, notes: Sequence[str]) -> str:
    links = "".join(f"<a href='#{name}'>{words}</a>" for name, words in NAVIGATION.items())
    missing = [f"{run.name}: {what}" for run in runs for what in run.missing]
    return (
        "<header><div>"
        f"<p class='kicker'>distilvox report</p><h1>{escape(title)}</h1>"
        f"<p class='lead'>{escape(summary(runs, best))}</p>"
        + tiles(runs, best)
        + bulleted("Please note", notes)
        + bulleted("Missing", missing)
        + f"<nav>{links}</nav></div></header>"
    )


def bulleted(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<div class='notes'><h3>{title}</h3><ul>{items}</ul></div>" if lines else ""


def legend_list(colours: Mapping[str, int], runs: Sequence[Run]) -> str:
    """Line samples with the names of the methods; empty for one run."""
    counts = Counter(run.method for run in runs)
    items = [
        "<li><svg width='26' height='8' aria-hidden='true'><line y1='4' x2='26' y2='4' stroke-width='3' "
        f"style='stroke:var(--{style.colour(k)[1:]})' stroke-dasharray='{style.dash_array(k)}'/></svg>"
        f"<span>{escape(method)}{f' ({counts[method]} seeds)' if counts[method] > 1 else ''}</span></li>"
        for method, k in colours.items()
        if counts[method]
    ]
    return f"<ul class='legend'>{''.join(items)}</ul>" if len(runs) > 1 else ""


def sources(runs: Sequence[Run], command: str | None) -> str:
    found = [str(run.config["command"]) for run in runs if run.config.get("command")]
    lines = [command] if command else list(dict.fromkeys(found))
    shown = (
        f"<pre>{escape(chr(10).join(lines))}</pre>"
        if lines
        else "<p class='none'>The command is not known.</p>"
    )
    return f"<h3>Command</h3>{shown}<h3>Inputs</h3>{sources_table(runs)}"


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
