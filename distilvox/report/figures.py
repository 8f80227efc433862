"""Figures of error rates, as plain values for plotly: EER, DET curves, score histograms.

A figure is {"id", "data", "layout"}; colours are names (see `style`). Text that plotly shows passes through
`label`: plotly reads a little HTML.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from distilvox.evaluation.metrics import DetCurve, curve_eer, det_curve
from distilvox.report.read import Run, number, table
from distilvox.report.style import colour, dash

Figure = dict[str, Any]

MOST_POINTS = 500
BINS = 70
DET_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90)
"""Percent."""

LEAST_RATE, MOST_RATE = 1e-4, 0.9
"""Where DET axes end at the latest: fractions."""


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
    """EER of every teacher that a pre-flight judged, raw cosine, by its URI."""
    found: dict[str, float] = {}
    for run in runs:
        rate = number(run.preflight.get("dev_eer"))
        if rate is not None:
            found.setdefault(str(run.preflight.get("teacher", run.teacher)), rate)
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
                "text": [f"{rate:.2%}"], "textposition": "top center", "textfont": {"color": "@ink", "size": 12},
                "hovertext": [f"{100 * (rate - below):.2f} – {100 * (rate + above):.2f} %<br>{label(what)}"],
                "hovertemplate": "EER %{x:.2f} %<br>%{hovertext}",
            }
        )  # fmt: skip
        if seeds:
            marker = {"color": colour(tint), "size": 6, "symbol": "circle-open"}
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": label(name), "marker": marker, "opacity": 0.85,
                    "x": [100 * seed for seed in seeds], "y": [k + 0.24] * len(seeds),
                    "hovertemplate": "one seed: EER %{x:.2f} %",
                }
            )  # fmt: skip
    lines = [
        vertical(100 * rate, f"teacher {label(name, 18)}: {rate:.2%}", yshift=2 + 15 * k)
        for k, (name, rate) in enumerate(teachers(runs).items())
    ]
    ticks: dict[str, Any] = {"tickvals": list(range(len(rows))), "ticktext": [label(row[0], 24) for row in rows]}
    span: dict[str, Any] = {"range": [len(rows) - 0.4, -0.75], "showgrid": False, "showline": False, "ticks": ""}
    return {
        "id": "plot-eer",
        "data": data,
        "layout": layout(
            96 + 54 * len(rows) + 15 * len(lines),
            margin={"l": 12, "r": 18, "t": 12 + 20 * len(lines), "b": 12},
            xaxis=axis("equal error rate", ticksuffix=" %", rangemode="tozero"),
            yaxis=axis(**ticks, **span) | {"tickfont": {"size": 13, "color": "@ink"}},
            shapes=[shape for shape, _ in lines],
            annotations=[words for _, words in lines],
        ),
    }


def thin_curve(curve: DetCurve, most: int = MOST_POINTS) -> DetCurve:
    """At most `most` points of a DET curve, spread evenly along it as the probit axes show it; ends kept."""
    inside = np.flatnonzero((curve.p_miss > 0) & (curve.p_fa > 0) & (curve.p_miss < 1) & (curve.p_fa < 1))
    if len(inside) == 0:  # no error beside no error: the corner
        inside = np.arange(len(curve.p_miss))
    if len(inside) > most:
        x, y = ndtri(curve.p_fa[inside]), ndtri(curve.p_miss[inside])
        way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        inside = inside[np.unique(np.searchsorted(way, np.linspace(0, way[-1], most)).clip(0, len(way) - 1))]
    return DetCurve(*(part[inside] for part in curve))


def least_cost(curve: DetCurve, p_target: float) -> int:
    """The operating point of the minimum detection cost, costs 1."""
    return int(np.argmin(p_target * curve.p_miss + (1 - p_target) * curve.p_fa))


def det_figure(runs: Sequence[Run], colours: Mapping[str, int]) -> Figure | None:
    """DET curves on probit axes; circles at the EER, diamonds at minDCF 0.01."""
    curves = {
        run.name: det_curve(run.scores.scores, run.scores.labels) for run in runs if run.scores is not None
    }
    if not curves:
        return None
    tints = {run.name: colours[run.method] for run in runs}
    data: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    low = 0.05
    high = 0.4
    for name, curve in curves.items():
        thin = thin_curve(curve)
        eer = curve_eer(curve)[0]
        best = least_cost(curve, 0.01)
        low = min([low, *(float(part[part > 0].min(initial=low)) for part in (thin.p_miss, thin.p_fa))])
        high = max(high, min(1.5 * eer, MOST_RATE))
        paint = colour(tints[name])
        data.append(_rates(name, thin.p_fa, thin.p_miss) | {
            "mode": "lines", "line": {"color": paint, "width": 2, "dash": dash(tints[name])},
        })  # fmt: skip
        for p_fa, p_miss, symbol, what in (
            (eer, eer, "circle", f"EER {eer:.2%}"),
            (float(curve.p_fa[best]), float(curve.p_miss[best]), "diamond", "minDCF 0.01"),
        ):
            spot = _rates(name, np.array([p_fa]), np.array([p_miss]), what)
            edge = {"color": "@card", "width": 1.5}
            points.append(spot | {"mode": "markers", "marker": {
                "color": paint, "size": 11, "symbol": symbol, "line": edge,
            }, "cliponaxis": False})  # fmt: skip
    low = max(low / 1.5, LEAST_RATE)
    for trace in points:  # an operating point without errors stands on the edge
        for key in ("x", "y"):
            trace[key] = [float(np.clip(trace[key][0], ndtri(low), ndtri(high)))]
    for trace in data:
        trace["x"], trace["y"] = (
            np.clip(trace[key], ndtri(low) - 1, 4).round(4).tolist() for key in ("x", "y")
        )
    ends = [float(ndtri(low)), float(ndtri(high))]
    ticks = {
        "tickvals": [round(float(ndtri(tick / 100)), 5) for tick in DET_TICKS],
        "ticktext": [f"{tick:g}" for tick in DET_TICKS],
        "range": ends,
    }
    diagonal = {
        "type": "line", "x0": ends[0], "y0": ends[0], "x1": ends[1], "y1": ends[1],
        "line": {"color": "@line", "width": 1, "dash": "dot"}, "layer": "below",
    }  # fmt: skip
    return {
        "id": "plot-det",
        "data": data + points,
        "layout": layout(
            480, shapes=[diagonal],
            xaxis=axis("false accepts, % of non-target trials", **ticks),
            yaxis=axis("misses, % of target trials", **ticks),
        ),
    }  # fmt: skip


def _rates(name: str, p_fa: np.ndarray, p_miss: np.ndarray, what: str = "") -> dict[str, Any]:
    """A trace on probit axes whose labels speak percent."""
    return {
        "type": "scatter",
        "name": label(name),
        "x": ndtri(p_fa),
        "y": ndtri(p_miss),
        "customdata": np.stack([100 * p_fa, 100 * p_miss], axis=1).round(4).tolist(),
        "hovertemplate": (what and what + "<br>")
        + "false accepts %{customdata[0]:.3g} %<br>misses %{customdata[1]:.3g} %",
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
                "type": "bar", "name": name, "x": middle, "y": (100 * share).round(4).tolist(), "opacity": 0.62,
                "marker": {"color": colour(tint), "line": {"width": 0}}, "width": float(edges[1] - edges[0]),
                "hovertemplate": "score %{x:.3f}<br>%{y:.2f} % of trials",
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
            yaxis=axis("share of its trials", ticksuffix=" %"),
            shapes=[shape for shape, _ in lines],
            annotations=[words for _, words in lines],
        ),
    }  # fmt: skip
