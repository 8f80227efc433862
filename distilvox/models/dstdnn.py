"""A depthwise-separable TDNN: every convolution over time is one filter a channel, then a mix of channels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.pooling import StatisticsPooling


@dataclass(frozen=True)
class DSTDNNConfig(BackboneConfig):
    """Widths and depth; block k of `depth` (from 1) has dilation k, in frames of 20 ms.

    Args:
        channels: of every block.
        depth: blocks between the entry, which halves the time resolution, and the pooled layer.
        last_channels: whose statistics are pooled.
    """

    about: ClassVar[str] = "depthwise-separable TDNN: least of both; for microcontrollers"

    embedding_dim: int = 128
    channels: int = 128
    depth: int = 5
    last_channels: int = 192

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(value > 0, f"DSTDNN: {field.name} must be a whole number above 0", got=value)

    def build(self) -> DSTDNN:
        return DSTDNN(self)


def separable(inputs: int, outputs: int, *, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    """Five frames of each channel by itself, then all channels of a frame: Howard et al., arXiv 1704.04861, §3.1."""
    return nn.Sequential(
        nn.Conv1d(inputs, inputs, 5, stride, 2 * dilation, dilation, groups=inputs, bias=False),
        nn.Conv1d(inputs, outputs, 1, bias=False),
        nn.BatchNorm1d(outputs),
    )


class DSTDNN(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 3: two frames are left to pool."""

    min_frames = 3

    def __init__(self, config: DSTDNNConfig) -> None:
        super().__init__(config)
        width = config.channels
        self.entry = separable(config.mels, width, stride=2)
        self.blocks = nn.ModuleList(separable(width, width, dilation=k + 1) for k in range(config.depth))
        self.last = nn.Sequential(nn.Conv1d(width, config.last_channels, 1), nn.ReLU())
        self.pool = StatisticsPooling()
        self.embed = nn.Linear(2 * config.last_channels, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        frames = torch.relu(self.entry(features.transpose(1, 2)))
        for block in self.blocks:
            frames = torch.relu(frames + block(frames))
        return self.embed(self.pool(self.last(frames))).float()
