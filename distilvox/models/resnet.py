"""ResNet over the time–frequency plane in WeSpeaker's exact layout, with depth and width as fields."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.pooling import StatisticsPooling

MIN_FRAMES = 9
"""Three halvings must leave two frames, which a standard deviation takes."""


@dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Depth and width of a ResNet; the defaults are WeSpeaker's ResNet34 (6,634,336 parameters).

    Args:
        mels: F, features of one frame, a multiple of 8.
        blocks: residual blocks in each of the four stages.
        channels: of the first stage; each later stage has twice as many and half the resolution.
        embedding_dim: D.
    """

    mels: int = 80
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    channels: int = 32
    embedding_dim: int = 256

    def __post_init__(self) -> None:
        for name in ("mels", "channels", "embedding_dim"):
            value = getattr(self, name)
            require(
                value > 0,
                f"ResNet: {name} must be a whole number above 0",
                got=value,
                allowed="1, 2, 3 …",
            )
        require(self.mels % 8 == 0, "ResNet: mels must be a multiple of 8", got=self.mels)
        require(
            min(self.blocks) > 0,
            "ResNet: blocks must be four whole numbers above 0",
            got=self.blocks,
            allowed="such as (3, 4, 6, 3) or (2, 2, 2, 2)",
        )

    def build(self) -> ResNet:
        return ResNet(self)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with batch norm around a shortcut.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, §3.3.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, planes: Float[Tensor, "B I F T"]) -> Float[Tensor, "B O G S"]:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(planes)))))
        return torch.relu(inner + self.shortcut(planes))


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` residual blocks; the first changes channels and resolution."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *[BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)])


class ResNet(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 9 (`MIN_FRAMES`).

    Source: Zeinali et al., "BUT System Description to VoxCeleb Speaker Recognition Challenge 2019",
    arXiv 1910.12592, §3.1, with statistics pooling and one embedding layer.
    """

    min_frames = MIN_FRAMES

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        widths = [config.channels * factor for factor in (1, 1, 2, 4, 8)]
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = stage(widths[0], widths[1], config.blocks[0], stride=1)
        self.layer2 = stage(widths[1], widths[2], config.blocks[1], stride=2)
        self.layer3 = stage(widths[2], widths[3], config.blocks[2], stride=2)
        self.layer4 = stage(widths[3], widths[4], config.blocks[3], stride=2)
        self.pool = StatisticsPooling()
        self.seg_1 = nn.Linear(2 * widths[4] * config.mels // 8, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        planes = features.transpose(1, 2).unsqueeze(1)
        planes = torch.relu(self.bn1(self.conv1(planes)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            planes = layer(planes)
        return self.seg_1(self.pool(planes)).float()
