"""Losses the way textbooks write them: slow, obvious, and wrong where a softmax rounds to 0 or 1.

They compute in the dtype they are given, so that the tests and the benchmarks can hold our own error
against theirs. `exact_kd` is the truth: the same formulas in decimals of 200 digits.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import NamedTuple

import torch
from torch import Tensor


def naive_aam(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """Through the angle itself: cos(arccos c + m)."""
    angles = cosines.arccos()
    moved = torch.where(angles < math.pi - margin, (angles + margin).cos(), cosines - (1 - math.cos(margin)))
    is_target = torch.nn.functional.one_hot(labels.long(), cosines.shape[1]).bool()
    return scale * torch.where(is_target, moved, cosines)


def naive_label_kd(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    q, p = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    return temperature**2 * (p * (p.log() - q.log())).sum(1)


def naive_target_kd(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    rows = torch.arange(len(labels))
    q = (student / temperature).softmax(1)[rows, labels]
    p = (teacher / temperature).softmax(1)[rows, labels]
    return temperature**2 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())


def naive_non_target_kd(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """With the target column cut out of both matrices."""
    batch, classes = student.shape
    others = ~torch.nn.functional.one_hot(labels.long(), classes).bool()
    z, t = student[others].view(batch, classes - 1), teacher[others].view(batch, classes - 1)
    return naive_label_kd(z, t, labels, temperature=temperature)


class ExactKD(NamedTuple):
    """One row of `exact_kd`."""

    target: float
    non_target: float
    label: float
    p_target: float


def exact_kd(student: Tensor, teacher: Tensor, label: int, *, temperature: float = 1.0) -> ExactKD:
    """All three losses of one row [C], with 200 digits."""
    with localcontext() as context:
        context.prec = 200
        tau = Decimal(temperature)
        q, p = (
            _normalise([(Decimal(x) / tau).exp() for x in logits.tolist()]) for logits in (student, teacher)
        )
        binary = _divergence([p[label], 1 - p[label]], [q[label], 1 - q[label]])
        others = _divergence(_normalise(_without(p, label)), _normalise(_without(q, label)))
        parts = (tau**2 * binary, tau**2 * others, tau**2 * _divergence(p, q), p[label])
        return ExactKD(*(float(part) for part in parts))


def _normalise(masses: list[Decimal]) -> list[Decimal]:
    total = sum(masses, Decimal(0))
    return [mass / total for mass in masses]


def _without(masses: list[Decimal], index: int) -> list[Decimal]:
    return masses[:index] + masses[index + 1 :]


def _divergence(p: list[Decimal], q: list[Decimal]) -> Decimal:
    return sum((a * (a / b).ln() for a, b in zip(p, q, strict=True)), Decimal(0))


def naive_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.stack([1 - s @ t / (s.norm() * t.norm()) for s, t in zip(student, teacher, strict=True)])


def naive_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square of the error over mean square of the teacher."""
    return torch.stack([((s - t) ** 2).mean() / (t**2).mean() for s, t in zip(student, teacher, strict=True)])
