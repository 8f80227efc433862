"""Would the teacher be better under the other window? A wrong one shows in no shape, but in its EER on trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from distilvox.evaluation.confidence import paired_bootstrap
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.score import cosine_scores
from distilvox.teachers.base import Teacher

OTHER = {"hamming": "povey", "povey": "hamming"}
"""The two that checkpoints are trained with; nothing in their files tells them apart."""


@dataclass(frozen=True)
class OtherWindow:
    """A teacher under its own window and under the other, on the same trials.

    Args:
        window, other: keys of `models.frontend.WINDOWS`.
        eer, other_eer: fractions, raw cosine.
        low, high: the 95 % interval of other_eer - eer, over the speakers of the trials, both systems on the same
            draws; None where the other window is not better in the first place.
    """

    window: str
    other: str
    eer: float
    other_eer: float
    low: float | None
    high: float | None

    @property
    def clearly_better(self) -> bool:
        """Whether the other window is better on nearly any speakers like these."""
        return self.high is not None and self.high < 0

    def advice(self) -> str | None:
        """One sentence where the other window is clearly better."""
        if not self.clearly_better or self.low is None or self.high is None:
            return None
        return (
            f"under a {self.other} window the teacher has {self.other_eer:.2%} EER on the same trials, under its "
            f"{self.window} window {self.eer:.2%} (difference {self.low:+.2%} … {self.high:+.2%}): it was probably "
            f"trained with the other; say ?window={self.other} in its URI, or look up what its makers say"
        )


def twin(teacher: Teacher) -> tuple[Teacher, tuple[str, str]] | None:
    """The teacher under the other window, and the two windows' names.

    None where it has no front end of ours, or neither of the two windows.
    """
    front = teacher.frontend
    if front is None or front.window not in OTHER:
        return None
    other = teacher.under(replace(front, window=OTHER[front.window]))
    return None if other is None else (other, (front.window, OTHER[front.window]))


def compare_windows(
    windows: tuple[str, str], own: Float[np.ndarray, "U D"], theirs: Float[np.ndarray, "U D"], judge: Judge
) -> OtherWindow:
    """Judges a teacher and its twin.

    Args:
        windows: the teacher's, the twin's.
        own, theirs: embeddings of the trials' utterances, in their order.
    """
    first, second = judge.eer(own), judge.eer(theirs)
    low = high = None
    if second < first:
        trials = judge.trials
        scores = [cosine_scores(each, trials.enrol, trials.test) for each in (own, theirs)]
        found = paired_bootstrap(
            scores[:1], scores[1:], trials.labels, judge.enrol_speaker, judge.test_speaker
        )
        low, high = found.low, found.high
    return OtherWindow(*windows, first, second, low, high)
