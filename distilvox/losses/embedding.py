"""Embedding-level knowledge distillation: the student's embedding should lie where the teacher's does.

Both losses return [B], compute in float32 (float64 for float64) and send no gradient to the teacher.
Source: Wang et al., *Knowledge Distillation for Small Foot-print Deep Speaker Embedding*, ICASSP 2019.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from distilvox.losses.checks import check_pair, precise
from distilvox.models.head import unit


def cosine(student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """1 − cos(student, teacher), in [0, 2] up to rounding; 1 where either is the zero vector."""
    check_pair("the embeddings", student, teacher)
    s, t = unit(precise(student)), unit(precise(teacher.detach()))
    return 1 - (s * t).sum(dim=1)


def mse(student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """The mean squared error over D, in units of the teacher's own mean square.

    |student − teacher|² / |teacher|²: 0 for equal vectors, 1 for a student at the origin. The unit makes
    one loss weight fit teachers of any embedding length (GE2E's is 1, others reach 100). Unlike the error
    between normalised vectors, which is only `cosine` doubled, it also asks for the teacher's length.
    """
    check_pair("the embeddings", student, teacher)
    s, t = precise(student), precise(teacher.detach())
    smallest = torch.finfo(t.dtype).tiny
    return (s - t).square().sum(dim=1) / t.square().sum(dim=1).clamp_min(smallest)
