"""Triage KD (TRKD): distil the target, the few speakers the teacher takes it for, and leave out the rest.

The teacher's probabilities p split the speakers into three groups: the target y; its confusion set, the smallest
set of non-targets that holds the part τ_c (the cutoff) of the teacher's probability of all non-targets; and the
background. Student and teacher are compared by the same groups, with two KL(teacher || student):

    masses      between the three masses (target, confusion set, background)
    confusion   inside the confusion set, renormalised; 0 where it is one speaker

What the two leave out is the conditional inside the background, so that

    label_kd = masses + p_confusion · confusion + p_background · KL(p, q inside the background)

At τ_c = 1 the background is empty, and masses = target_kd, confusion = non_target_kd: the decoupled KD of
`distilvox.losses.kd`, whose conventions hold here too (factor τ², log space, no gradient to the teacher).

Source: Kim et al., *Triage Knowledge Distillation for Speaker Verification*, arXiv 2601.14699. Its setting, as far
as summaries of it say: masses + 8 · confusion at temperature 4, τ_c falling from 1 to 0.05 over epochs 10 to 60
of 150, most of it early (`1:0.05@10-60~0.001` in `distilvox.losses.schedule`); a cutoff that is small from the
beginning diverged. Ours, because those do not say: the cutoff is a part of the non-targets' own probability (of an
absolute one, a sure teacher would never reach it), and the groups are those of the softened probabilities that the
losses compare.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distilvox.errors import require
from distilvox.losses.checks import Number
from distilvox.losses.kd import divergence, prepare, without_target


def triage_kd(
    student_logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    *,
    cutoff: Number,
    temperature: Number = 1.0,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The two losses (masses, confusion), from one search for the confusion set.

    Args:
        student_logits: scaled cosines, any finite range. −inf is a speaker of probability 0.
        teacher_logits: the same speakers in the same order.
        labels: the target speakers, in [0, C), C >= 2.
        cutoff: τ_c in (0, 1], the part of the non-targets' probability that the confusion set holds.
        temperature: τ > 0, of the probabilities that make the groups and that are compared.
    """
    z, t = prepare(student_logits, teacher_logits, labels, temperature)
    confused = confusion_set(t, labels, cutoff=cutoff)
    mass = divergence(_log_masses(t, labels, confused), _log_masses(z, labels, confused))
    inside = divergence(_log_inside(t, confused), _log_inside(z, confused))
    return temperature**2 * mass, temperature**2 * inside


def confusion_set(
    logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *, cutoff: Number
) -> Bool[Tensor, "B C"]:
    """Which non-targets the teacher takes the target for: never empty.

    The speakers enter by falling probability until their sum reaches `cutoff` of all non-targets'; those equally
    probable enter together, so that the set does not depend on the order of speakers. All of them at cutoff 1.

    Args:
        logits: the teacher's, over the temperature.
        cutoff: in (0, 1].
    """
    require(0 < cutoff <= 1, "cutoff is out of range", got=cutoff, allowed="0 < cutoff <= 1")
    target = labels.long()[:, None]
    if cutoff == 1:
        return torch.ones_like(logits, dtype=torch.bool).scatter(1, target, False)
    others = without_target(logits, labels)
    ranked = others.sort(dim=1, descending=True).values
    p = F.softmax(ranked, dim=1)
    before = p.cumsum(dim=1) - p
    entering = (before < cutoff).sum(dim=1, keepdim=True)
    return (others >= ranked.gather(1, entering - 1)).scatter(1, target, False)


def _log_masses(
    logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], confused: Bool[Tensor, "B C"]
) -> Float[Tensor, "B 3"]:
    """log of the probability of target, confusion set and background, however near one of them is to 1."""
    target = labels.long()[:, None]
    background = ~confused.scatter(1, target, True)
    y = logits.gather(1, target).squeeze(1)
    c, b = _log_sum(logits, confused), _log_sum(logits, background)
    odds = [y - torch.logaddexp(c, b), c - torch.logaddexp(y, b), b - torch.logaddexp(y, c)]
    return F.logsigmoid(torch.stack(odds, dim=1))


def _log_sum(logits: Float[Tensor, "B C"], of: Bool[Tensor, "B C"]) -> Float[Tensor, " B"]:
    """log Σ exp over a group; −inf, with gradient 0 instead of NaN, over a group without any probability."""
    members = torch.where(of, logits, -math.inf)
    empty = members.isneginf().all(dim=1)
    held = members.masked_fill(empty[:, None], 0).logsumexp(dim=1)
    return held.masked_fill(empty, -math.inf)


def _log_inside(logits: Float[Tensor, "B C"], confused: Bool[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """log of the probabilities inside the confusion set; −inf outside."""
    return F.log_softmax(torch.where(confused, logits, -math.inf), dim=1)
