"""CE + TSKD + NSKD the way training code spells it: full logits, softmax, masks and two kl_div.

In the dtype it is given, gradients by autograd; baseline of the benchmarks, and the error that ours may have.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.losses import naive_aam


def naive_objective(
    student: Tensor,
    head: Tensor,
    labels: Tensor,
    *,
    margin: float,
    scale: float,
    teacher: Tensor,
    teacher_centres: Tensor,
    projected: Tensor | None,
    kd_scale: float,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """Every part [B]; `projected` None compares the student with its own centres."""
    scores = _cosines(student, head)
    seen = scores if projected is None else _cosines(projected, teacher_centres)
    z = kd_scale * seen / temperature
    t = kd_scale * _cosines(teacher, teacher_centres) / temperature
    is_target = F.one_hot(labels, len(head)).bool()

    q, p = z.softmax(1), t.softmax(1)
    q_two, p_two = (
        torch.stack([(x * is_target).sum(1), (x * ~is_target).sum(1)], dim=1) for x in (q, p)
    )  # target or not
    others = -1000.0 * is_target
    log_q, log_p = (z + others).log_softmax(1), (t + others).log_softmax(1)
    return {
        "ce": F.cross_entropy(
            naive_aam(scores, labels, margin=margin, scale=scale), labels, reduction="none"
        ),
        "correct": scores.argmax(1) == labels,
        "tskd": temperature**2 * F.kl_div(q_two.log(), p_two, reduction="none").sum(1),
        "nskd": temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1),
    }


def _cosines(embeddings: Tensor, centres: Tensor) -> Tensor:
    return F.normalize(embeddings) @ F.normalize(centres).T
