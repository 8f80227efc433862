"""ResNet over the time–frequency plane in WeSpeaker's exact layout, with depth and width as fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.ecapa import AttentivePooling
from distilvox.models.pooling import StatisticsPooling

MIN_FRAMES = 9
"""Three halvings must leave two frames, which a standard deviation takes."""

EXPANSION = 4
"""Channels that leave a bottleneck for each inside it."""

ATTENTION = 128
"""Inner width of attentive pooling."""


@dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Depth and width of a ResNet; the defaults are WeSpeaker's ResNet34 (6,634,336 parameters).

    Its other depths, each one line:

    >>> resnet18 = ResNetConfig(blocks=(2, 2, 2, 2))
    >>> resnet50 = ResNetConfig(blocks=(3, 4, 6, 3), bottleneck=True)
    >>> resnet101 = ResNetConfig(blocks=(3, 4, 23, 3), bottleneck=True)
    >>> resnet152 = ResNetConfig(blocks=(3, 8, 36, 3), bottleneck=True)
    >>> resnet221 = ResNetConfig(blocks=(6, 16, 48, 3), bottleneck=True)
    >>> resnet293 = ResNetConfig(blocks=(10, 20, 64, 3), bottleneck=True)
    >>> half_as_wide = ResNetConfig(channels=16)

    Args:
        mels: F, features of one frame, a multiple of 8.
        blocks: residual blocks in each of the four stages.
        channels: of the first stage; each later stage has twice as many and half the resolution.
        embedding_dim: D.
        bottleneck: blocks of three convolutions that end in four times the channels, for depth beyond 34.
        two_emb_layer: a second linear layer after a ReLU and a batch norm without weights; some published
            checkpoints have it.
        attentive: weights over time for each channel and bin in the pooling, instead of plain statistics;
            WeSpeaker's `pooling_func: ASTP`.
    """

    about: ClassVar[str] = "ResNet: few parameters, much arithmetic; where accuracy counts more than time"

    mels: int = 80
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    channels: int = 32
    embedding_dim: int = 256
    bottleneck: bool = False
    two_emb_layer: bool = False
    attentive: bool = False

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

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(inputs, width, stride)

    def forward(self, planes: Float[Tensor, "B I F T"]) -> Float[Tensor, "B O G S"]:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(planes)))))
        return torch.relu(inner + self.shortcut(planes))


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two of 1 × 1, the last to `EXPANSION` times the width, around a shortcut.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, §4.1, with the stride in
    the convolution of 3 × 3.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, planes: Float[Tensor, "B I F T"]) -> Float[Tensor, "B O G S"]:
        inner = torch.relu(self.bn1(self.conv1(planes)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + self.shortcut(planes))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Nothing, or a 1 × 1 convolution with batch norm where channels or resolution change."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def stage(config: ResNetConfig, inputs: int, number: int) -> nn.Sequential:
    """Stage 0 to 3: its first block changes the channels, and halves the resolution from stage 1 on."""
    kind = Bottleneck if config.bottleneck else BasicBlock
    width = config.channels * 2**number
    first = kind(inputs, width, 1 if number == 0 else 2)
    outputs = width * EXPANSION if config.bottleneck else width
    return nn.Sequential(first, *[kind(outputs, width, 1) for _ in range(config.blocks[number] - 1)])


class ResNet(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 9 (`MIN_FRAMES`).

    The embedding is the output of the last linear layer, without a non-linearity behind it.
    Source: Zeinali et al., "BUT System Description to VoxCeleb Speaker Recognition Challenge 2019",
    arXiv 1910.12592, §3.1, with statistics pooling and one embedding layer, or two.
    """

    min_frames = MIN_FRAMES

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        width, grown = config.channels, EXPANSION if config.bottleneck else 1
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(config, width, 0)
        self.layer2 = stage(config, width * grown, 1)
        self.layer3 = stage(config, 2 * width * grown, 2)
        self.layer4 = stage(config, 4 * width * grown, 3)
        pooled = 8 * width * grown * config.mels // 8
        self.attentive = config.attentive
        self.pool = (
            AttentivePooling(pooled, ATTENTION, global_context=False)
            if config.attentive
            else StatisticsPooling()
        )
        self.seg_1 = nn.Linear(2 * pooled, config.embedding_dim)
        self.two_emb_layer = config.two_emb_layer
        if self.two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(config.embedding_dim, affine=False)
            self.seg_2 = nn.Linear(config.embedding_dim, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        planes = features.transpose(1, 2).unsqueeze(1)
        planes = torch.relu(self.bn1(self.conv1(planes)))
        if self.training and planes.device.type == "cpu" and not torch.compiler.is_compiling():
            planes = planes.contiguous(memory_format=torch.channels_last)  # what follows is then faster
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            planes = layer(planes)
        embedding = self.seg_1(self.pool(planes.flatten(1, 2) if self.attentive else planes))
        if self.two_emb_layer:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        return embedding.float()
