"""Class centres over the training speakers, in the teacher's space.

In this order (DESIGN §3): the teacher's own rows, matched by speaker *name*, never by position; for the
speakers it does not know, rows of an AAM head fitted on teacher embeddings, or their class means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import require, unknown
from distilvox.losses.margin import aam, cross_entropy
from distilvox.teachers.base import TeacherHead
from distilvox.teachers.vectors import Units, Vectors, blocks, centred
from distilvox.teachers.voxceleb2 import dev_speakers

How = Literal["auto", "matched", "means", "fitted"]
Making = Literal["means", "fitted"]


@dataclass(frozen=True)
class FitConfig:
    """How an AAM head is fitted: full-batch-size steps of Adam over embeddings, from the class means."""

    epochs: int = 30
    batch_examples: int = 512
    learning_rate: float = 0.02
    scale: float = 30.0
    margin: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class FittedHead:
    """Teacher centres for the training speakers.

    Args:
        weight: [C, D_t] float32, rows of length 1.
        how: one sentence for the log: where the rows came from.
        matched: how many of the C rows are the teacher's own.
        own: the labels of those rows.
        assumed: these rows have no names, and were taken in sorted order.
    """

    weight: Float[Tensor, "C D"]
    how: str
    matched: int
    own: tuple[int, ...] = ()
    assumed: bool = False


def no_centres(dim: int) -> FittedHead:
    """The class centres of speech in which no utterance has a speaker: none."""
    return FittedHead(torch.zeros(0, dim), "teacher head: none, for no utterance has a speaker", 0)


def in_sorted_order(weight: Float[Tensor, "C D"] | None, names: Sequence[str]) -> TeacherHead | None:
    """Rows that nobody names as those of exactly as many speakers, sorted; None where nothing suggests it.

    5,994 rows are VoxCeleb2's, in sorted order, where any of the speakers is one of its: a subset of that
    corpus then finds its rows too. A guess, though the usual order: only the accuracy of the pre-flight can
    confirm it.
    """
    if weight is None:
        return None
    known = dev_speakers()
    if len(weight) == len(known) and not set(known).isdisjoint(names):
        return TeacherHead(weight, known)
    return TeacherHead(weight, tuple(sorted(names))) if len(weight) == len(names) else None


def class_means(units: Vectors, labels: Int[Tensor, " U"], classes: int) -> Float[Tensor, "C D"]:
    """The normalised sum of each class's unit embeddings, [C, D] float32; a class of none gives zeros.

    Raises:
        UserError: embeddings that are not finite.
    """
    sums = torch.zeros(classes, units.shape[1], dtype=torch.float64)
    for rows in blocks(len(units)):
        block = units[rows].double()
        require(bool(torch.isfinite(block).all()), "the teacher's embeddings hold NaN or infinity")
        sums.index_add_(0, labels[rows], block)
    return F.normalize(sums, dim=-1).float()


def fit_aam(
    units: Vectors, labels: Int[Tensor, " U"], classes: int, config: FitConfig
) -> Float[Tensor, "C D"]:
    """Class centres that minimise cross-entropy under an additive angular margin, embeddings held still.

    Deterministic: the order is drawn from `config.seed`.
    """
    weight = class_means(units, labels, classes).requires_grad_(True)
    optimiser = torch.optim.Adam([weight], lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    steps = config.epochs * -(-len(units) // config.batch_examples)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with torch.enable_grad():
        for _ in range(config.epochs):
            order = torch.randperm(len(units), generator=generator)
            for rows in order.split(config.batch_examples):
                cosines = units[rows] @ F.normalize(weight, dim=-1).T
                logits = aam(cosines, labels[rows], margin=config.margin, scale=config.scale)
                loss = cross_entropy(logits, labels[rows]).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return F.normalize(weight.detach(), dim=-1)


def fit_head(
    teacher_head: TeacherHead | None,
    embeddings: Vectors,
    labels: Int[Tensor, " U"],
    names: Sequence[str],
    *,
    how: str = "auto",
    unmatched: str = "means",
    centre: Float[Tensor, " D"] | None = None,
    assumed: bool = False,
    config: FitConfig | None = None,
) -> FittedHead:
    """The teacher's centres for the C training speakers.

    Args:
        teacher_head: the teacher's own rows with their names, or None.
        embeddings: [U, D_t] teacher embeddings of training views, gone through a block at a time.
        labels: [U] in [0, C).
        names: C speaker names, all different.
        how: one of `How`. `matched` wants the teacher's own row for every speaker; `means` and
            `fitted` make every row from the embeddings; `auto` takes own rows where names match and
            makes the rest by `unmatched`.
        unmatched: one of `Making`, for `auto`.
        centre: μ [D_t] of `training_mean`, taken from embeddings and own rows alike; None leaves them.
        assumed: the names of `teacher_head` are `in_sorted_order`'s: the sentence says so.
        config: of the fit.

    Returns:
        Rows of length 1, the sentence that says where they came from, and how many are the teacher's own.

    Errors:
        UserError for duplicate names, labels out of range, a speaker without a row and without an
        utterance, embeddings that are not finite, a head of another dimension, or `matched` where
        names are missing.
    """
    if how not in get_args(How):
        raise unknown("way to make the teacher's head", how, get_args(How))
    if unmatched not in get_args(Making):
        raise unknown("way to make the rows that the teacher lacks", unmatched, get_args(Making))
    labels = labels.long()
    _check(teacher_head, embeddings, labels, names)
    use_own = teacher_head is not None and how in ("auto", "matched")
    row_of = {name: row for row, name in enumerate(teacher_head.names)} if teacher_head and use_own else {}
    own = [label for label, name in enumerate(names) if name in row_of]
    missing = [label for label, name in enumerate(names) if name not in row_of]
    if how == "matched":
        require(
            not missing,
            f"the teacher has no row for {len(missing)} of {len(names)} training speakers",
            got=", ".join(names[label] for label in missing[:5]),
            remedy="--targets.head auto makes the missing rows from embeddings",
        )
    making = how if how in ("means", "fitted") else unmatched
    weight = torch.zeros(len(names), embeddings.shape[1])
    if missing:
        counts = torch.bincount(labels, minlength=len(names)).tolist()
        empty = [names[label] for label in missing if counts[label] == 0]
        require(
            not empty,
            f"speakers without an utterance, and without a row of the teacher's: {len(empty)}",
            got=", ".join(empty[:5]),
            remedy="leave these speakers out of the training corpus",
        )
        units = Units(embeddings, centre)
        if making == "means":
            weight = class_means(units, labels, len(names))
        else:
            weight = fit_aam(units, labels, len(names), config or FitConfig())
    if own and teacher_head is not None:
        rows = torch.tensor([row_of[names[label]] for label in own])
        weight[own] = centred(teacher_head.weight.cpu()[rows], centre)
    zero = [names[label] for label in torch.nonzero(weight.norm(dim=-1) < 0.5).flatten().tolist()]
    require(not zero, "a centre of the teacher's head has no direction", got=", ".join(zero[:5]))
    how_made = _sentence(len(own), len(names), making, centre is not None, assumed)
    return FittedHead(weight, how_made, len(own), tuple(own), assumed and bool(own))


def _sentence(matched: int, classes: int, making: str, is_centred: bool, assumed: bool) -> str:
    by = "assumed in sorted order: the checkpoint names no speakers" if assumed else "matched by name"
    made = "class means of its embeddings" if making == "means" else "an AAM head fitted on its embeddings"
    parts = [f"{matched:,} of {classes:,} rows are the teacher's own, {by}"] if matched else []
    parts += [f"{classes - matched:,} are {made}"] if matched < classes else []
    return "teacher head: " + "; ".join(parts) + ("; centred by the training mean" if is_centred else "")


def _check(
    teacher_head: TeacherHead | None, embeddings: Vectors, labels: Int[Tensor, " U"], names: Sequence[str]
) -> None:
    require(len(names) > 1, "a head needs at least two speakers", got=len(names))
    require(len(set(names)) == len(names), "a training speaker is named twice")
    require(len(embeddings) > 0, "no embeddings to make a head from", allowed="at least one utterance")
    inside = int(labels.min()) >= 0 and int(labels.max()) < len(names)
    require(
        inside,
        "a label is no speaker's",
        got=f"{int(labels.min())} to {int(labels.max())}",
        allowed=f"0 to {len(names) - 1}",
    )
    if teacher_head is not None:
        got, wanted = teacher_head.weight.shape[1], embeddings.shape[1]
        require(
            got == wanted,
            "the teacher's head and its embeddings differ in dimension",
            got=f"{got} and {wanted}",
        )
