"""TSKD + NSKD, forward and backward, beside the formulas as textbooks write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench import Row, median
from distilvox.losses import non_target_kd, target_kd
from tests.reference.losses import naive_non_target_kd, naive_target_kd

BATCH, CLASSES = 256, 5_994
"""A usual batch, and the speakers of VoxCeleb2's training part."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return target_kd(student, teacher, labels) + non_target_kd(student, teacher, labels)


def naive(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return naive_target_kd(student, teacher, labels) + naive_non_target_kd(student, teacher, labels)


def rows() -> list[Row]:
    drawn = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (BATCH,), generator=drawn)
    student, teacher = (16 * 0.1 * torch.randn(BATCH, CLASSES, generator=drawn) for _ in range(2))
    for logits in (student, teacher):
        logits[torch.arange(BATCH), labels] += 8.0  # a cosine of about 0.5, at scale 16
    truth, slope = gradient(naive, student.double(), teacher.double(), labels)
    table = []
    for name, loss in (("loss", ours), ("naive", naive)):
        value, found = gradient(loss, student, teacher, labels)
        table.append((name, float((value - truth).abs().max()), float((found - slope).abs().max())))
    (_, error, slope_error), (_, naive_error, naive_slope_error) = table
    note = (
        f"gradient error {slope_error:.1e}; naive {naive_error:.1e} and {naive_slope_error:.1e}; "
        f"kept for backward {kept(ours, student, teacher, labels):.0f} MB, "
        f"naive {kept(naive, student, teacher, labels):.0f} MB"
    )
    return [
        Row(
            work=f"TSKD + NSKD, forward and backward, B {BATCH}, C {CLASSES:,}, float32",
            baseline="naive formulas",
            seconds=median(lambda: gradient(ours, student, teacher, labels), 7),
            baseline_seconds=median(lambda: gradient(naive, student, teacher, labels), 7),
            error=error,
            of="the same in float64, nats",
            note=note,
        )
    ]


def gradient(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss [B] and, behind a square so that no upstream gradient is 1, its gradient [B, C]."""
    leaf = student.clone().requires_grad_()
    value = loss(leaf, teacher, labels)
    value.square().sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def kept(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> float:
    """MB of different memory that the forward pass keeps for the backward pass, the logits aside."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = student.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(leaf, teacher, labels)
    given = {tensor.untyped_storage().data_ptr() for tensor in (leaf, teacher, labels)}
    assert value.requires_grad
    return sum(size for place, size in held.items() if place not in given) / 1e6
