"""Do several recordings hold one voice? Each is compared with the mean of the others. NumPy only."""

from __future__ import annotations

import numpy as np

from distilvox.errors import require

LOOSEST = 0.5
"""Without a calibrated threshold, a recording fits whose cosine is above this share of the median recording's."""


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., D] brought to length 1, float64.

    Raises:
        UserError: one is zero or not finite.
    """
    wide = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    require(bool(np.isfinite(lengths).all()), "an embedding is not finite")
    require(bool((lengths > 0).all()), "an embedding of zeros has no direction to compare")
    return wide / lengths


def mean_of(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [K, D] of one person → the mean of their directions, float32 [D], of length 1.

    Raises:
        UserError: none at all, or directions that cancel.
    """
    require(len(embeddings) > 0, "a mean needs at least one embedding")
    return unit(unit(embeddings).mean(axis=0)).astype(np.float32)


def fits(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [K, D] → [K] cosine of each with the mean direction of the others; NaN where there are none."""
    if len(embeddings) < 2:
        return np.full(len(embeddings), np.nan)
    rows = unit(embeddings)
    others = rows.sum(axis=0) - rows
    lengths = np.maximum(np.linalg.norm(others, axis=1), np.finfo(np.float64).tiny)
    return np.clip(np.einsum("kd,kd->k", rows, others) / lengths, -1.0, 1.0)


def bound_of(found: np.ndarray, threshold: float | None) -> float | None:
    """The cosine at or below which a recording does not fit: the model's threshold where it has one.

    Without one, `LOOSEST` of the median fit, from three recordings on; of two that differ, either may be wrong.
    """
    if threshold is not None:
        return threshold
    return float(LOOSEST * np.median(found)) if len(found) >= 3 else None
