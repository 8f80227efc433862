"""Student–teacher agreement by plain loops over utterances."""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes


def slow_shared_neighbours(student: np.ndarray, teacher: np.ndarray, top: int) -> float:
    shares = []
    for k in range(len(student)):
        found = []
        for rows in (student, teacher):
            others = [j for j in range(len(rows)) if j != k]
            others.sort(key=lambda j: -_cosine(rows[k], rows[j]))
            found.append(set(others[:top]))
        shares.append(len(found[0] & found[1]) / top)
    return float(np.mean(shares))


def slow_rank_correlation(student: np.ndarray, teacher: np.ndarray, pairs: list[tuple[int, int]]) -> float:
    """Pearson's correlation of ranks; no two scores may be equal."""
    ranks = []
    for rows in (student, teacher):
        scores = [_cosine(rows[i], rows[j]) for i, j in pairs]
        ranks.append([sorted(scores).index(score) for score in scores])
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def slow_aligned_cosine(student: np.ndarray, teacher: np.ndarray, speakers: list[str]) -> float:
    """By SciPy's Procrustes, which knows spaces of one size only."""
    halves = [sorted(set(speakers))[k::2] for k in (0, 1)]
    cosines = []
    for fit, held_out in (halves, halves[::-1]):
        a, b = ([k for k, name in enumerate(speakers) if name in half] for half in (fit, held_out))
        x, y = (np.stack([row / np.linalg.norm(row) for row in rows]) for rows in (student, teacher))
        x, y = x - x[a].mean(0), y - y[a].mean(0)
        rotation, _ = orthogonal_procrustes(x[a], y[a])
        cosines += [_cosine(x[k] @ rotation, y[k]) for k in b]
    return float(np.mean(cosines))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
