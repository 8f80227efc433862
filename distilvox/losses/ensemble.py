"""The logits of a teacher that may be several: one softmax each, the probabilities averaged.

The other way to combine teachers, the mean of their scaled cosines, needs nothing here: concatenating
their unit vectors (and their unit class centres) makes the cosine of the whole the mean of the cosines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.errors import require
from distilvox.losses.checks import Number
from distilvox.losses.margin import aam
from distilvox.models.head import cosines


def teacher_logits(
    embeddings: Float[Tensor, "B E"],
    centres: Float[Tensor, "C E"],
    labels: Int[Tensor, " B"],
    *,
    sizes: Sequence[int] = (),
    margin: Number = 0.0,
    scale: Number,
) -> Float[Tensor, "B C"]:
    """Scaled cosines of one teacher; of several, the log of their mean probability.

    log (1/K) Σ_k softmax(s · cos_k) is a logit like any other: its softmax is the mean probability, and
    its non-target part, renormalised, the mean probability given that it is not the target.

    Args:
        embeddings, centres: of any length; of several teachers, side by side.
        labels: the target speakers, in [0, C): they carry the margin.
        sizes: D_k of each part that has its own softmax; none or one is a single teacher.
        margin: in radians, in [0, π/2), of each teacher's target logit.
        scale: s > 0.
    """
    check_sizes(sizes, embeddings.shape[1])
    if len(sizes) < 2:
        return aam(cosines(embeddings, centres), labels, margin=margin, scale=scale)
    total = None
    for part, rows in zip(embeddings.split(list(sizes), 1), centres.split(list(sizes), 1), strict=True):
        log_p = F.log_softmax(aam(cosines(part, rows), labels, margin=margin, scale=scale), dim=1)
        total = log_p if total is None else torch.logaddexp(total, log_p)
    assert total is not None  # sizes is not empty
    return total - math.log(len(sizes))


def check_sizes(sizes: Sequence[int], dim: int) -> None:
    """Refuses parts that do not add up to the embedding."""
    require(
        not sizes or (sum(sizes) == dim and min(sizes) > 0),
        "the parts of the teachers' embeddings do not add up",
        got=" + ".join(map(str, sizes)) + f" = {sum(sizes)}",
        allowed=f"D_t = {dim}",
    )
