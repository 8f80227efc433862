"""Learning curves: every logged part over the epochs, and the EER of each look; one line a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distilvox.report.figures import Figure, axis, label, layout, teachers
from distilvox.report.groups import Group
from distilvox.report.read import Run, number, table
from distilvox.report.style import colour, dash

MOST_POINTS, MOST_ALL = 200, 2000
"""Of one line; of all lines of one figure together."""

SMOOTH = 40
"""Learning curves are a moving mean over 1/40 of a run's steps, of a short run over 5 steps."""

NOT_CURVES = ("step", "epoch", "evaluation")
FIRST, LAST = ("total", "ce"), ("accuracy", "learning_rate", "grad_norm")

TITLES = {
    "total": "total: what is minimised",
    "ce": "ce: cross entropy of the AAM-softmax",
    "tskd": "tskd: target-speaker distillation",
    "nskd": "nskd: non-target-speaker distillation",
    "kld": "kld: label-level distillation",
    "cosine": "cosine: embedding distillation",
    "mse": "mse: embedding distillation",
    "masses": "masses: triage, the three groups of speakers",
    "confusion": "confusion: triage, within the confusion set",
    "kd_weight": "kd_weight: of all distillation",
    "accuracy": "accuracy on training views",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm, before clipping",
}

HOVER = {"accuracy": ".1%", "learning_rate": ".3g"}


def is_weight(name: str) -> bool:
    return name.endswith("weight") or name in ("alpha", "gamma", "temperature", "margin", "cutoff")


def part_names(runs: Sequence[Run]) -> list[str]:
    """The logged parts of all runs: total, ce, parts of distillation, weights, then how the training went."""
    seen = {key: None for run in runs for line in run.log for key in line if key not in NOT_CURVES}
    middle = [name for name in seen if name not in FIRST + LAST]
    middle.sort(key=is_weight)
    return [name for name in (*FIRST, *middle, *LAST) if name in seen]


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean over `width` values (fewer at the ends) that passes over NaN; NaN where all are."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    middle = np.arange(len(values))
    first = np.maximum(middle - width // 2, 0)
    last = np.minimum(middle + width // 2 + 1, len(values))
    count = counts[last] - counts[first]
    return np.where(count > 0, (sums[last] - sums[first]) / np.maximum(count, 1), np.nan)


def curve(run: Run, part: str, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray] | None:
    """(epochs, values) of one logged part, smoothed, at most `most` points; None if it was not logged."""
    lines = [(number(line.get("epoch")), number(line[part])) for line in run.log if part in line]
    pairs = [(epoch, value) for epoch, value in lines if epoch is not None]
    if not pairs:
        return None
    epochs = np.array([epoch for epoch, _ in pairs])
    values = smooth(
        np.array([np.nan if value is None else value for _, value in pairs]),
        max(len(pairs) // SMOOTH, min(5, len(pairs) // 4)),
    )
    kept = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), most)).round().astype(int))
    kept = kept[np.isfinite(values[kept])]
    return (epochs[kept], values[kept]) if len(kept) else None


def band(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """(epochs, mean, least, most) of several curves, on the first one's epochs as far as all of them go."""
    first = curves[0][0]
    grid = first[first <= min(epochs[-1] for epochs, _ in curves)]
    rows = np.stack([np.interp(grid, epochs, values) for epochs, values in curves])
    return grid, rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0)


def learning_figures(groups: Sequence[Group]) -> list[tuple[str, Figure]]:
    """(title, figure) of every logged part over the epochs, then of the EER on the trials."""
    found: list[tuple[str, Figure]] = []
    runs = [run for group in groups for run in group.runs]
    many = sum(any(run.log for run in group.runs) for group in groups)
    most = max(40, min(MOST_POINTS, MOST_ALL // max(many, 1)))
    for part in part_names(runs):
        data = []
        for group in groups:
            curves = [points for run in group.runs if (points := curve(run, part, most)) is not None]
            if curves:
                data += _traces(group, *band(curves), several=len(curves) > 1, shown=HOVER.get(part, ".4g"))
        if data:
            shape: dict[str, Any] = {"tickformat": ".0%"} if part == "accuracy" else {}
            if part == "grad_norm":
                shape = {"type": "log", "dtick": 1}
            found.append((TITLES.get(part, part), _small(f"plot-part-{len(found)}", data, axis(**shape))))
    looks = _looks(groups)
    if looks:
        figure = _small("plot-part-eer", looks, axis(ticksuffix="%", rangemode="tozero"))
        for rate in list(teachers(runs).values())[:2]:
            line = {"color": "@ink", "width": 1.2, "dash": "dash"}
            figure["layout"].setdefault("shapes", []).append(
                {
                    "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 100 * rate, "y1": 100 * rate,
                    "line": line, "opacity": 0.6,
                }
            )  # fmt: skip
        found.append(("EER on the trials, at every look", figure))
    return found


def _looks(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The EER of every look: the mean over seeds, from the least to the most."""
    data = []
    for group in groups:
        by_epoch: dict[float, list[float]] = {}
        for run in group.runs:
            for line in run.log:
                epoch, rate = number(line.get("epoch")), number(table(line, "evaluation").get("eer"))
                if epoch is not None and rate is not None:
                    by_epoch.setdefault(round(epoch, 4), []).append(100 * rate)
        if by_epoch:
            epochs = sorted(by_epoch)
            rates = [by_epoch[epoch] for epoch in epochs]
            mean = [sum(some) / len(some) for some in rates]
            bars = {
                "type": "data", "symmetric": False, "color": colour(group.tint), "thickness": 1, "width": 3,
                "array": [round(max(some) - m, 3) for some, m in zip(rates, mean, strict=True)],
                "arrayminus": [round(m - min(some), 3) for some, m in zip(rates, mean, strict=True)],
            }  # fmt: skip
            data.append(
                _line(group, epochs, [round(m, 3) for m in mean])
                | {"mode": "lines+markers", "marker": {"color": colour(group.tint), "size": 6}}
                | {"hovertemplate": "epoch %{x:.3g}: EER %{y:.2f}%"}
                | ({"error_y": bars} if any(len(some) > 1 for some in rates) else {})
            )
    return data


def _traces(
    group: Group,
    epochs: np.ndarray,
    mean: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    *,
    several: bool,
    shown: str,
) -> list[dict[str, Any]]:
    """The mean of a group's curves, and the area between its lowest and highest seed."""
    x, y, low, high = ([float(f"{v:.4g}") for v in values] for values in (epochs, mean, least, most))
    line = _line(group, x, y) | {"hovertemplate": f"epoch %{{x:.3g}}: %{{y:{shown}}}"}
    if not several:
        return [line]
    area = {
        "type": "scatter", "mode": "lines", "x": x + x[::-1], "y": high + low[::-1], "fill": "toself",
        "fillcolor": colour(group.tint), "opacity": 0.16, "line": {"width": 0}, "hoverinfo": "skip",
    }  # fmt: skip
    return [area, line]


def _line(group: Group, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    stroke = {"color": colour(group.tint), "width": 1.8, "dash": dash(group.tint)}
    return {"type": "scatter", "mode": "lines", "name": label(group.name), "x": x, "y": y, "line": stroke}


def _small(name: str, data: list[dict[str, Any]], y: dict[str, Any]) -> Figure:
    return {"id": name, "data": data, "layout": layout(220, xaxis=axis("epoch", rangemode="tozero"), yaxis=y)}
