"""How much of the teacher is in a student, seen on speakers that neither was trained on: three figures.

    cosine            are the embeddings the same up to a rotation?
    rank_correlation  do both rank the trials alike?
    neighbours        do both find the same utterances nearest to a given one?

None of them asks whether student or teacher is right: two models can agree on their mistakes. All three are blind
to a rotation of either space and to the length of embeddings, as is the cosine that verifies; and all three compare
spaces of different sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import spearmanr

from distilvox.errors import require
from distilvox.evaluation.score import cosine_scores, unit_rows

NEIGHBOURS = 10
QUERIES = 2000
"""Utterances whose neighbours are compared, evenly spread over the list; their neighbours may be any."""

BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class Agreement:
    """Of a student with a teacher.

    Attributes:
        cosine: in [-1, 1], after alignment; about 0 for unrelated models.
        rank_correlation: in [-1, 1], Spearman's, of the trials' scores; about 0 for unrelated models.
        neighbours: in [0, 1], what the two lists of nearest neighbours share.
        neighbours_by_chance: what they would share if one were drawn at random.
    """

    cosine: float
    rank_correlation: float
    neighbours: float
    neighbours_by_chance: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def render(self) -> str:
        """In one line."""
        return (
            f"cosine {self.cosine:.3f} once aligned, scores' rank correlation {self.rank_correlation:.3f}, "
            f"{self.neighbours:.0%} of nearest neighbours ({self.neighbours_by_chance:.0%} by chance)"
        )


def agreement(
    student: Float[np.ndarray, "U D"],
    teacher: Float[np.ndarray, "_ E"],
    *,
    enrol: np.ndarray,
    test: np.ndarray,
    speakers: Sequence[object] | np.ndarray,
) -> Agreement:
    """All three figures.

    Args:
        student, teacher: embeddings [U, ·] of the same utterances, of any sizes and lengths.
        enrol, test: integers [n], the trials' sides as rows of the embeddings.
        speakers: [U] of each utterance, at least two.

    Raises:
        UserError: not the same utterances, fewer than two speakers or trials, a zero or non-finite embedding.
    """
    require(
        len(student) == len(teacher) == len(speakers),
        "student and teacher are compared on the same utterances",
        got=f"{len(student)} embeddings of the student, {len(teacher)} of the teacher, {len(speakers)} speakers",
    )
    return Agreement(
        cosine=aligned_cosine(student, teacher, speakers),
        rank_correlation=rank_correlation(student, teacher, enrol, test),
        neighbours=shared_neighbours(student, teacher),
        neighbours_by_chance=min(NEIGHBOURS, len(student) - 1) / (len(student) - 1),
    )


def aligned_cosine(
    student: Float[np.ndarray, "U D"],
    teacher: Float[np.ndarray, "U E"],
    speakers: Sequence[object] | np.ndarray,
) -> float:
    """The mean cosine between the teacher's embedding and the student's, rotated into the teacher's space.

    The rotation (orthogonal Procrustes; between sizes, the isometry of the smaller space into the larger) is found
    on half of the speakers and judged on the other half, both ways. It is found between unit embeddings less their
    mean over the speakers that it is found on: without that, a cone that all speakers share would look like
    agreement. Every second speaker by name makes a half.

    A rotated copy gives 1 where each half's embeddings span the space: with fewer utterances than dimensions it
    stays below.

    Source: Schönemann, *A Generalized Solution of the Orthogonal Procrustes Problem*, Psychometrika 1966.
    """
    names, number = np.unique(np.asarray(speakers), return_inverse=True)
    require(
        len(names) >= 2, "alignment needs speakers to fit and others to judge", got=f"{len(names)} speaker"
    )
    ours, theirs = unit_rows(student), unit_rows(teacher)
    cosines = np.empty(len(ours))
    for half in (0, 1):
        held_out = number % 2 == half
        cosines[held_out] = _aligned(ours, theirs, ~held_out, held_out)
    return float(cosines.mean())


def _aligned(
    ours: Float[np.ndarray, "U D"],
    theirs: Float[np.ndarray, "U E"],
    fit: Bool[np.ndarray, " U"],
    held_out: Bool[np.ndarray, " U"],
) -> Float[np.ndarray, " H"]:
    """Cosines of the held-out rows under the rotation found on the others; 0 for a row without direction."""
    x, y = ours - ours[fit].mean(axis=0), theirs - theirs[fit].mean(axis=0)
    left, _, right = np.linalg.svd(x[fit].T @ y[fit], full_matrices=False)
    x, y = x[held_out] @ left @ right, y[held_out]
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    dots = np.einsum("hd,hd->h", x, y)
    return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


def rank_correlation(
    student: Float[np.ndarray, "U D"], teacher: Float[np.ndarray, "U E"], enrol: np.ndarray, test: np.ndarray
) -> float:
    """Spearman's correlation of the trials' raw cosines; 0 where all scores of one side are equal."""
    require(len(enrol) >= 2, "a rank correlation needs at least two trials", got=len(enrol))
    ours, theirs = cosine_scores(student, enrol, test), cosine_scores(teacher, enrol, test)
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(spearmanr(ours, theirs).statistic)


def shared_neighbours(
    student: Float[np.ndarray, "U D"], teacher: Float[np.ndarray, "U E"], *, top: int = NEIGHBOURS
) -> float:
    """How many of an utterance's `top` nearest others, by cosine, are the same for both: the mean share.

    Utterances of its own speaker are among them. Of a list longer than `QUERIES`, that many are asked for.
    """
    rows = len(student)
    require(rows >= 2, "neighbours need at least two utterances", got=rows)
    spaces, top = (unit_rows(student), unit_rows(teacher)), min(top, rows - 1)
    queries = np.linspace(0, rows - 1, min(rows, QUERIES)).astype(np.int64)
    step, shared = max(1, BLOCK_VALUES // rows), 0
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        ours, theirs = (_nearest(space, some, top) for space in spaces)
        shared += int((ours & theirs).sum())
    return shared / (top * len(queries))


def _nearest(units: Float[np.ndarray, "U D"], queries: np.ndarray, top: int) -> Bool[np.ndarray, "Q U"]:
    """Which `top` rows are nearest to each query, itself left out."""
    scores = units[queries] @ units.T
    scores[np.arange(len(queries)), queries] = -np.inf
    found = np.argpartition(scores, len(units) - top, axis=1)[:, len(units) - top :]
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, found, True, axis=1)
    return chosen
