"""DET curves: misses against false accepts on probit axes, where a normal distribution draws a line.

Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from distilvox.evaluation.metrics import DetCurve, curve_eer, det_curve
from distilvox.report.figures import Figure, axis, label, layout
from distilvox.report.groups import Group
from distilvox.report.read import Run
from distilvox.report.style import colour, dash

MOST_POINTS, MOST_ALL = 500, 6000
"""Of one curve; of all curves together."""

MOST_RUNS, MOST_CURVES = 8, 16
"""More runs are drawn by the middle one of each method, more methods by the best of them."""

TICKS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95)
"""Percent."""

LEAST_RATE, USUAL_RATE, MOST_RATE = 1e-4, 0.4, 0.95
"""Axes begin at 0.01 % at the earliest, and end at 40 %, or later where an operating point lies beyond."""


def thin(curve: DetCurve, most: int = MOST_POINTS) -> DetCurve:
    """At most `most` points with both rates inside (0, 1), spread evenly along the curve on probit axes.

    Where no point is inside (no threshold errs both ways), all points are kept up to `most`.
    """
    inside = np.flatnonzero((curve.p_miss > 0) & (curve.p_fa > 0) & (curve.p_miss < 1) & (curve.p_fa < 1))
    if len(inside) == 0:
        inside = np.unique(np.linspace(0, len(curve.p_miss) - 1, most).round().astype(int))
    elif len(inside) > most:
        x, y = ndtri(curve.p_fa[inside]), ndtri(curve.p_miss[inside])
        way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        near = np.searchsorted(way, np.linspace(0, way[-1], most)).clip(0, len(way) - 1)
        inside = inside[np.unique(near)]
    return DetCurve(*(part[inside] for part in curve))


def least_cost(curve: DetCurve, p_target: float) -> tuple[float, float]:
    """(p_fa, p_miss) where the detection cost is least, both costs 1."""
    k = int(np.argmin(p_target * curve.p_miss + (1 - p_target) * curve.p_fa))
    return float(curve.p_fa[k]), float(curve.p_miss[k])


def drawn_runs(groups: Sequence[Group]) -> list[tuple[Group, Run]]:
    """The runs that have a curve each: all, or of each method the one with the median EER."""
    every = [(group, run) for group in groups for run in group.runs if run.scores is not None]
    if len(every) <= MOST_RUNS:
        return every
    middle = [(group, group.middle) for group in groups]
    some = [(group, run) for group, run in middle if run is not None and run.scores is not None]
    best = {
        run.name for run in sorted((run for _, run in some), key=lambda run: run.eer or 0.0)[:MOST_CURVES]
    }
    return [pair for pair in some if pair[1].name in best]


def operating_points(runs: Sequence[tuple[Group, Run]]) -> list[tuple[str, float, float, float]]:
    """(run, EER, p_fa and p_miss where the cost at prior 0.01 is least) of each."""
    found = []
    for _, run in runs:
        if run.scores is not None:
            curve = det_curve(run.scores.scores, run.scores.labels)
            found.append((run.name, curve_eer(curve)[0], *least_cost(curve, 0.01)))
    return found


def det_figure(runs: Sequence[tuple[Group, Run]]) -> Figure | None:
    """DET curves; circles at the EER, diamonds at minDCF 0.01. A point without errors stands on the edge."""
    held = [(group, run, run.scores) for group, run in runs if run.scores is not None]
    curves = [(group, run, det_curve(scores.scores, scores.labels)) for group, run, scores in held]
    if not curves:
        return None
    eers = [curve_eer(curve)[0] for *_, curve in curves]
    costs = [least_cost(curve, 0.01) for *_, curve in curves]
    most_points = min(MOST_POINTS, MOST_ALL // len(curves))
    thinned = [thin(curve, most_points) for *_, curve in curves]
    most_fa = min(max([USUAL_RATE, *(1.4 * eer for eer in eers)]), MOST_RATE)
    most_miss = min(max([most_fa, *(1.1 * p_miss for _, p_miss in costs)]), MOST_RATE)
    ends_fa = _ends([one.p_fa[one.p_miss <= most_miss] for one in thinned], most_fa)
    ends_miss = _ends([one.p_miss[one.p_fa <= most_fa] for one in thinned], most_miss)
    lines, points = [], []
    for (group, run, _), one, eer, cost in zip(curves, thinned, eers, costs, strict=True):
        tint = group.tint
        stroke = {"color": colour(tint), "width": 2, "dash": dash(tint)}
        lines.append(
            _trace(run.name, one.p_fa, one.p_miss, ends_fa, ends_miss) | {"mode": "lines", "line": stroke}
        )
        for (p_fa, p_miss), symbol, what in (
            ((eer, eer), "circle", f"EER {eer:.2%}<br>"),
            (cost, "diamond", "minDCF 0.01<br>"),
        ):
            spot = _trace(run.name, np.array([p_fa]), np.array([p_miss]), ends_fa, ends_miss, what)
            edge = {"color": "@card", "width": 1.5}
            marker = {"color": colour(tint), "size": 11, "symbol": symbol, "line": edge}
            points.append(spot | {"mode": "markers", "marker": marker, "cliponaxis": False})
    diagonal = {"type": "line", "layer": "below", "line": {"color": "@soft", "width": 1, "dash": "dot"}}
    low, high = float(ndtri(max(ends_fa[0], ends_miss[0]))), float(ndtri(min(ends_fa[1], ends_miss[1])))
    return {
        "id": "plot-det",
        "data": lines + points,
        "layout": layout(
            480,
            shapes=[diagonal | {"x0": low, "y0": low, "x1": high, "y1": high}],
            xaxis=axis("false accepts, % of non-target trials", **_ticks(ends_fa)),
            yaxis=axis("misses, % of target trials", **_ticks(ends_miss)),
        ),
    }


def _ends(rates: Sequence[np.ndarray], most: float) -> tuple[float, float]:
    """An axis from a little below the least rate above 0, yet no lower than `LEAST_RATE`, up to `most`."""
    least = min([0.05, *(float(part[part > 0].min(initial=most)) for part in rates)])
    return max(least / 1.4, LEAST_RATE), most


def _ticks(ends: tuple[float, float]) -> dict[str, Any]:
    return {
        "tickvals": [round(float(ndtri(tick / 100)), 5) for tick in TICKS],
        "ticktext": [f"{tick:g}" for tick in TICKS],
        "tickangle": 0,
        "range": [round(float(ndtri(end)), 5) for end in ends],
    }


def _trace(
    name: str,
    p_fa: np.ndarray,
    p_miss: np.ndarray,
    ends_fa: tuple[float, float],
    ends_miss: tuple[float, float],
    what: str = "",
) -> dict[str, Any]:
    """Rates [K] on probit axes, labelled in percent; a line may leave the axes, a lone point may not."""
    beyond = 1e-2 if len(p_fa) > 1 else 1.0
    x, y = (
        ndtri(np.clip(rate, low * beyond, 1 - (1 - high) * beyond)).round(4).tolist()
        for rate, (low, high) in ((p_fa, ends_fa), (p_miss, ends_miss))
    )
    return {
        "type": "scatter",
        "name": label(name),
        "x": x,
        "y": y,
        "customdata": np.stack([100 * p_fa, 100 * p_miss], axis=1).round(4).tolist(),
        "hovertemplate": what + "false accepts %{customdata[0]:.3g}%<br>misses %{customdata[1]:.3g}%",
    }
