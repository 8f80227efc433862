"""What every backbone and its configuration share, so that a new architecture touches no other file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require


@dataclass(frozen=True)
class BackboneConfig(ABC):
    """The widths and depths of one architecture; subclasses add fields and their own defaults.

    Attributes:
        about: what the architecture is and what it is for, in one line.
        mels: F, features of one frame.
        embedding_dim: D.
    """

    about: ClassVar[str]

    mels: int = 80
    embedding_dim: int = 256

    @abstractmethod
    def build(self) -> Backbone:
        """The freshly initialised network."""


class Backbone(nn.Module):
    """Features [B, T, F] → embedding [B, D] float32, not normalised.

    Attributes:
        config: what it was built from.
        min_frames: the smallest T that it takes; at most 48 (half a second), so that half a second is enough.
    """

    min_frames: int

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config

    def check_frames(self, features: Float[Tensor, "B T F"]) -> None:
        """Refuses an utterance that is too short."""
        require(
            features.shape[1] >= self.min_frames,
            f"too few frames for {type(self).__name__}",
            got=features.shape[1],
            allowed=f"at least {self.min_frames}",
            remedy="give it at least half a second of speech",
        )
