"""Figures as plain values for plotly: what they share, and score histograms.

A figure is {"id", "data", "layout"}; colours are names (see `style`). Text that plotly shows passes through
`label`: plotly reads a little HTML.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from distilvox.report.read import Run, number, short
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
