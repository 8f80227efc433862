"""The outcome of one verification, with everything that an honest reader must know beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace

from distilvox.errors import require
from distilvox.ship.calibration import (
    MOST_SECONDS,
    RATES,
    Calibration,
    Threshold,
    duration_name,
    probability,
)
from distilvox.ship.card import Card, OperatingPoint


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
        llr: natural log-likelihood ratio of "same speaker"; None where the model was not calibrated.
        probability: of "same speaker" if that were as likely as not beforehand; None like `llr`.
        seconds: of sound in the shorter recording; None where unknown. The threshold is the one for it.
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
    llr: float | None = None
    probability: float | None = None
    seconds: float | None = None

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
        if self.llr is not None and self.probability is not None:
            lines.append(
                f"  log-likelihood ratio {self.llr:+.2f}: with even odds beforehand, one speaker has"
                f" a probability of {self.probability:.1%}"
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


def decide_voices(
    card: Card,
    score: float,
    seconds: tuple[float | None, float | None],
    threshold: float | None,
    precision: str,
    false_accept: float | None = None,
) -> Decision:
    """The decision for one score by what the card says of recordings that long: calibration and thresholds.

    Args:
        card: of the model.
        score: cosine.
        seconds: of sound in the two recordings; None where unknown.
        threshold: given by hand, instead.
        precision: of the model that made the score.
        false_accept: the rate that the threshold is to be set for; None: the card's own, or 1 %.

    Raises:
        UserError: no threshold of the card was set for this rate.
    """
    calibration, point = card.calibration, card.operating_point
    known = (seconds[0], seconds[1]) if seconds[0] is not None and seconds[1] is not None else None
    shorter = None if known is None else min(known)
    rate = false_accept or (point.false_accept_target if point else RATES[0])
    if calibration is None:
        require(
            false_accept is None or (point is not None and math.isclose(rate, point.false_accept_target)),
            "the model has no threshold for this false-accept rate",
            got=false_accept,
            allowed=f"{point.false_accept_target:g}"
            if point
            else "none: it was exported without a threshold",
            remedy="calibrate it: distilvox calibrate BUNDLE --pairs LIST --write",
        )
        return decide(score, point, threshold, precision)
    ratio = calibration.llr(score, known)
    found = calibration.threshold_for(MOST_SECONDS if shorter is None else shorter, rate)
    if threshold is None and found.threshold is not None:
        decision = by_threshold(score, found, calibration, precision)
    else:
        usable = point is not None and math.isclose(rate, point.false_accept_target)
        decision = decide(score, point if usable else None, threshold, precision)
        if threshold is None:
            why = f"no threshold for {duration_name(found.seconds)} of sound: {found.note}"
            decision = replace(decision, note="; ".join(filter(None, (why, decision.note))))
    return replace(decision, llr=ratio, probability=probability(ratio), seconds=shorter)


def by_threshold(score: float, found: Threshold, calibration: Calibration, precision: str) -> Decision:
    """The decision by the threshold for a duration."""
    assert found.threshold is not None
    notes = [f"the threshold is the one for {duration_name(found.seconds)} of sound"]
    if precision != "float32":
        notes.append(f"the threshold was set on float32 scores, this score is from {precision}")
    return Decision(
        score=score,
        threshold=found.threshold,
        accept=score > found.threshold,
        false_accept_target=found.rate,
        false_accept=found.false_accept,
        miss=found.miss,
        trial_list=calibration.fitted_on,
        trials=found.trials,
        note="; ".join(notes),
    )


def noted(decision: Decision, *notes: str) -> Decision:
    """The decision with more notes; empty ones say nothing."""
    return replace(decision, note="; ".join(filter(None, (decision.note, *notes))))


def percent(rate: float) -> str:
    """A fraction as a percentage with three significant digits.

    >>> percent(0.01), percent(0.000123), percent(0.0)
    ('1 %', '0.0123 %', '0 %')
    """
    return f"{rate * 100:.3g} %"


def printable(text: str) -> str:
    """Text from data for a terminal: without control characters and line ends."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
