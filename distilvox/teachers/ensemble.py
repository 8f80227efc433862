"""Several teachers as one: `A,B[,C]`. Each keeps its own cache, centring and class centres."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from distilvox.errors import require
from distilvox.teachers.base import Teacher, TeacherHead


class Ensemble(Teacher):
    """Its embedding is its members' unit embeddings side by side: its cosine is the mean of theirs.

    Whatever needs one member's own (a head, a cache, a mean) asks `members_of`.

    Args:
        members: two or more different teachers of one sample rate.
    """

    def __init__(self, members: Sequence[Teacher]) -> None:
        require(len(members) > 1, "an ensemble needs two teachers or more", got=len(members))
        rates = sorted({member.sample_rate for member in members})
        require(
            len(rates) == 1,
            "the teachers of an ensemble differ in sample rate",
            got=", ".join(map(str, rates)),
        )
        ids = [member.id for member in members]
        twice = [member.uri for member in members if ids.count(member.id) > 1]
        require(not twice, "the ensemble holds a teacher twice", got=", ".join(twice))
        licences = [member.licence for member in members]
        super().__init__(
            uri=",".join(member.uri for member in members),
            id=hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16],
            sample_rate=rates[0],
            embedding_dim=sum(member.embedding_dim for member in members),
            licence=" + ".join(each or "unknown" for each in licences) if any(licences) else None,
        )
        self.members = nn.ModuleList(members)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        return side_by_side([member.embed(waves) for member in members_of(self)])

    def record(self) -> dict[str, Any]:
        return {**super().record(), "members": [member.record() for member in members_of(self)]}

    def head(self) -> TeacherHead | None:
        """None: its members have theirs, each with its own names."""
        return None


def members_of(teacher: Teacher) -> tuple[Teacher, ...]:
    """The members of an ensemble; any other teacher is its own only member."""
    if not isinstance(teacher, Ensemble):
        return (teacher,)
    return tuple(member for member in teacher.members if isinstance(member, Teacher))


def side_by_side(parts: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B D"]:
    """K members' vectors as one of length 1: e_k / (|e_k| √K), so that the cosine is the members' mean.

    Embeddings and class centres alike.
    """
    return torch.cat([F.normalize(part, dim=-1) for part in parts], dim=-1) / math.sqrt(len(parts))
