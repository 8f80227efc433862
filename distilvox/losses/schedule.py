"""A weight's course over training: from one value to another between two epochs, constant before and after."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from distilvox.errors import UserError, require
from distilvox.losses.checks import Number

FORM = "START:END@EPOCHS, for instance 0.99:0.7@10, or START:END@FIRST-LAST, for instance 1:0.05@10-60~0.001"

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COURSE = re.compile(
    rf"(?P<start>{_NUMBER}):(?P<end>{_NUMBER})@(?:(?P<first>[\d.]+)-)?(?P<last>[\d.]+)(?:~(?P<curve>{_NUMBER}))?"
)


@dataclass(frozen=True)
class Course:
    """From `start` to `end` between two epochs.

    Args:
        start: the value up to epoch `first`.
        end: the value from epoch `epochs` on.
        epochs: the epoch, counted from 0 and fractional, at which `end` is reached; > first.
        first: the epoch at which the value leaves `start`; >= 0.
        curve: in (0, 1]. 1 goes in a straight line. Below 1, what is left to go falls geometrically towards
            `curve` of the whole way (and that, too, is gone at `epochs`): the smaller, the earlier.

    >>> fall = Course(1.0, 0.5, epochs=10)
    >>> [fall.at(epoch) for epoch in (0, 5, 10, 99)]
    [1.0, 0.75, 0.5, 0.5]
    """

    start: Number
    end: Number
    epochs: Number
    first: Number = 0.0
    curve: Number = 1.0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            require(
                math.isfinite(value), f"the {name} of a course must be finite", got=value, allowed="a number"
            )
        require(
            0 <= self.first < self.epochs < math.inf,
            "a course must end after it begins",
            got=f"from epoch {self.first:g} to epoch {self.epochs:g}",
            allowed="0 <= first < last, finite",
        )
        require(0 < self.curve <= 1, "curve is out of range", got=self.curve, allowed="0 < curve <= 1")

    def at(self, epoch: Number) -> float:
        """The value at an epoch, fractional ones included; exactly `start` and `end` outside the course."""
        if epoch <= self.first:
            return float(self.start)
        if epoch >= self.epochs:
            return float(self.end)
        way = (epoch - self.first) / (self.epochs - self.first)
        if self.curve < 1:
            way = (1 - self.curve**way) / (1 - self.curve)
        return self.start + (self.end - self.start) * way


def parse_course(name: str, text: str) -> Course:
    """Reads a course; `name` says in errors whose it is.

    >>> parse_course("cutoff", "0.99:0.7@10")
    Course(start=0.99, end=0.7, epochs=10.0, first=0.0, curve=1.0)

    Raises:
        UserError: the text has not the form `START:END@EPOCHS`, or its numbers make no course.
    """
    found = _COURSE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"the course of {name} cannot be read", got=repr(text), allowed=FORM)
    try:
        numbers = {part: float(value) for part, value in found.groupdict().items() if value is not None}
    except ValueError:
        raise UserError(f"the course of {name} cannot be read", got=repr(text), allowed=FORM) from None
    numbers["epochs"] = numbers.pop("last")
    try:
        return Course(**numbers)
    except UserError as error:
        raise UserError(
            f"the course of {name}: {error.what}", got=f"{text!r}: {error.got}", allowed=error.allowed
        ) from None
