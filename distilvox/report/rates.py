"""The EER of every method, and how it falls with the number of training speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distilvox.report.figures import Figure, axis, label, layout
from distilvox.report.groups import Group
from distilvox.report.style import COLOURS, SYMBOLS, colour, dash

MOST_LINES = 2
"""Teachers with a line across the figure; more have their row alone."""


def eer_figure(groups: Sequence[Group], teachers: Mapping[str, float]) -> Figure | None:
    """One row a method, under a heading for each student, then one for each teacher (name → EER)."""
    judged = [group for group in groups if group.rates]
    if not judged:
        return None
    cells = dict.fromkeys((group.student, group.speakers) for group in judged)
    students, counts = {cell[0] for cell in cells}, {cell[1] for cell in cells}
    data: list[dict[str, Any]] = []
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for student, count in cells:
        if len(cells) > 1:
            words = [student] if len(students) > 1 or count is None else []
            if len(counts) > 1 and count is not None:
                words.append(f"{count:,} speakers")
            ticks.append((y, f"<b>{label(', '.join(words), 28)}</b>"))
            y += 0.8
        for group in judged:
            if (group.student, group.speakers) == (student, count):
                data += _row(group, y)
                ticks.append((y, label(group.variant if len(cells) > 1 else group.name, 26)))
                y += 1
        y += 0.25 if len(cells) > 1 else 0
    shapes = []
    for k, (name, rate) in enumerate(teachers.items()):
        ticks.append((y, label(f"teacher {name}", 26)))
        marker = {"color": "@ink", "size": 11, "symbol": "diamond-open", "line": {"width": 2}}
        data.append(
            {
                "type": "scatter", "mode": "markers+text", "name": label(f"teacher {name}"), "marker": marker,
                "x": [100 * rate], "y": [y], "text": [f"{rate:.2%}"], "textposition": "top center",
                "textfont": {"color": "@ink", "size": 12}, "hovertemplate": "EER %{x:.2f}%",
                "cliponaxis": False,
            }
        )  # fmt: skip
        if k < MOST_LINES:
            line = {"color": "@ink", "width": 1.2, "dash": "dash"}
            shapes.append(
                {
                    "type": "line", "x0": 100 * rate, "x1": 100 * rate, "y0": 0, "y1": 1, "yref": "paper",
                    "line": line, "opacity": 0.45, "layer": "below",
                }
            )  # fmt: skip
        y += 1
    span: dict[str, Any] = {
        "range": [y - 0.4, -0.8],
        "showgrid": False,
        "showline": False,
        "ticks": "",
        "tickvals": [place for place, _ in ticks],
        "ticktext": [name for _, name in ticks],
        "tickfont": {"size": 13, "color": "@ink"},
    }
    height = 84 + round((54 if len(judged) < 12 else 42) * y)
    bounds = axis("equal error rate", ticksuffix="%", rangemode="tozero", side="bottom")
    return {
        "id": "plot-eer",
        "data": data,
        "layout": layout(height, xaxis=bounds, yaxis=axis(**span), shapes=shapes),
    }


def _row(group: Group, y: float) -> list[dict[str, Any]]:
    """The mean with its error bar, and a ring for each seed."""
    rate, seeds = group.mean or 0.0, len(group.rates)
    what = f"mean of {seeds} seeds ± 1 standard deviation" if group.spread else "95 % interval over speakers"
    bar = {
        "type": "data", "symmetric": False, "array": [100 * (group.high - rate)],
        "arrayminus": [100 * (rate - group.low)], "thickness": 2, "width": 7, "color": colour(group.tint),
    }  # fmt: skip
    ends = f"{100 * group.low:.2f} – {100 * group.high:.2f}%"
    rows: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers+text", "name": label(group.name), "x": [100 * rate], "y": [y],
            "error_x": bar, "marker": {"color": colour(group.tint), "size": 12}, "cliponaxis": False,
            "textposition": "top center", "textfont": {"color": "@ink", "size": 12}, "text": [f"{rate:.2%}"],
            "hovertext": [f"{ends}<br>{what}"], "hovertemplate": "EER %{x:.2f}%<br>%{hovertext}",
        }
    ]  # fmt: skip
    if seeds > 1:
        marker = {"color": colour(group.tint), "size": 6, "symbol": "circle-open"}
        rows.append(
            {
                "type": "scatter", "mode": "markers", "name": label(group.name), "marker": marker,
                "opacity": 0.85, "x": [100 * seed for seed in group.rates], "y": [y + 0.26] * seeds,
                "hovertemplate": "one seed: EER %{x:.2f}%", "cliponaxis": False,
            }
        )  # fmt: skip
    return rows


def by_speakers(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    """(student, variant) → its groups by their number of training speakers; empty where all have the same."""
    known = [group for group in groups if group.rates and group.speakers]
    lines: dict[tuple[str, str], list[Group]] = {}
    for group in sorted(known, key=lambda group: group.speakers or 0):
        lines.setdefault((group.student, group.variant), []).append(group)
    longest = max((len({group.speakers for group in line}) for line in lines.values()), default=0)
    return lines if longest > 1 else {}


def speakers_figure(groups: Sequence[Group]) -> Figure | None:
    """EER against the number of training speakers, on a logarithmic axis: one line an objective and student."""
    lines = by_speakers(groups)
    if not lines:
        return None
    students = list(dict.fromkeys(student for student, _ in lines))
    data: list[dict[str, Any]] = []
    for (student, variant), line in lines.items():
        tint, place = line[0].tint, students.index(student)
        name = label(variant if len(students) == 1 else f"{student}: {variant}")
        x, y = [group.speakers for group in line], [round(100 * (group.mean or 0.0), 4) for group in line]
        bars = {
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 5, "color": colour(tint),
            "array": [round(100 * group.high - rate, 4) for group, rate in zip(line, y, strict=True)],
            "arrayminus": [round(rate - 100 * group.low, 4) for group, rate in zip(line, y, strict=True)],
        }  # fmt: skip
        marker = {"color": colour(tint), "size": 9, "symbol": SYMBOLS[place % len(SYMBOLS)]}
        stroke = {"color": colour(tint), "width": 2, "dash": dash(COLOURS * place)}
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, "error_y": bars,
                "marker": marker, "line": stroke, "hovertemplate": "%{x:,} speakers: EER %{y:.2f}%",
            }
        )  # fmt: skip
        seeds = [(group.speakers, 100 * rate) for group in line if group.spread for rate in group.rates]
        if seeds:
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": name, "showlegend": False, "opacity": 0.6,
                    "marker": {"color": colour(tint), "size": 5, "symbol": "circle-open"},
                    "x": [count for count, _ in seeds], "y": [round(rate, 4) for _, rate in seeds],
                    "hovertemplate": "%{x:,} speakers, one seed: EER %{y:.2f}%",
                }
            )  # fmt: skip
    counts = sorted({group.speakers for line in lines.values() for group in line if group.speakers})
    legend = {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"color": "@ink", "size": 13},
    }
    shown = {"tickvals": counts, "ticktext": [f"{count:,}" for count in counts]}
    return {
        "id": "plot-speakers",
        "data": data,
        "layout": layout(
            430, showlegend=True, legend=legend, xaxis=axis("training speakers", type="log", **shown),
            yaxis=axis("equal error rate", ticksuffix="%", rangemode="tozero"),
        ),
    }  # fmt: skip
