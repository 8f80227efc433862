"""What one pass over the classes keeps of a softmax: three sums a row, which merge in any order.

The rows are utterances. Their logits x arrive in blocks of classes, in base 2: x = logit / ln 2, because
2^x costs a third of e^x on a processor. A target speaker is not among them (`hide`). For a reference r,
free to choose and only there to keep the powers in range:

    mass     Σ 2^(x − r)
    moments  Σ 2^(x − r) · v, for vectors v of the classes or of the entries; [B, 0] where none is asked

From them come the log-sum-exp, ln mass + r · ln 2, and the softmax's mean of v, moments / mass. Sums of
disjoint sets of classes add up once they have the same reference. That one law joins the blocks of a
pass, passes, and the processes that hold a share of the classes each. A kernel that fills these three
fields can take the place of any of the passes in `distilvox.losses.passes`.

What label-level KD needs more than log-sum-exps is Σ p̃ · (t − z) over non-targets, p̃ the teacher's
softmax, t and z the logits of teacher and student: a mean under p̃ as well. Where both see the same
centres, t − z is linear in the centre, so the mean centre under p̃ gives it, and its gradient, at once.

Source: the running softmax of Milakov and Gimelshein, arXiv 1805.02867.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

LN2 = math.log(2.0)

IN_RANGE = 60.0
"""Logits up to this size (natural units) need no reference: e^±60, times millions, is well inside float32."""


HIDDEN = -1e30


class Sums(NamedTuple):
    """Mass and moments of a softmax over the classes seen so far; the module's docstring defines them."""

    reference: Float[Tensor, " B"]
    mass: Float[Tensor, " B"]
    moments: Float[Tensor, "B K"]

    def seen_from(self, reference: Float[Tensor, " B"]) -> Sums:
        """The same sums for another reference."""
        factor = torch.exp2(self.reference - _finite(reference))
        return Sums(reference, self.mass * factor, self.moments * factor[:, None])

    def merge(self, other: Sums) -> Sums:
        """The sums over both sets of classes, which must not overlap. Associative and commutative."""
        reference = torch.maximum(self.reference, other.reference)
        left, right = self.seen_from(reference), other.seen_from(reference)
        return Sums(reference, left.mass + right.mass, left.moments + right.moments)

    def add(self, logits: Float[Tensor, "B N"], *, in_range: bool) -> Sums:
        """The sums with a block of classes more, but for its moments, which the caller adds.

        Args:
            logits: in base 2; overwritten with 2^(x − r), r the reference of the result.
            in_range: the logits are known not to pass `IN_RANGE`: the reference stays.
        """
        sums = self
        if not in_range:
            reference = torch.maximum(self.reference, logits.amax(dim=1))
            sums = self.seen_from(reference)
            logits.sub_(_finite(reference)[:, None])
        logits.exp2_()
        return sums._replace(mass=sums.mass + logits.sum(dim=1))

    def log_sum(self) -> Float[Tensor, " B"]:
        """log Σ exp of the logits, in natural units."""
        return self.mass.log() + LN2 * self.reference

    def mean(self) -> Float[Tensor, "B K"]:
        """The mean of v under the softmax."""
        return self.moments / self.mass[:, None]


def nothing(like: Float[Tensor, "B D"], moments: int, *, in_range: bool) -> Sums:
    """The sums over no classes, for the rows, dtype and device of `like`."""
    rows = len(like)
    reference = like.new_full((rows,), 0.0 if in_range else -math.inf)
    return Sums(reference, like.new_zeros(rows), like.new_zeros(rows, moments))


def hide(logits: Float[Tensor, "B N"], columns: Int[Tensor, " B"]) -> None:
    """Takes each row's target away, in place; columns outside [0, N) are targets of other blocks.

    It becomes −1e30, whose power is 0 and which, unlike −inf, makes no NaN where it meets itself.

    No branch depends on a value, so a GPU's queue runs on.
    """
    inside = columns.clamp(0, logits.shape[1] - 1)
    penalty = logits.new_zeros(len(columns)).masked_fill_(inside == columns, HIDDEN)
    logits.scatter_add_(1, inside[:, None], penalty[:, None])


def _finite(reference: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """0 for the −inf of a row that has seen no class yet, so that −inf − −inf does not become NaN."""
    return reference.masked_fill(reference == -math.inf, 0.0)
