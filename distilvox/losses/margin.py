"""AAM-softmax: the additive angular margin as a pure step from cosines to logits.

Source: Deng et al., *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*, arXiv 1801.07698,
section 3.1, with the continuous fallback in use for speakers where the margin would pass θ = π.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distilvox.losses.checks import Number, check_classification, check_range, precise

MARGIN_LIMIT = math.pi / 2
"""A larger margin would give an embedding on its own class centre a negative logit."""


def aam(
    cosines: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *, margin: Number, scale: Number
) -> Float[Tensor, "B C"]:
    """Scaled cosines in which the target speaker's angle θ has grown by the margin.

    The target logit over the scale is cos(θ + m) up to θ = π − m and cos θ − (1 − cos m) past it. Both
    are −1 where they meet, so the logit is continuous and decreasing in θ over all of [0, π].

    Args:
        cosines: to every class centre; may leave [−1, 1] by rounding.
        labels: the target speakers, in [0, C).
        margin: m in radians, in [0, π/2). 0 gives exactly the scaled cosines.
        scale: s > 0, the norm of the logits' hypersphere.

    Returns:
        Logits in float32 (float64 for float64). Only the target column differs from scale · cosines.
        Gradients are finite everywhere: at cos θ = ±1 the infinite slope of sin θ counts as 0.
    """
    check_classification(cosines, labels)
    check_range("margin", margin, 0, MARGIN_LIMIT, low_allowed=True)
    check_range("scale", scale, 0, math.inf)
    cosines, target = precise(cosines), labels.long()[:, None]
    return scale * cosines.scatter(1, target, add_margin(cosines.gather(1, target), margin))


def add_margin(cosine: Float[Tensor, "*shape"], margin: Number) -> Float[Tensor, "*shape"]:
    """What becomes of a target's cosine, without the scale; see `aam`."""
    added = cosine * math.cos(margin) - _sine(cosine) * math.sin(margin)
    fallback = cosine - (1 - math.cos(margin))
    return torch.where(cosine > -math.cos(margin), added, fallback)


def cross_entropy(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """−log softmax of the target speaker, in float32 (float64 for float64)."""
    check_classification(logits, labels)
    return F.cross_entropy(precise(logits), labels.long(), reduction="none")


def _sine(cosine: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sin θ ≥ 0 from cos θ. (1 − c)(1 + c) loses no digits near ±1, where 1 − c² would.

    The inner `where` keeps the root's infinite slope out of the backward pass: 0 · inf is NaN.
    """
    squared = (1 - cosine) * (1 + cosine)
    inside = squared > 0
    return torch.where(inside, torch.where(inside, squared, 1).sqrt(), 0)
