"""What every teacher is: frozen, waveform in, embedding out, with an id and perhaps class centres."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.frontend import FrontEnd
from distilvox.views.draws import ViewConfig


@dataclass(frozen=True)
class TeacherHead:
    """The teacher's own class centres, each row with the name of its speaker.

    Args:
        weight: [C_t, D_t], one row a speaker, of any length.
        names: C_t speaker names in row order, all different.
    """

    weight: Float[Tensor, "C D"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        require(
            len(self.names) == self.weight.shape[0],
            "the teacher's head needs one speaker name a row",
            got=f"{self.weight.shape[0]} rows, {len(self.names)} names",
        )
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        require(not twice, "the teacher's head names a speaker twice", got=", ".join(twice[:5]))


class Teacher(nn.Module, ABC):
    """A frozen speaker encoder. Subclasses implement `forward`; callers use `embed`.

    Attributes:
        uri: what it was loaded from.
        id: 16 hex digits over its weights and its recipe; a cache built with another id is stale.
        sample_rate: samples a second that `embed` expects.
        embedding_dim: D_t.
        views: what it was trained on, where that is known.
        frontend: its log-mel features where they are Kaldi's, else None: part of `id`, and of the run's record.
        licence: of its weights, where that is known: a name such as Apache-2.0.
    """

    def __init__(
        self,
        *,
        uri: str,
        id: str,
        sample_rate: int,
        embedding_dim: int,
        views: ViewConfig | None = None,
        frontend: FrontEnd | None = None,
        licence: str | None = None,
    ) -> None:
        super().__init__()
        self.uri = uri
        self.id = id
        self.sample_rate = sample_rate
        self.embedding_dim = embedding_dim
        self.views = views
        self.frontend = frontend
        self.licence = licence

    @abstractmethod
    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        """Embeds waveforms in about [-1, 1], all of one length."""

    @abstractmethod
    def head(self) -> TeacherHead | None:
        """The teacher's own class centres, or None where it has none with names."""

    @property
    def training_speakers(self) -> frozenset[str]:
        """The names of the speakers it was trained on, as far as it knows them: trials of theirs would flatter it."""
        head = self.head()
        return frozenset() if head is None else frozenset(head.names)

    def unnamed_head(self) -> Float[Tensor, "C D"] | None:
        """Class centres whose speakers nobody names, or None.

        They can serve a corpus of exactly C_t speakers, taken in sorted order; whether that is the right
        order only the data can tell (pre-flight).
        """
        return None

    def under(self, frontend: FrontEnd) -> Teacher | None:
        """The same weights on other features, for a comparison; None where its features are no `FrontEnd`."""
        return None

    def record(self) -> dict[str, Any]:
        """What a run and a card say of it."""
        front = None if self.frontend is None else self.frontend.to_json()
        return {"uri": self.uri, "id": self.id, "licence": self.licence, "frontend": front}

    def embed(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        """Embeds without a graph: float32 out, whatever the teacher computes in.

        A surrounding autocast is the student's affair and changes nothing here: live equals cached.

        Args:
            waves: [B, N] in about [-1, 1] at `sample_rate`, all of one length.

        Returns:
            [B, D_t] float32, not normalised necessarily; it can enter a loss (no inference tensor).
        """
        if waves.shape[0] == 0:
            return waves.new_zeros((0, self.embedding_dim), dtype=torch.float32)
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            return self.forward(waves).float()

    def train(self, mode: bool = True) -> Teacher:
        """A teacher never trains: it stays in evaluation mode whatever is asked."""
        return super().train(False)


def freeze(teacher: Teacher, device: torch.device | str) -> Teacher:
    """Moves a freshly loaded teacher to its device, evaluation mode, no gradients."""
    return teacher.to(device).requires_grad_(False).eval()


def weights_id(tensors: Mapping[str, Tensor], recipe: str = "") -> str:
    """16 hex digits over names, shapes, dtypes and bytes of the weights, and the recipe around them.

    Args:
        tensors: the state, any order.
        recipe: what else decides the embedding (front end, windows), in one string.
    """
    digest = hashlib.sha256(recipe.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
