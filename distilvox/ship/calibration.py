"""What a score means: its log-likelihood ratio, and the thresholds for a false-accept rate and a duration.

The part of a calibration that ships on the card: plain numbers, read without torch. `calibrating` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from distilvox.errors import UserError, require

DURATIONS = ((1.0, 1.5), (2.0, 2.5), (3.0, 4.0), (5.0, 6.0))
"""(nominal, below): a recording shorter than the second is judged as one of the first many seconds. Else: longer."""

LONGER = None
"""The nominal duration of all others."""

RATES = (0.01, 0.001, 0.0001)
"""Shares of false accepts that thresholds are set for."""

FEATURES = ("score", "score_shorter", "shorter", "longer")
"""The score; the score times ln(seconds of the shorter recording / 3); that logarithm; the longer's logarithm."""

MIDDLE_SECONDS, MOST_SECONDS = 3.0, 8.0
"""Seconds at which the logarithms are 0, and beyond which more speech tells nothing more."""


@dataclass(frozen=True)
class Threshold:
    """The threshold for one duration and one rate, or why there is none.

    Args:
        seconds: nominal, of the shorter recording; None: longer than all stated ones.
        rate: share of false accepts asked for.
        threshold: scores above it accept; None where the trials do not support one.
        false_accept, miss: shares found on speakers that did not set it; None where not measured.
        low, high: ends of the 95 % interval of `false_accept` over speakers.
        trials: non-target trials of this duration that it was set on. speakers: how many people are in them.
        note: why there is none; else empty.
    """

    seconds: float | None
    rate: float
    threshold: float | None
    false_accept: float | None = None
    miss: float | None = None
    low: float | None = None
    high: float | None = None
    trials: int = 0
    speakers: int = 0
    note: str = ""

    def __str__(self) -> str:
        what = duration_name(self.seconds)
        if self.threshold is None:
            return f"{what:<12} {self.rate:>7.2%}  none: {self.note}"
        found = ""
        if self.false_accept is not None and self.miss is not None:
            found = f"  found {self.false_accept:.3%} false accepts"
            found += f" ({self.low:.3%} to {self.high:.3%})" if self.low is not None else ""
            found += f", {self.miss:.1%} misses"
        return f"{what:<12} {self.rate:>7.2%}  {self.threshold:7.4f}{found}"


@dataclass(frozen=True)
class Calibration:
    """What scores of one model mean.

    Args:
        weights: of `FEATURES`, and "offset": their sum is a natural log-likelihood ratio.
        thresholds: for each duration and rate.
        fitted_on, judged_on: names of the trial lists; equal where halves of the speakers judged each other.
        trials, target_trials, speakers: what it was fitted on.
        cllr, min_cllr: of the judged trials, bits; None where not measured.
    """

    weights: Mapping[str, float]
    thresholds: tuple[Threshold, ...]
    fitted_on: str
    judged_on: str
    trials: int
    target_trials: int
    speakers: int
    cllr: float | None = None
    min_cllr: float | None = None

    def __post_init__(self) -> None:
        names = {*FEATURES, "offset"}
        good = self.weights.keys() == names and all(math.isfinite(w) for w in self.weights.values())
        require(
            good,
            "calibration: weights must be finite",
            got=dict(self.weights),
            allowed=", ".join(sorted(names)),
        )

    def llr(self, score: float, seconds: tuple[float, float] | None = None) -> float:
        """Natural log-likelihood ratio of "same speaker" to "different speakers".

        Args:
            score: cosine.
            seconds: of sound in the two recordings; None where unknown: as if both had many.
        """
        shorter, longer = sorted(seconds or (MOST_SECONDS, MOST_SECONDS))
        row = features(np.array([score]), np.array([shorter]), np.array([longer]))[0]
        weights = np.array([self.weights[name] for name in FEATURES])
        return float(row @ weights) + self.weights["offset"]

    def threshold_for(self, seconds: float, rate: float) -> Threshold:
        """The threshold for a recording of so many seconds of sound (the shorter of two).

        Raises:
            UserError: thresholds were set for other rates.
        """
        nominal = nominal_of(seconds)
        found = [one for one in self.thresholds if one.seconds == nominal and math.isclose(one.rate, rate)]
        if not found:
            rates = sorted({one.rate for one in self.thresholds}, reverse=True)
            raise UserError(
                "no thresholds were set for this false-accept rate",
                got=f"{rate:g}",
                allowed=", ".join(f"{one:g}" for one in rates),
                remedy="give one of these, or a threshold of your own",
            )
        return found[0]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "weights": dict(self.weights),
            "thresholds": [asdict(t) for t in self.thresholds],
        }

    @classmethod
    def from_json(cls, value: Any) -> Calibration:
        """What `to_json` wrote.

        Raises:
            UserError: fields are missing or of another kind.
        """
        try:
            held = {item.name: value[item.name] for item in fields(cls)}
            held["thresholds"] = tuple(Threshold(**one) for one in held["thresholds"])
            held["weights"] = {name: float(weight) for name, weight in held["weights"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                "this calibration is damaged", got=repr(error), remedy="calibrate again"
            ) from None
        return cls(**held)


def features(scores: np.ndarray, shorter: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """[n, 4], in the order of `FEATURES`, from scores and seconds of sound of both recordings, [n] each."""
    less, more = (np.log(np.clip(x, 0.3, MOST_SECONDS) / MIDDLE_SECONDS) for x in (shorter, longer))
    return np.stack([scores, scores * less, less, more], axis=1)


def nominal_of(seconds: float) -> float | None:
    """The nominal duration of a recording of so many seconds of sound.

    >>> [nominal_of(s) for s in (0.7, 1.6, 3.9, 5.0, 60.0)]
    [1.0, 2.0, 3.0, 5.0, None]
    """
    return next((nominal for nominal, below in DURATIONS if seconds < below), LONGER)


def duration_name(seconds: float | None) -> str:
    """
    >>> duration_name(3.0), duration_name(None)
    ('3 s', '6 s or more')
    """
    return f"{DURATIONS[-1][1]:g} s or more" if seconds is None else f"{seconds:g} s"


def probability(llr: float) -> float:
    """Of "same speaker", at even odds."""
    return 0.5 * (1 + math.tanh(llr / 2))
