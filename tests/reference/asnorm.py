"""AS-norm written out: one trial at a time, each side against the whole cohort, sorted."""

from __future__ import annotations

import numpy as np


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.sqrt((rows**2).sum(axis=-1, keepdims=True))


def as_norm(
    embeddings: np.ndarray, enrol: np.ndarray, test: np.ndarray, cohort: np.ndarray, top: int
) -> list[float]:
    embeddings, cohort = unit(embeddings), unit(cohort)
    scores = []
    for a, b in zip(enrol, test, strict=True):
        score = embeddings[a] @ embeddings[b]
        total = 0.0
        for side in (embeddings[a], embeddings[b]):
            best = np.sort(cohort @ side)[::-1][:top]
            total += (score - best.mean()) / np.sqrt(((best - best.mean()) ** 2).mean())
        scores.append(float(total / 2))
    return scores
