"""A list of pairs, a model, and the speech → scored trials for each duration that thresholds are set for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from distilvox.errors import require
from distilvox.ship.calibrating import Scored
from distilvox.ship.calibration import DURATIONS
from distilvox.ship.cohesion import unit
from distilvox.ship.quality import first_seconds, measure

LEAST_SAMPLES = 8_000
"""What a model takes at least: half a second."""


def score_pairs(
    name: str,
    enrol: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    speakers: Sequence[object] | np.ndarray | None,
    *,
    read: Callable[[int], np.ndarray],
    embed: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[int], None] | None = None,
) -> Scored:
    """Scores each pair whole against whole, and whole against the first 1, 2, 3 and 5 seconds of sound.

    Args:
        name: of the list.
        enrol, test: int [n], the two recordings of each pair, as numbers from 0.
        labels: bool [n], True where both are of one speaker.
        speakers: of each recording; None: those that pairs say to be of one speaker are, all others are not.
        read: number of a recording → samples float32 [N] at 16 kHz.
        embed: samples [N] → embedding [D].
        progress: called with 1 after each recording.
    """
    count = int(max(enrol.max(), test.max())) + 1
    lengths = (*(nominal for nominal, _ in DURATIONS), None)
    rows: list[list[np.ndarray | None]] = [[] for _ in lengths]
    seconds = np.full((len(lengths), count), np.nan)
    for number in range(count):
        wave = read(number)
        for k, nominal in enumerate(lengths):
            part = wave if nominal is None else first_seconds(wave, nominal)
            if part is None or len(part) < LEAST_SAMPLES:
                rows[k].append(None)
                continue
            rows[k].append(unit(embed(part)))
            seconds[k, number] = measure(part).seconds
        if progress is not None:
            progress(1)
    who = np.asarray(groups(enrol, test, labels, count) if speakers is None else speakers)
    whole = len(lengths) - 1
    parts = []
    for k in range(len(lengths)):
        there = np.array([row is not None for row in rows[k]]) & np.array(
            [row is not None for row in rows[whole]]
        )
        (kept,) = np.nonzero(there[test] & ~np.isnan(seconds[whole, enrol]))
        scores = [float(rows[whole][a] @ rows[k][b]) for a, b in zip(enrol[kept], test[kept], strict=True)]
        sides = np.stack([seconds[whole, enrol[kept]], seconds[k, test[kept]]])
        parts.append(
            (np.array(scores), labels[kept], sides.min(axis=0), sides.max(axis=0), enrol[kept], test[kept])
        )
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    require(len(joined[0]) > 0, f"no pair of {name} could be scored: all recordings are too short")
    return Scored(
        name, joined[0], joined[1].astype(bool), joined[2], joined[3], who[joined[4]], who[joined[5]]
    )


def groups(enrol: np.ndarray, test: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Speakers as far as pairs tell: int [count]; recordings joined by same-speaker pairs have one number."""
    parent = np.arange(count)

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = int(parent[k])
        return k

    for a, b in zip(enrol[labels].tolist(), test[labels].tolist(), strict=True):
        parent[root(a)] = root(b)
    found = np.array([root(k) for k in range(count)])
    wrong = np.flatnonzero((found[enrol] == found[test]) & ~labels)
    require(
        not len(wrong),
        "the pairs contradict each other: some join two recordings that another pair says are of two people",
        got=f"{len(wrong)} pairs, the first is pair {int(wrong[0]) + 1 if len(wrong) else 0}",
    )
    return found
