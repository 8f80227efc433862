"""A map of speakers that no run was trained on: which utterances lie near each other, in two dimensions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from distilvox.report.figures import Figure, axis, label, layout
from distilvox.report.read import Run
from distilvox.report.style import SYMBOLS, colour
from distilvox.report.tsne import tsne

MOST_SPEAKERS = 14
MOST_UTTERANCES = 24
"""Of one speaker on the map."""


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


def map_figure(run: Run) -> tuple[Figure, list[tuple[str, int, float, float]]] | None:
    """The map of the speakers with most utterances, and what its table says of each of them.

    A row of the table: name, utterances, mean cosine between two of its own, mean cosine with those of the others.
    """
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
    units = embeddings[every] / length[every, None]
    flat, _ = principal_plane(units)
    if len(every) > 3:
        flat = tsne(units, flat)
    flat = flat.round(2)
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
    bare: dict[str, Any] = {"showticklabels": False, "ticks": "", "showgrid": False, "showline": False}
    figure = {
        "id": "plot-map",
        "data": data,
        "layout": layout(520, xaxis=axis(**bare), yaxis=axis(**bare)),
    }
    return figure, near_and_far(units, np.repeat(np.arange(len(rows)), [len(own) for own in rows]), shown)


def near_and_far(
    units: np.ndarray, owner: np.ndarray, names: list[str]
) -> list[tuple[str, int, float, float]]:
    """(name, utterances, mean cosine with its other utterances, with those of others) of every speaker.

    Args:
        units: [n, D], of length 1.
        owner: [n], whose each is, as a place in `names`.
    """
    cosines = units @ units.T
    found = []
    for k, name in enumerate(names):
        mine = owner == k
        count = int(mine.sum())
        own = (cosines[np.ix_(mine, mine)].sum() - count) / max(count * (count - 1), 1)
        others = cosines[np.ix_(mine, ~mine)]
        far = float(others.mean()) if others.size else float("nan")
        found.append((name, count, float(own) if count > 1 else float("nan"), far))
    return found
