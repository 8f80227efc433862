"""Adaptive score normalisation: a score against how either side scores with the speakers nearest to it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require
from distilvox.evaluation.score import unit_rows

TOP = 300
"""Cohort speakers that decide, the usual number on VoxCeleb."""

BLOCK_VALUES = 1 << 21
"""Cosines held at a time (16 MiB of float64)."""


def cohort_statistics(
    embeddings: Float[np.ndarray, "U D"],
    cohort: Float[np.ndarray, "K E"],
    *,
    top: int = TOP,
    centre: Float[np.ndarray, " D"] | None = None,
) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, " U"]]:
    """Mean and standard deviation (population) of each embedding's `top` highest cosines with the cohort.

    Args:
        embeddings: [U, D], of any length.
        cohort: [K, D], one embedding a speaker (the mean of the speaker's utterances, say), of speakers
            who are in no trial: training speakers, as a rule.
        top: how many cohort speakers count, 2 to K.
        centre: [D] to take off everything first, as in `cosine_scores`.

    Raises:
        UserError: `top` out of range, another embedding size, a zero or non-finite embedding, an
            embedding whose nearest cohort speakers are all equally near (it cannot be normalised).
    """
    require(
        2 <= top <= len(cohort),
        "AS-norm needs a cohort of at least the speakers that count",
        got=f"top {top} of {len(cohort)} cohort speakers",
        allowed="2 up to the size of the cohort",
        remedy=f"--cohort-top {len(cohort)}, or a cohort of more speakers"
        if len(cohort) > 1
        else "take a larger cohort",
    )
    require(
        embeddings.shape[1] == cohort.shape[1],
        "the embeddings and the cohort differ in size",
        got=f"{embeddings.shape[1]} and {cohort.shape[1]}",
    )
    rows, others = unit_rows(embeddings, centre), unit_rows(cohort, centre).T
    mean, deviation = np.empty(len(rows)), np.empty(len(rows))
    step = max(1, BLOCK_VALUES // others.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        cosines = rows[part] @ others
        cosines.partition(others.shape[1] - top, axis=1)
        nearest = cosines[:, -top:]
        mean[part], deviation[part] = nearest.mean(axis=1), nearest.std(axis=1)
    flat = np.flatnonzero(deviation < np.finfo(np.float64).eps)
    if len(flat):
        raise UserError(
            f"embedding {flat[0]} is equally near to all of its {top} nearest cohort speakers",
            got=f"{len(flat)} such embeddings of {len(rows)}",
            remedy="give a cohort of different speakers",
        )
    return mean, deviation


def as_norm(
    scores: Float[np.ndarray, " n"],
    enrol: np.ndarray,
    test: np.ndarray,
    mean: Float[np.ndarray, " U"],
    deviation: Float[np.ndarray, " U"],
) -> Float[np.ndarray, " n"]:
    """Adaptive symmetric normalisation, float64 [n]: the mean of both sides' standardised scores.

    Unchanged by any increasing affine map of all cosines, those with the cohort included.

    Args:
        scores: of the trials, raw cosines.
        enrol, test: integers [n], rows of the statistics.
        mean, deviation: [U] of `cohort_statistics`.

    Source: Matejka et al., "Analysis of Score Normalization in Multilingual Speaker Recognition",
    Interspeech 2017, §2.5 (as-norm1).
    """
    require(len(scores) == len(enrol) == len(test), "every score needs two sides", got=len(scores))
    scores = np.asarray(scores, dtype=np.float64)
    of_enrol = (scores - mean[enrol]) / deviation[enrol]
    return (of_enrol + (scores - mean[test]) / deviation[test]) / 2


def speaker_means(embeddings: Float[np.ndarray, "U D"], labels: np.ndarray) -> Float[np.ndarray, "K D"]:
    """One cohort embedding a speaker: the mean of its unit embeddings; speakers in the order of labels 0 … K − 1."""
    rows = unit_rows(embeddings)
    counts = np.bincount(labels)
    require(bool(counts.all()), "a cohort speaker has no utterance", got=f"label {int(counts.argmin())}")
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, labels, rows)
    return sums / counts[:, None]
