"""Figures as plain values for plotly: what they share, the EER of every method, score histograms.

A figure is {"id", "data", "layout"}; colours are names (see `style`). Text that plotly shows passes through
`label`: plotly reads a little HTML.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distilvox.report.read import Run, number, short, table
from distilvox.report.style import colour

Figure = dict[str, Any]

BINS = 70


def label(text: object, most: int = 60) -> str:
    """Text as plotly shows it unchanged: no tags, one line, no longer than `most` characters.

    >>> label("<b>a\\nb</b>")
    '&lt;b&gt;a b&lt;/b&gt;'
    """
    whole = " ".join(str(text).split())
    short = whole if len(whole) <= most else whole[: most - 1] + "…"
    return html.escape(short, quote=False)


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "gridcolor": "@grid",
        "linecolor": "@line",
        "zeroline": False,
        "showline": True,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "@line",
    }
    return base | ({"title": {"text": title, "standoff": 10, "font": {"size": 13}}} if title else {}) | more


def layout(height: int, **more: Any) -> dict[str, Any]:
    return {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
            "size": 12,
            "color": "@soft",
        },
        "margin": {"l": 12, "r": 14, "t": 14, "b": 12},
        "hoverlabel": {
            "bgcolor": "@card",
            "bordercolor": "@line",
            "font": {"color": "@ink"},
            "namelength": -1,
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@soft", "activecolor": "@accent"},
        "hovermode": "closest",
        "showlegend": False,
        **more,
    }


def vertical(x: float, name: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dashed line at x and the words on top of it: (shape, annotation)."""
    line = {"color": "@ink", "width": 1.5, "dash": "dash"}
    shape = {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": line,
        "opacity": 0.7,
    }
    words = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "text": name, "showarrow": False}
    return shape, words | {"font": {"color": "@ink", "size": 12}} | more


def teachers(runs: Sequence[Run]) -> dict[str, float]:
    """EER of every teacher that a pre-flight judged by a run's own trials, raw cosine, by its short URI."""
    found: dict[str, float] = {}
    for run in runs:
        rate = number(run.preflight.get("dev_eer"))
        elsewhere = run.evaluation and run.preflight.get("trial_list") not in (None, run.trials[0])
        if rate is not None and not elsewhere:
            found.setdefault(short(str(run.preflight.get("teacher", run.teacher))), rate)
    return found


def eer_figure(
    runs: Sequence[Run], colours: Mapping[str, int], study: Mapping[str, Any] | None
) -> Figure | None:
    """EER of every method: a study's mean ± spread over seeds, else each run's with its interval."""
    methods = table(dict(study or {}), "methods")
    rows: list[tuple[str, int, float, float, float, list[float], str]] = []
    for name, found in methods.items():
        mean, spread = number(found["eer"]["mean"]), number(found["eer"]["std"]) or 0.0
        if mean is not None:
            seeds = [rate for rate in map(number, found["eer"]["runs"]) if rate is not None]
            rows.append((name, colours[name], mean, spread, spread, seeds, f"mean of {len(seeds)} seeds"))
    for run in runs:
        if run.eer is not None and run.method not in methods:
            low, high = run.interval or (run.eer, run.eer)
            rows.append(
                (run.name, colours[run.method], run.eer, run.eer - low, high - run.eer, [], run.objective)
            )
    if not rows:
        return None
    data: list[dict[str, Any]] = []
    for k, (name, tint, rate, below, above, seeds, what) in enumerate(rows):
        bar = {"type": "data", "symmetric": False, "array": [100 * above], "arrayminus": [100 * below]}
        data.append(
            {
                "type": "scatter", "mode": "markers+text", "name": label(name), "x": [100 * rate], "y": [k],
                "error_x": bar | {"thickness": 2, "width": 7, "color": colour(tint)},
                "marker": {"color": colour(tint), "size": 12}, "cliponaxis": False,
                "textposition": "top center", "textfont": {"color": "@ink", "size": 12},
                "text": [f"{rate:.2%}"],
                "hovertext": [f"{100 * (rate - below):.2f} – {100 * (rate + above):.2f}%<br>{label(what)}"],
                "hovertemplate": "EER %{x:.2f}%<br>%{hovertext}",
            }
        )  # fmt: skip
        if seeds:
            marker = {"color": colour(tint), "size": 6, "symbol": "circle-open"}
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": label(name), "marker": marker,
                    "opacity": 0.85, "x": [100 * seed for seed in seeds], "y": [k + 0.24] * len(seeds),
                    "hovertemplate": "one seed: EER %{x:.2f}%",
                }
            )  # fmt: skip
    lines = [
        vertical(100 * rate, f"teacher {label(name, 24)}: {rate:.2%}", yshift=2 + 15 * k)
        for k, (name, rate) in enumerate(teachers(runs).items())
    ]
    ticks: dict[str, Any] = {
        "tickvals": list(range(len(rows))),
        "ticktext": [label(row[0], 24) for row in rows],
    }
    span: dict[str, Any] = {
        "range": [len(rows) - 0.4, -0.75],
        "showgrid": False,
        "showline": False,
        "ticks": "",
    }
    return {
        "id": "plot-eer",
        "data": data,
        "layout": layout(
            96 + 54 * len(rows) + 15 * len(lines),
            margin={"l": 12, "r": 18, "t": 12 + 20 * len(lines), "b": 12},
            xaxis=axis("equal error rate", ticksuffix="%", rangemode="tozero"),
            yaxis=axis(**ticks, **span) | {"tickfont": {"size": 13, "color": "@ink"}},
            shapes=[shape for shape, _ in lines],
            annotations=[words for _, words in lines],
        ),
    }


def histogram_figure(run: Run) -> Figure | None:
    """Scores of target and non-target trials of one run, each as shares of its kind."""
    if run.scores is None:
        return None
    scores, labels = run.scores.scores, run.scores.labels
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    middle = ((edges[1:] + edges[:-1]) / 2).round(6).tolist()
    data = []
    for name, mask, tint in (
        ("target (same speaker)", labels, 0),
        ("non-target (different speakers)", ~labels, 1),
    ):
        share = np.histogram(scores[mask], edges)[0] / max(int(mask.sum()), 1)
        data.append(
            {
                "type": "bar", "name": name, "x": middle, "y": (100 * share).round(4).tolist(),
                "opacity": 0.62,
                "marker": {"color": colour(tint), "line": {"width": 0}}, "width": float(edges[1] - edges[0]),
                "hovertemplate": "score %{x:.3f}<br>%{y:.2f}% of trials",
            }
        )  # fmt: skip
    threshold = number(run.evaluation.get("eer_threshold"))
    lines = [] if threshold is None else [vertical(threshold, f"threshold at the EER: {threshold:.3f}")]
    return {
        "id": "plot-scores",
        "data": data,
        "layout": layout(
            480, barmode="overlay", bargap=0, showlegend=True, margin={"l": 12, "r": 14, "t": 30, "b": 12},
            legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "font": {"color": "@ink"}},
            xaxis=axis(label(run.trials[1])),
            yaxis=axis("share of its trials", ticksuffix="%"),
            shapes=[shape for shape, _ in lines],
            annotations=[words for _, words in lines],
        ),
    }  # fmt: skip
