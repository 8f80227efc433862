"""The sections of the page: each a figure, its words, and a table that says the same to those who cannot see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from distilvox.report import captions, style
from distilvox.report.curves import learning_figures
from distilvox.report.det import det_figure, operating_points
from distilvox.report.figures import Figure, histogram_figure, teachers
from distilvox.report.groups import Group
from distilvox.report.map import map_figure
from distilvox.report.rates import eer_figure, speakers_figure
from distilvox.report.read import Run, Speed
from distilvox.report.sources import sources
from distilvox.report.table import (
    NONE,
    agreement_table,
    html_table,
    models_table,
    percent,
    runs_table,
    speakers_table,
    study_table,
)

MOST_CHOICES = 10


@dataclass
class Body:
    """The sections so far: their HTML, their names, the figures to draw in them."""

    html: str = ""
    names: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def plot(self, figure: Figure | None, words: str, otherwise: str = "") -> str:
        """A figure's place; `words` say to a screen reader what it shows, `otherwise` that there is none."""
        if figure is None:
            return f"<p class='none'>{escape(otherwise)}</p>"
        self.figures.append(figure)
        return (
            f"<div class='plot' id='{figure['id']}' role='img' aria-label=\"{escape(words)}\" "
            f"style='min-height:{figure['layout']['height']}px'></div>"
        )

    def add(self, name: str, title: str, caption: str, *parts: str) -> None:
        """A titled section; `title` and `parts` are HTML, `caption` is text."""
        words = f"<p class='caption'>{escape(caption)}</p>" if caption else ""
        self.html += (
            f"<section id='{name}' aria-labelledby='{name}-title'><h2 id='{name}-title'>{title}</h2>"
            f"{words}{''.join(parts)}</section>"
        )
        self.names.append(name)


def body(
    groups: Sequence[Group],
    runs: Sequence[Run],
    drawn: Sequence[tuple[Group, Run]],
    best: Run | None,
    *,
    study: Mapping[str, Any] | None,
    speed: Sequence[Speed],
    macs: Mapping[str, int],
    command: str | None,
) -> Body:
    """All sections; without runs, those that a study's result alone can fill.

    Args:
        drawn: the runs that have a DET curve each.
        best: whose scores and map are shown first.
        study, speed, command: as in `write_report`.
        macs: run → multiply–accumulates.
    """
    made = Body()
    eer = made.plot(
        eer_figure(groups, teachers(runs)), "Equal error rate of every method; the tables hold the numbers",
        "No run has been evaluated yet.",
    )  # fmt: skip
    made.add(
        "eer", "Equal error rate", captions.EER[study is not None], eer,
        study_table(study) if study else folded("Table", rates_table(groups)) if groups else "",
    )  # fmt: skip
    figure = speakers_figure(groups)
    if figure is not None:
        words = "Equal error rate against the number of training speakers; the table holds the numbers"
        made.add(
            "speakers", "More training speakers", captions.SPEAKERS, made.plot(figure, words),
            folded("Table", speakers_table(groups)),
        )  # fmt: skip
    if runs:
        _of_scores(made, groups, runs, drawn, best)
    agreed = agreement_table(groups)
    if agreed:
        made.add("agreement", "Agreement with the teacher", captions.AGREEMENT, agreed)
    each = folded("Every run", runs_table(runs, best)) if len(runs) > 1 else ""
    if runs or speed or study is None or "asnorm" in study:
        made.add("models", "Models", captions.MODELS, models_table(groups, speed, macs, best), each)
    made.add("sources", "Where these numbers come from", "", sources(runs, command))
    return made


def _of_scores(
    made: Body,
    groups: Sequence[Group],
    runs: Sequence[Run],
    drawn: Sequence[tuple[Group, Run]],
    best: Run | None,
) -> None:
    """DET curves, scores, learning curves, the map: what needs run folders."""
    det = made.plot(
        det_figure(drawn), "Detection error trade-off of every method; the table holds the operating points",
        "There are no scores to draw.",
    )  # fmt: skip
    some = captions.DET_SOME if len(drawn) < sum(run.scores is not None for run in runs) else ""
    points = [
        [name, percent(rate), percent(p_fa), percent(p_miss)]
        for name, rate, p_fa, p_miss in operating_points(drawn)
    ]
    columns = ("run", "EER", "false accepts at minDCF 0.01", "misses at minDCF 0.01")
    table = folded("Table", html_table(columns, points, (0,))) if points else ""
    made.html += "<div class='pair'>"
    made.add(
        "det", "Detection error trade-off", captions.DET + some,
        legend_list(groups, [run for _, run in drawn]), det, table,
    )  # fmt: skip
    shown = choices(groups, best)
    scores, title = choose(made, "Scores", shown, histogram_figure, "Scores of target and non-target trials")
    made.add("scores", title, captions.SCORES, scores)
    made.html += "</div>"
    small = "".join(
        f"<div><h3>{escape(name)}</h3>{made.plot(figure, f'{name}, by epoch')}</div>"
        for name, figure in learning_figures(groups)
    )
    made.add(
        "learning", "Learning curves", captions.LEARNING, legend_list(groups, [run for run in runs if run.log]),
        f"<div class='grid'>{small}</div>" if small
        else "<p class='none'>No run has logged steps yet.</p>",
    )  # fmt: skip
    mapped = {run.name: map_figure(run) for run in shown}
    found = {name: pair[0] for name, pair in mapped.items() if pair is not None}
    people, title = choose(
        made, "Unseen speakers, seen by", shown, lambda run: found.get(run.name), "Map of unseen speakers"
    )
    tables = "".join(
        f"<h3>{escape(name)}</h3>{html_table(PEOPLE, [_person(row) for row in pair[1]], (0,))}"
        for name, pair in mapped.items()
        if pair is not None
    )
    first = next((pair for pair in mapped.values() if pair is not None), None)
    caption = captions.MAP.format(len(first[1])) if first else ""
    made.add(
        "map",
        title if first else "Unseen speakers",
        caption,
        people,
        folded("Table", tables) if tables else "",
    )


PEOPLE = ("speaker", "utterances", "mean cosine with its own", "with those of others")


def _person(row: tuple[str, int, float, float]) -> list[str]:
    name, count, own, far = row
    return [name, str(count), *(NONE if value != value else f"{value:.2f}" for value in (own, far))]


def choices(groups: Sequence[Group], best: Run | None) -> list[Run]:
    """The runs that a reader may choose between: the best, then the middle one of every other method."""
    if best is None:
        return []
    own = [group.middle for group in groups if best not in group.runs]
    return [best, *(run for run in own if run is not None and run.scores is not None)][:MOST_CHOICES]


def choose(
    made: Body, title: str, runs: Sequence[Run], draw: Callable[[Run], Figure | None], words: str
) -> tuple[str, str]:
    """(the figure's place, the section's title in HTML, with a choice of runs where there are several)."""
    drawn = [(run, figure) for run in runs if (figure := draw(run)) is not None]
    if not drawn:
        return made.plot(None, "", "There is nothing to draw."), escape(title)
    figure = drawn[0][1]
    of = title if title.endswith("by") else f"{title} of"
    if len(drawn) == 1:
        return made.plot(figure, words), f"{escape(of)} {escape(drawn[0][0].name)}"
    figure = figure | {"choices": [{"data": other["data"], "layout": other["layout"]} for _, other in drawn]}
    options = "".join(f"<option value='{k}'>{escape(run.name)}</option>" for k, (run, _) in enumerate(drawn))
    select = f"<select data-figure='{figure['id']}' aria-label='run to show'>{options}</select>"
    return made.plot(figure, words), f"{escape(of)} {select}"


def folded(title: str, table: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{table}</details>"


def rates_table(groups: Sequence[Group]) -> str:
    """The numbers of the EER's figure."""
    rows = [
        [
            group.name,
            percent(group.mean),
            f"{100 * group.low:.2f} – {group.high:.2%}" if group.low < group.high else NONE,
            ", ".join(percent(rate) for rate in group.rates) if group.spread else NONE,
        ]
        for group in groups
        if group.rates
    ]
    return html_table(("method", "EER", "error bar", "seeds"), rows, (0,), drop=True)


def legend_list(groups: Sequence[Group], runs: Sequence[Run]) -> str:
    """Line samples with the names of the methods; empty for one run."""
    counts = Counter(run.method for run in runs)
    items = [
        "<li><svg width='26' height='8' aria-hidden='true'><line y1='4' x2='26' y2='4' stroke-width='3' "
        f"style='stroke:var(--{style.colour(group.tint)[1:]})' "
        f"stroke-dasharray='{style.dash_array(group.tint)}'/></svg><span>{escape(group.name)}"
        f"{f' ({counts[group.name]} seeds)' if counts[group.name] > 1 else ''}</span></li>"
        for group in groups
        if counts[group.name]
    ]
    return f"<ul class='legend'>{''.join(items)}</ul>" if len(runs) > 1 else ""
