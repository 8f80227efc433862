"""The x-vector in WeSpeaker's exact layout, so that its checkpoints load, with widths as fields."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.pooling import StatisticsPooling

CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
"""Kernel width and dilation of the five frame layers, in frames."""

MIN_FRAMES = 2 + sum((width - 1) * dilation for width, dilation in CONTEXTS)
"""The convolutions use no padding, and a standard deviation takes two frames."""


@dataclass(frozen=True)
class XVectorConfig(BackboneConfig):
    """Widths of an x-vector; the defaults are WeSpeaker's (4,610,524 parameters).

    Args:
        mels: F, features of one frame.
        channels: of the first four frame layers.
        last_channels: of the fifth, whose statistics are pooled.
        hidden: of the first layer after pooling.
        embedding_dim: D.
    """

    about: ClassVar[str] = "x-vector: many parameters, little arithmetic; where time counts"

    mels: int = 80
    channels: int = 512
    last_channels: int = 1500
    hidden: int = 512
    embedding_dim: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(
                value > 0,
                f"x-vector: {field.name} must be a whole number above 0",
                got=value,
                allowed="1, 2, 3 …",
            )

    def build(self) -> XVector:
        return XVector(self)


class FrameLayer(nn.Module):
    """Dilated convolution over time without padding, ReLU, batch norm without weights, in this order."""

    def __init__(self, inputs: int, outputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.conv_1d = nn.Conv1d(inputs, outputs, width, dilation=dilation)
        self.bn = nn.BatchNorm1d(outputs, affine=False)

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O S"]:
        return self.bn(torch.relu(self.conv_1d(frames)))


class XVector(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 16 (`MIN_FRAMES`).

    The embedding is the output of the last layer, without a non-linearity behind it.
    Source: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker Recognition", ICASSP 2018.
    """

    min_frames = MIN_FRAMES

    def __init__(self, config: XVectorConfig) -> None:
        super().__init__(config)
        widths = (config.mels, *[config.channels] * 4, config.last_channels)
        layers = [FrameLayer(widths[k], widths[k + 1], *CONTEXTS[k]) for k in range(5)]
        self.frame_1, self.frame_2, self.frame_3, self.frame_4, self.frame_5 = layers
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * config.last_channels, config.hidden)
        self.seg_bn_1 = nn.BatchNorm1d(config.hidden, affine=False)
        self.seg_2 = nn.Linear(config.hidden, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        frames = features.transpose(1, 2)
        for layer in (self.frame_1, self.frame_2, self.frame_3, self.frame_4, self.frame_5):
            frames = layer(frames)
        hidden = self.seg_bn_1(torch.relu(self.seg_1(self.pool(frames))))
        return self.seg_2(hidden).float()
