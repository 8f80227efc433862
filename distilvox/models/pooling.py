"""From a sequence of any length to one vector: mean and standard deviation over time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-7
"""Added to the variance before the root: keeps the gradient finite where a channel is constant."""


class StatisticsPooling(nn.Module):
    """Mean, then standard deviation (unbiased), of every channel over time; float32 inside.

    Args:
        floor: added to the variance.

    Args of the call: `frames` [B, …, T], T at least 2; all dimensions between are channels.
    Returns [B, 2 · channels]: the means first. WeSpeaker calls this layer TSTP.
    Source: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker Recognition", ICASSP 2018, §2.
    """

    def __init__(self, floor: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, frames: Float[Tensor, "B *channels T"]) -> Float[Tensor, "B D"]:
        frames = frames.float()
        mean = frames.mean(dim=-1, keepdim=True)
        variance = (frames - mean).square().sum(dim=-1) / (frames.shape[-1] - 1)
        deviation = torch.sqrt(variance + self.floor)
        return torch.cat([mean.flatten(1), deviation.flatten(1)], dim=1)
