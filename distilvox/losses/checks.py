"""What every loss checks at its door, and the precision it computes in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distilvox.errors import require

Number = float | int
"""A real number in an annotation: a plain `float` refuses 2 where types are checked at run time."""


def precise(values: Tensor) -> Tensor:
    """The same values in float32; float64 stays float64."""
    return values if values.dtype == torch.float64 else values.float()


def check_range(name: str, value: Number, low: Number, high: Number, *, low_allowed: bool = False) -> None:
    """Refuses a setting outside low < value < high (low <= value with `low_allowed`); NaN is outside."""
    above = low <= value if low_allowed else low < value
    bounds = f"{low:g} {'<=' if low_allowed else '<'} {name}"
    if high < math.inf:
        bounds += f" < {high:.4g}"
    require(
        above and value < high, f"{name} is out of range", got=value, allowed=f"{bounds}, a finite number"
    )


def check_classification(scores: Tensor, labels: Tensor) -> None:
    """Refuses scores that are not [B, C] with C >= 2, and labels that are not integers [B] in [0, C).

    The range of labels on a GPU is read only under `torch.autograd.set_detect_anomaly(True)`, because
    reading it makes the host wait for the device; without that, indexing stops the run on the device.
    """
    require(scores.ndim == 2, "logits must be a matrix", got=list(scores.shape), allowed="[B, C]")
    batch, classes = scores.shape
    require(
        classes >= 2,
        "a loss over speakers needs at least two of them: with one speaker there is nothing to tell apart",
        got=f"C = {classes}",
        allowed="C >= 2",
    )
    require(
        labels.shape == (batch,) and not labels.is_floating_point() and labels.dtype != torch.bool,
        "labels must be one integer for each row of logits",
        got=f"{list(labels.shape)} {labels.dtype}",
        allowed=f"[{batch}] integers",
    )
    if batch and (labels.device.type == "cpu" or torch.is_anomaly_enabled()):
        low, high = (int(end) for end in labels.aminmax())
        require(
            low >= 0 and high < classes,
            "a label names a speaker that is not in the head",
            got=f"labels from {low} to {high}",
            allowed=f"0 to {classes - 1}",
            remedy="give the loss labels that index the rows of the head it is used with",
        )


def check_pair(what: str, student: Tensor, teacher: Tensor) -> None:
    """Refuses a student's and a teacher's tensor whose shapes differ; `what` names them in the message."""
    require(
        student.shape == teacher.shape,
        f"{what} of student and teacher differ in shape",
        got=f"student {list(student.shape)}, teacher {list(teacher.shape)}",
        allowed="the same shape",
    )
