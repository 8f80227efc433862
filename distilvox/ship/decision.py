"""The outcome of one verification, with everything that an honest reader must know beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from distilvox.ship.card import OperatingPoint


@dataclass(frozen=True)
class Decision:
    """A score, and whether it accepts the claim that two recordings are of one speaker.

    Args:
        score: cosine of the two embeddings, in [-1, 1].
        threshold: scores above it accept; None where the model has none.
        accept: None where there is no threshold.
        false_accept_target: the rate that the threshold was set for, a fraction; None where unknown.
        false_accept, miss: the shares of false claims accepted and of true claims rejected, measured on
            speakers that did not set the threshold; None where unknown.
        trial_list: the trials on which the threshold was set.
        trials: how many there were.
        note: what limits the decision, in plain words; may be empty.
    """

    score: float
    threshold: float | None
    accept: bool | None
    false_accept_target: float | None
    false_accept: float | None
    miss: float | None
    trial_list: str | None
    trials: int | None
    note: str

    def __str__(self) -> str:
        lines = []
        if self.accept is None or self.threshold is None:
            lines.append(f"undecided: the score is {self.score:.4f}, and there is no threshold")
        elif self.accept:
            lines.append(f"accepted: the score {self.score:.4f} is above the threshold {self.threshold:.4f}")
        else:
            lines.append(
                f"rejected: the score {self.score:.4f} is not above the threshold {self.threshold:.4f}"
            )
        if self.false_accept_target is not None:
            lines.append(
                f"  threshold set for a false-accept rate of {percent(self.false_accept_target)}"
                f" on {self.trials:,} trials of {printable(self.trial_list or '')}"
            )
        if self.false_accept is not None and self.miss is not None:
            lines.append(
                f"  on speakers that had no part in setting it: {percent(self.false_accept)} of false claims"
                f" accepted, {percent(self.miss)} of true claims rejected"
            )
        if self.note:
            lines.append(f"  note: {printable(self.note)}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """One line of JSON with all fields."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)


def decide(score: float, point: OperatingPoint | None, threshold: float | None, precision: str) -> Decision:
    """The decision for one score: by `threshold` if given, else by the operating point of the model."""
    if threshold is not None:
        note = "the threshold was given by hand: which false-accept rate it has was not measured"
        return Decision(score, threshold, score > threshold, None, None, None, None, None, note)
    if point is None:
        note = (
            "this model was exported without a calibrated threshold, and a score alone decides nothing; "
            "evaluate it on trials like yours and export again, or give a threshold of your own"
        )
        return Decision(score, None, None, None, None, None, None, None, note)
    notes = [point.doubt] if point.doubt else []
    if precision != "float32":
        notes.append(f"the threshold was set on float32 scores, this score is from {precision}")
    return Decision(
        score,
        point.threshold,
        score > point.threshold,
        point.false_accept_target,
        point.false_accept,
        point.miss,
        point.trial_list,
        point.trials,
        "; ".join(notes),
    )


def percent(rate: float) -> str:
    """A fraction as a percentage with three significant digits.

    >>> percent(0.01), percent(0.000123), percent(0.0)
    ('1 %', '0.0123 %', '0 %')
    """
    return f"{rate * 100:.3g} %"


def printable(text: str) -> str:
    """Text from data for a terminal: without control characters and line ends."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
