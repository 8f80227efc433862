"""The speaker head: one class centre for each training speaker, and the speakers' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require

SHORTEST = 1e-6
"""Vectors shorter than this are divided by it instead of by their length, so that zero stays finite."""


def unit(vectors: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
    """Vectors of length 1; zero stays zero, with a finite gradient."""
    return F.normalize(vectors, dim=-1, eps=SHORTEST)


def cosines(embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
    """Cosine of every embedding with every centre, in float32 (float64 if both are) under autocast too.

    They may leave [−1, 1] by rounding, and are not clamped: a clamp would end the gradient there.
    On a GPU, leave TF32 off (PyTorch's default): it would keep 3 of the 7 digits.
    """
    dtype = torch.float64 if embeddings.dtype == centres.dtype == torch.float64 else torch.float32
    with torch.autocast(embeddings.device.type, enabled=False):
        return unit(embeddings.to(dtype)) @ unit(centres.to(dtype)).T


class SpeakerHead(nn.Module):
    """Class centres [C, D] of the speakers `names`: embeddings [B, D] in, cosines [B, C] out.

    Scale and margin are separate steps (`distilvox.losses.aam`). A centre's length has no influence on
    the cosines but divides its step size in training, so centres start with a length of about 1
    whatever C is.

    Args:
        names: the speakers in the order of the labels; unique, at least 2.
        dim: D, the embedding size.
    """

    def __init__(self, names: Sequence[str], dim: int) -> None:
        super().__init__()
        self.names = tuple(names)
        require(
            len(self.names) >= 2,
            "a speaker head needs at least two speakers: with one speaker there is nothing to tell apart",
            got=f"{len(self.names)}: {', '.join(self.names) or 'none'}",
            remedy="train on a corpus with more speakers, or check the column that names them",
        )
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        require(
            not twice,
            "a speaker head needs unique speaker names",
            got=f"{len(twice)} repeated: {', '.join(twice[:3])}{', …' if len(twice) > 3 else ''}",
        )
        require(dim >= 1, "the embedding size is out of range", got=dim, allowed="dim >= 1")
        self.weight = nn.Parameter(torch.randn(len(self.names), dim) * dim**-0.5)

    def forward(self, embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        require(
            embeddings.shape[1] == self.weight.shape[1],
            "embeddings do not fit the speaker head",
            got=f"D = {embeddings.shape[1]}",
            allowed=f"D = {self.weight.shape[1]}",
        )
        return cosines(embeddings, self.weight)

    def extra_repr(self) -> str:
        return f"speakers={len(self.names)}, dim={self.weight.shape[1]}"
