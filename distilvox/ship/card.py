"""The card of a bundle: what the model is, how good it was measured to be, and what its files must be."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from distilvox.errors import UserError, require
from distilvox.ship.calibration import Calibration
from distilvox.ship.cardfile import check_card
from distilvox.ship.lengths import Lengths

CARD_VERSION = 1
"""Raised when a card changes so that an older distilvox would misread it."""

CARD = "card.json"

MODEL = "model.onnx"
MODEL_INT8 = "model.int8.onnx"
MODEL_FBANK = "model.fbank.onnx"
WEIGHTS = "model.safetensors"
README = "README.md"
FILES = (MODEL, MODEL_INT8, MODEL_FBANK, WEIGHTS, README)
"""Everything a bundle holds beside its card."""

OPTIONAL = {"calibration", "speech"}
"""Fields that a card may lack: they came after the first ones."""

PRECISIONS = {"float32": MODEL, "int8": MODEL_INT8}


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on the cosine, and what it rests on; fields as in `distilvox.evaluation.calibrate`.

    Args:
        threshold: scores above it accept; a cosine in [-1, 1].
        false_accept_target: the share of impostor trials it was set to accept, a fraction in [0, 1].
        trial_list: name of the trial list that it was set on.
        trials: the number of trials in that list, above 0.
        target_trials: how many of them were of one speaker, where known.
        false_accept, miss: the shares measured on speakers that did not set it, where measured.
        how: one sentence on how it was set; may be empty.
    """

    threshold: float
    false_accept_target: float
    trial_list: str
    trials: int
    target_trials: int | None = None
    false_accept: float | None = None
    miss: float | None = None
    how: str = ""

    def __post_init__(self) -> None:
        check(-1, self.threshold, 1, "threshold must be a cosine")
        check(0, self.false_accept_target, 1, "false_accept_target must be a fraction")
        for name in ("false_accept", "miss"):
            if getattr(self, name) is not None:
                check(0, getattr(self, name), 1, f"{name} must be a fraction")
        for name, value, most in (
            ("trials", self.trials, None),
            ("target_trials", self.target_trials, self.trials),
        ):
            require(
                (value is None and name == "target_trials")
                or (type(value) is int and value > 0 and (most is None or value < most)),
                f"operating point: {name} must be a count",
                got=repr(value),
                allowed="1, 2, 3 …" if most is None else "fewer than trials",
            )
        require(
            isinstance(self.trial_list, str) and bool(self.trial_list),
            "operating point: trial_list must name the list that the threshold was set on",
            got=repr(self.trial_list),
        )

    @property
    def doubt(self) -> str:
        """Why the false-accept rate should not be trusted far, or an empty string.

        Below 30 errors the true rate may well differ by more than 30 % (Doddington et al., "The NIST
        speaker recognition evaluation", Speech Communication 31, 2000).
        """
        errors = self.false_accept_target * (self.trials - (self.target_trials or 0))
        if errors >= 30:
            return ""
        return f"the threshold rests on about {errors:.3g} false accepts; below 30 the rate is a rough guess"

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> OperatingPoint:
        """From a mapping with at least the four fields that have no default; unknown keys stay out."""
        needed = ("threshold", "false_accept_target", "trial_list", "trials")
        missing = [name for name in needed if name not in value]
        require(
            not missing,
            f"operating point: without {', '.join(missing)}",
            got=", ".join(sorted(value)) or "nothing",
            allowed="at least " + ", ".join(needed),
            remedy="a threshold ships only with the rate and the trials that it rests on",
        )
        return cls(**{item.name: value[item.name] for item in fields(cls) if item.name in value})


@dataclass(frozen=True)
class Card:
    """Everything `card.json` says; see the fields. Rates are fractions, lengths in seconds.

    Args:
        model: name, config, parameters, embedding_dim.
        space: id of the embedding space; embeddings of different spaces must not be compared.
        training: corpus, number of speakers, views and schedule of the run.
        teacher: uri and id, or None.
        objective: the loss that the student was trained with.
        metrics: an evaluation with its confidence intervals, or None where there was none.
        operating_point: the calibrated threshold, or None.
        parity: how far the ONNX files are from PyTorch, at which lengths.
        int8: how model.int8.onnx was made and how far it is from float32.
        files: name → sha256 and bytes, for each of `FILES`.
        distilvox: the version that wrote the bundle.
        calibration: what scores mean, for each duration; None where none was made.
        speech: of each precision, how long embeddings of speech are; without those where none was at hand.
    """

    model: dict[str, Any]
    space: str
    training: dict[str, Any]
    teacher: dict[str, Any] | None
    objective: dict[str, Any]
    metrics: dict[str, Any] | None
    operating_point: OperatingPoint | None
    parity: dict[str, Any]
    int8: dict[str, Any]
    distilvox: str
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: Calibration | None = None
    speech: dict[str, Lengths] = field(default_factory=dict)

    def space_of(self, precision: str) -> str:
        """The embedding space of one precision: int8 moves embeddings, so it has its own."""
        return self.space if precision == "float32" else f"{self.space}-{precision}"

    @property
    def calibration_id(self) -> str:
        """16 hex digits over what decisions rest on: equal only where the same score decides the same."""
        rests_on = asdict(self)["operating_point"], self.to_json()["calibration"]
        return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        meaning = None if self.calibration is None else self.calibration.to_json()
        return {"version": CARD_VERSION, **asdict(self), "calibration": meaning}

    @classmethod
    def from_json(cls, value: Any, where: str) -> Card:
        """Checks version and fields; `where` names the file in messages."""
        damaged = f"this bundle card is damaged: {where}"
        if not isinstance(value, dict) or type(value.get("version")) is not int:
            raise UserError(damaged, got="no version number", remedy="export the run again")
        if value["version"] != CARD_VERSION:
            raise UserError(
                f"this bundle has another version than this distilvox reads: {where}",
                got=f"version {value['version']}, written by distilvox {value.get('distilvox', 'unknown')}",
                allowed=f"version {CARD_VERSION}",
                remedy="update distilvox" if value["version"] > CARD_VERSION else "export the run again",
            )
        known = {item.name for item in fields(cls)}
        missing = sorted(known - set(value) - OPTIONAL)
        if missing:
            raise UserError(damaged, got=f"without {', '.join(missing)}", remedy="export the run again")
        check_card(value, where)
        content = {name: value[name] for name in known if name in value}
        if content.get("calibration") is not None:
            content["calibration"] = Calibration.from_json(content["calibration"])
        content["speech"] = {name: Lengths(**one) for name, one in content.get("speech", {}).items()}
        point = content["operating_point"]
        content["operating_point"] = None if point is None else OperatingPoint.of(point)
        return cls(**content)


def check(low: float, value: object, high: float, what: str) -> None:
    """Refuses anything but a finite number within [low, high]."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(
        number and isinstance(value, int | float) and low <= value <= high,
        f"operating point: {what}",
        got=repr(value),
        allowed=f"{low} … {high}",
    )
