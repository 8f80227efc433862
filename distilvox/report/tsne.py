"""t-SNE: a map on which points that are near each other in many dimensions stay near each other.

van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008: exact, for some hundred points.
"""

from __future__ import annotations

import numpy as np

STEPS = 350
EARLY = 100
"""Steps that exaggerate the attraction, so that clusters find their place first."""


def affinities(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric probabilities [n, n] of being neighbours, from squared distances [n, n].

    Every point has a Gaussian of its own width: the entropy of its neighbours is log(`perplexity`), found by
    bisection. The sum of all is 1, the diagonal 0.
    """
    n = len(distances)
    own = np.eye(n, dtype=bool)
    shifted = distances - np.where(own, np.inf, distances).min(axis=1, keepdims=True)
    low, high, beta = np.zeros(n), np.full(n, np.inf), np.ones(n)
    for _ in range(50):
        weights = np.where(own, 0.0, np.exp(-np.maximum(shifted, 0.0) * beta[:, None]))
        p = weights / weights.sum(axis=1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), 2 * beta, (low + high) / 2)
    return (p + p.T) / (2 * n)


def tsne(points: np.ndarray, start: np.ndarray, *, perplexity: float = 12.0) -> np.ndarray:
    """Places [n, 2] for points [n, D], 4 ≤ n ≤ about 1,000; the same points give the same map.

    Args:
        points: finite.
        start: first places [n, 2], such as the two principal components; decides how the map is turned.
        perplexity: about how many neighbours each point has; at most a third of the others are taken.
    """
    n = len(points)
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0.0)
    distances /= max(float(np.median(distances)), np.finfo(float).tiny)
    p = affinities(distances, min(perplexity, max((n - 1) / 3, 1.5)))
    places = start / max(float(start.std()), np.finfo(float).tiny) * 1e-2
    # Points that begin in one place would stay in one: a fixed spiral tells them apart.
    angle = np.arange(n) * 2.399963
    places = places + 1e-5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    speed, gain = np.zeros_like(places), np.ones_like(places)
    rate = max(n / 12.0, 10.0)
    for step in range(STEPS):
        squares = (places**2).sum(axis=1)
        near = 1 / (1 + np.maximum(squares[:, None] + squares[None] - 2 * places @ places.T, 0.0))
        np.fill_diagonal(near, 0.0)
        pull = ((12.0 if step < EARLY else 1.0) * p - near / near.sum()) * near
        slope = 4 * (pull.sum(axis=1)[:, None] * places - pull @ places)
        gain = np.where((slope > 0) == (speed > 0), np.maximum(gain * 0.8, 0.01), gain + 0.2)
        speed = (0.5 if step < EARLY else 0.8) * speed - rate * gain * slope
        places = places + speed
        places = places - places.mean(axis=0)
    return places
