"""Figures of training and of embeddings: learning curves, the map of unseen speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distilvox.report.figures import Figure, axis, label, layout, teachers
from distilvox.report.read import Run, number, table
from distilvox.report.style import SYMBOLS, colour, dash

MOST_POINTS = 300
SMOOTH = 40
"""Learning curves are a moving mean over 1/40 of a run's steps, of a short run over 5 steps."""

MOST_SPEAKERS = 14
MOST_UTTERANCES = 40
"""Of one speaker on the map."""

NOT_CURVES = ("step", "epoch", "learning_rate", "kd_weight", "grad_norm", "evaluation")
FIRST, LAST = ("total", "ce"), ("accuracy",)

TITLES = {
    "total": "total: what is minimised",
    "ce": "ce: cross entropy of the AAM-softmax",
    "tskd": "tskd: target-speaker distillation",
    "nskd": "nskd: non-target-speaker distillation",
    "kld": "kld: label-level distillation",
    "cosine": "cosine: embedding distillation",
    "mse": "mse: embedding distillation",
    "accuracy": "accuracy on training views",
}


def part_names(runs: Sequence[Run]) -> list[str]:
    """The logged parts of all runs: the total first, the accuracy last."""
    seen = {key: None for run in runs for line in run.log for key in line if key not in NOT_CURVES}
    middle = [name for name in seen if name not in FIRST + LAST]
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


def curve(run: Run, part: str) -> tuple[list[float], list[float]] | None:
    """(epochs, values) of one logged part, smoothed, at most 300 points; None if it was not logged."""
    lines = [(number(line.get("epoch")), number(line[part])) for line in run.log if part in line]
    pairs = [(epoch, value) for epoch, value in lines if epoch is not None]
    if not pairs:
        return None
    epochs = np.array([epoch for epoch, _ in pairs])
    values = smooth(
        np.array([np.nan if value is None else value for _, value in pairs]),
        max(len(pairs) // SMOOTH, min(5, len(pairs) // 4)),
    )
    kept = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_POINTS)).round().astype(int))
    kept = kept[np.isfinite(values[kept])]
    return (
        ([float(f"{v:.5g}") for v in epochs[kept]], [float(f"{v:.5g}") for v in values[kept]])
        if len(kept)
        else None
    )


def learning_figures(runs: Sequence[Run], colours: Mapping[str, int]) -> list[tuple[str, Figure]]:
    """(title, figure) of every logged part over the epochs, then of the EER on the trials."""
    found: list[tuple[str, Figure]] = []
    for part in part_names(runs):
        data = []
        for run in runs:
            points = curve(run, part)
            if points is not None:
                template = f"epoch %{{x:.3g}}: %{{y{':.1%' if part == 'accuracy' else ':.4g'}}}"
                data.append(_line(run, colours[run.method], *points) | {"hovertemplate": template})
        if data:
            shape = {"tickformat": ".0%"} if part == "accuracy" else {}
            found.append((TITLES.get(part, part), _small(f"plot-part-{len(found)}", data, axis(**shape))))
    data = []
    for run in runs:
        judged = [
            (number(line.get("epoch")), number(table(line, "evaluation").get("eer"))) for line in run.log
        ]
        known = [(epoch, 100 * rate) for epoch, rate in judged if epoch is not None and rate is not None]
        if known:
            epochs, rates = [round(e, 4) for e, _ in known], [round(r, 4) for _, r in known]
            data.append(
                _line(run, colours[run.method], epochs, rates)
                | {"mode": "lines+markers", "marker": {"color": colour(colours[run.method]), "size": 6}}
                | {"hovertemplate": "epoch %{x:.3g}: EER %{y:.2f}%"}
            )
    if data:
        figure = _small("plot-part-eer", data, axis(ticksuffix="%", rangemode="tozero"))
        for rate in teachers(runs).values():
            line = {"color": "@ink", "width": 1.2, "dash": "dash"}
            figure["layout"].setdefault("shapes", []).append(
                {
                    "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 100 * rate, "y1": 100 * rate,
                    "line": line, "opacity": 0.6,
                }
            )  # fmt: skip
        found.append(("EER on the trials", figure))
    return found


def _line(run: Run, tint: int, x: list[float], y: list[float]) -> dict[str, Any]:
    stroke = {"color": colour(tint), "width": 1.8, "dash": dash(tint)}
    return {"type": "scatter", "mode": "lines", "name": label(run.name), "x": x, "y": y, "line": stroke}


def _small(name: str, data: list[dict[str, Any]], y: dict[str, Any]) -> Figure:
    return {"id": name, "data": data, "layout": layout(220, xaxis=axis("epoch", rangemode="tozero"), yaxis=y)}


def principal_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two principal components of `points` [n, D] → ([n, 2], [2] shares of the variance).

    Each axis points where its largest coefficient is positive, so that the same points give the same map.
    """
    centred = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    energy = sizes**2
    flat = centred @ axes.T
    share = energy[:2] / max(float(energy.sum()), np.finfo(float).tiny)
    missing = 2 - flat.shape[1]
    return np.pad(flat, ((0, 0), (0, missing))), np.pad(share, (0, missing))


def map_figure(run: Run) -> tuple[Figure, int] | None:
    """(figure, speakers shown): length-normalised embeddings of the speakers with most utterances, in 2-D."""
    if run.scores is None or run.scores.embeddings.ndim != 2:
        return None
    embeddings = run.scores.embeddings.astype(np.float64)
    length = np.linalg.norm(embeddings, axis=1)
    usable = np.isfinite(length) & (length > 0)
    who = run.scores.speakers.astype(str)
    most = sorted(Counter(who[usable].tolist()).items(), key=lambda item: (-item[1], item[0]))[:MOST_SPEAKERS]
    shown = sorted(name for name, _ in most)
    rows = [np.flatnonzero(usable & (who == name))[:MOST_UTTERANCES] for name in shown]
    if sum(map(len, rows)) < 3:
        return None
    every = np.concatenate(rows)
    flat, share = principal_plane(embeddings[every] / length[every, None])
    flat = flat.round(4)
    data: list[dict[str, Any]] = []
    centres: list[list[float]] = []
    start = 0
    for k, (name, own) in enumerate(zip(shown, rows, strict=True)):
        points = flat[start : start + len(own)]
        start += len(own)
        marker = {
            "color": colour(k), "symbol": SYMBOLS[k // 7 % len(SYMBOLS)], "size": 8, "opacity": 0.75,
            "line": {"width": 0.5, "color": "@card"},
        }  # fmt: skip
        centre = np.median(points, axis=0).round(4).tolist()
        centres.append(centre)
        x, y = ([v for one in points[:, j].tolist() for v in (one, centre[j], None)] for j in (0, 1))
        data.append(
            {
                "type": "scatter", "mode": "lines", "x": x, "y": y, "opacity": 0.35,
                "line": {"color": colour(k), "width": 1}, "hoverinfo": "skip",
            }
        )  # fmt: skip
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": label(name, 40), "marker": marker,
                "x": points[:, 0].tolist(), "y": points[:, 1].tolist(), "hovertemplate": "one utterance",
            }
        )  # fmt: skip
    data.append(
        {
            "type": "scatter", "mode": "text", "x": [x for x, _ in centres], "y": [y for _, y in centres],
            "text": [label(name, 14) for name in shown], "hoverinfo": "skip", "textposition": "top center",
            "textfont": {"color": "@ink", "size": 11},
        }
    )  # fmt: skip
    bare: dict[str, Any] = {"showticklabels": False, "ticks": "", "showgrid": False}
    titles = [f"component {k + 1} ({part:.0%} of the variance)" for k, part in enumerate(share)]
    return {
        "id": "plot-map",
        "data": data,
        "layout": layout(
            520, xaxis=axis(titles[0], **bare),
            yaxis=axis(titles[1], **bare),
        ),
    }, len(shown)  # fmt: skip
