"""What the pre-flight looks at, view by view, and what it concludes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from distilvox.losses.ensemble import teacher_logits
from distilvox.teachers.vectors import Vectors, blocks

CHANCE_EER = 0.45
GOOD_EER = 0.35
BLOCK = 2048
MOST_LOGITS = 2**22
"""In memory at a time."""


class Seen(NamedTuple):
    """Per view: its label; the nearest centre of the head; the nearest class mean without its own
    utterance, and whether its speaker has another; p_y; the entropy over non-targets."""

    label: Int[Tensor, " n"]
    by_head: Int[Tensor, " n"]
    by_means: Int[Tensor, " n"]
    usable: Bool[Tensor, " n"]
    probability: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"]


def look(
    weight: Float[Tensor, "C D"],
    units: Vectors,
    labels: Int[Tensor, " U"],
    sources: Int[Tensor, " U"],
    rows: Int[Tensor, " n"],
    scale: float,
    sizes: Sequence[int] = (),
) -> Seen:
    """Looks at the views `rows`, by blocks, so that nothing of size U · C or U · D is held.

    Args:
        weight: class centres of length 1.
        units: embeddings of length 1.
        labels: in [0, C).
        sources: which utterance each row is a view of.
        rows: which views to look at.
        scale: of the logits.
        sizes: of the parts of an ensemble whose probabilities are averaged.
    """
    sums = torch.zeros_like(weight)
    for block in blocks(len(units)):
        sums.index_add_(0, labels[block], units[block])
    counts = torch.bincount(labels, minlength=len(weight))
    means = F.normalize(sums, dim=-1)
    key = labels * (int(sources.max()) + 1) + sources.long()
    ordered, order = key.sort()
    parts = []
    for block in rows.split(max(1, min(BLOCK, MOST_LOGITS // len(weight)))):
        unit, label = units[block], labels[block]
        start = torch.searchsorted(ordered, key[block])
        own_counts = torch.searchsorted(ordered, key[block], right=True) - start
        own_sums = torch.zeros_like(
            unit
        )  # of the same utterance under the same label: they vouch for nothing
        for other in range(int(own_counts.max())):
            there = other < own_counts
            own_sums[there] += units[order[start[there] + other]]
        column = label[:, None]
        logits = teacher_logits(unit, weight, label, sizes=sizes, scale=scale)
        log_q = logits.scatter(1, column, -torch.inf).log_softmax(1)
        others = F.normalize(sums[label] - own_sums, dim=-1)
        to_means = (unit @ means.T).scatter_(1, column, (unit * others).sum(1, keepdim=True))
        parts.append(
            Seen(
                label,
                logits.argmax(1),
                to_means.argmax(1),
                counts[label] > own_counts,
                logits.softmax(1).gather(1, column)[:, 0],
                -(log_q.exp() * log_q.masked_fill(log_q.isinf(), 0)).sum(1),
            )
        )
    return Seen(*(torch.cat(column) for column in zip(*parts, strict=True)))


def share(right: Bool[Tensor, " n"]) -> float | None:
    """The mean, or None of nothing."""
    return float(right.double().mean()) if len(right) else None


def _beats_chance(right: Bool[Tensor, " n"], chance: float) -> bool:
    """More hits than chance by three standard deviations of the binomial."""
    expected = len(right) * chance
    return float(right.sum()) > expected + 3 * math.sqrt(expected * (1 - chance))


def judge(
    seen: Seen,
    own: Bool[Tensor, " n"],
    names: Sequence[str],
    dev_eer: float | None,
    *,
    assumed: bool = False,
) -> list[str]:
    """Reasons not to train, as sentences; none if all is well.

    Args:
        own: whether the label of each view has a row of the teacher's own.
        names: of the speakers.
        dev_eer: the better of the teacher's, if any.
        assumed: the own rows have no names, and were taken in sorted order.
    """
    chance = 1 / len(names)
    verdicts = []
    if dev_eer is not None and dev_eer >= CHANCE_EER:
        verdicts.append(f"the teacher is no better than chance: {dev_eer:.1%} EER on the dev trials")
    right, means_right = seen.by_head == seen.label, seen.by_means == seen.label
    both = own & seen.usable
    by_rows, by_means = share(right[both]), share(means_right[both])
    grouped = _beats_chance(means_right[seen.usable], chance)
    if by_rows is not None and by_means is not None and grouped and by_rows < 0.5 * by_means:
        wrong = int(torch.nonzero(both & means_right & ~right)[0])
        matched = "assumed in sorted order" if assumed else "matched by name"
        verdicts.append(
            f"the labels look permuted: the teacher's own rows, {matched}, are right for {by_rows:.1%} "
            f"of the training views, means of its embeddings by label for {by_means:.1%}; for instance, "
            f"{names[int(seen.label[wrong])]} is nearest to the row of {names[int(seen.by_head[wrong])]}"
            + ("; --targets.head means does without these rows" if assumed else "")
        )
    elif bool((seen.usable | own).any()) and not grouped and not _beats_chance(right[own], chance):
        verdicts.append(
            "the labels look permuted: utterances with one label are no nearer to each other than to the "
            f"rest, though the teacher has {dev_eer:.1%} EER on the dev trials"
            if dev_eer is not None and dev_eer < GOOD_EER
            else "the teacher is no better than chance on the training views (or their labels are permuted)"
        )
    return verdicts
