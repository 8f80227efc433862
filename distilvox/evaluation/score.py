"""Scores of trials: the cosine between two embeddings, in float64."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require

BLOCK_VALUES = 1 << 18
"""Numbers gathered at a time from each side (2 MiB of float64: stays in the cache)."""


def unit_rows(
    embeddings: Float[np.ndarray, "U D"], centre: Float[np.ndarray, " E"] | None = None
) -> Float[np.ndarray, "U D"]:
    """Rows of length 1 in float64, after the centre [D], if any, is taken off.

    Raises:
        UserError: a row is not finite, or zero (after centring): it names the row.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if centre is not None:
        require(
            centre.shape == rows.shape[1:],
            "the centre and the embeddings differ in size",
            got=f"{centre.shape[0]} and {rows.shape[1]}",
        )
        require(bool(np.isfinite(centre).all()), "the centre to take off the embeddings is not finite")
        rows = rows - centre
    # scaled by the largest entry first: the squares of tiny or huge rows would leave float64's range
    largest = np.abs(rows).max(axis=1, keepdims=True) if rows.size else np.ones((len(rows), 1))
    bad = np.flatnonzero(~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)))
    if len(bad):
        kind = "zero" if largest[bad[0], 0] == 0 else "not finite"
        raise UserError(
            f"embedding {bad[0]} is {kind}{'' if centre is None else ' after centring'}: it has no direction",
            got=f"{len(bad)} such rows of {len(rows)}",
            remedy="look at this utterance's audio, or at the model",
        )
    rows = rows / largest
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosine_scores(
    embeddings: Float[np.ndarray, "U D"],
    enrol: np.ndarray,
    test: np.ndarray,
    *,
    centre: Float[np.ndarray, " E"] | None = None,
) -> Float[np.ndarray, " n"]:
    """Cosine of each trial's two embeddings, float64 [n] in [-1, 1].

    Args:
        embeddings: [U, D], of any length.
        enrol, test: integers [n], rows of `embeddings`.
        centre: a mean vector [D] to take off every embedding first (of training speech, never of the
            trials under test).

    Raises:
        UserError: a zero or non-finite embedding (names its row), or an index outside [0, U).
    """
    for side, index in (("an enrol", enrol), ("a test", test)):
        require(
            index.ndim == 1 and (np.issubdtype(index.dtype, np.integer)),
            f"{side} side must be a list of integers",
            got=f"{index.dtype} of shape {index.shape}",
        )
        outside = np.flatnonzero((index < 0) | (index >= len(embeddings)))
        if len(outside):
            raise UserError(
                f"trial {outside[0]} names {side} embedding that is not there",
                got=int(index[outside[0]]),
                allowed=f"0 to {len(embeddings) - 1}",
            )
    require(len(enrol) == len(test), "every trial needs two sides", got=f"{len(enrol)} and {len(test)}")
    rows = unit_rows(embeddings, centre)
    scores = np.empty(len(enrol), dtype=np.float64)
    step = max(1, BLOCK_VALUES // max(1, rows.shape[1]))
    for start in range(0, len(enrol), step):
        part = slice(start, start + step)
        np.einsum("nd,nd->n", rows[enrol[part]], rows[test[part]], out=scores[part])
    return np.clip(scores, -1.0, 1.0, out=scores)
