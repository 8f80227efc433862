"""Error rates by trying every threshold: slow and obvious."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def det_points(scores: np.ndarray, labels: np.ndarray) -> list[tuple[float, float, float]]:
    """(p_miss, p_fa, threshold) at every threshold that can matter; accepted means score > threshold."""
    target, other = scores[labels.astype(bool)], scores[~labels.astype(bool)]
    points = []
    for threshold in [-np.inf, *sorted(set(scores.tolist()))]:
        missed = sum(1 for score in target if not score > threshold)
        accepted = sum(1 for score in other if score > threshold)
        points.append((missed / len(target), accepted / len(other), threshold))
    return points


def eer(scores: np.ndarray, labels: np.ndarray) -> float:
    """Walks along the curve until misses catch up with false accepts, then solves for the meeting point."""
    points = det_points(scores, labels)
    for (miss0, fa0, _), (miss1, fa1, _) in pairwise(points):
        if miss1 >= fa1:
            # miss0 + s (miss1 - miss0) = fa0 + s (fa1 - fa0)
            s = (fa0 - miss0) / ((miss1 - miss0) - (fa1 - fa0))
            return miss0 + s * (miss1 - miss0)
    raise AssertionError("the last point rejects everything")


def min_dcf(scores: np.ndarray, labels: np.ndarray, p_target: float, c_miss: float, c_fa: float) -> float:
    costs = [
        c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
        for p_miss, p_fa, _ in det_points(scores, labels)
    ]
    return min(costs) / min(c_miss * p_target, c_fa * (1 - p_target))


def replicate(
    scores: np.ndarray, labels: np.ndarray, enrol: np.ndarray, test: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The trials of one bootstrap replicate, written out.

    `drawn` lists the speakers drawn, with repeats. Each drawn speaker meets each other drawn speaker in all
    their non-target trials, and itself in its target trials; copies of one speaker do not meet.
    """
    kept_scores, kept_labels = [], []
    for score, label, a, b in zip(scores, labels, enrol, test, strict=True):
        for first_place, first in enumerate(drawn):
            for second_place, second in enumerate(drawn):
                same_place = first_place == second_place
                if first == a and second == b and (same_place if label else not same_place):
                    kept_scores.append(score)
                    kept_labels.append(label)
    return np.array(kept_scores), np.array(kept_labels)
