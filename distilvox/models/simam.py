"""ResNet with SimAM and attentive pooling, in WeSpeaker's exact layout, so that its checkpoints load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig

ENERGY_FLOOR = 1e-4
"""λ of SimAM: added to the variance of a plane."""

VARIANCE_FLOOR = 1e-5
INNER = 128
"""Width of the attention in the pooling."""


@dataclass(frozen=True)
class SimAMConfig(BackboneConfig):
    """Depth and width; the defaults are WeSpeaker's SimAM_ResNet34_ASP (25,213,760 parameters).

    Its deeper sister, one line:

    >>> resnet100 = SimAMConfig(blocks=(6, 16, 24, 3))

    Args:
        mels: F, features of one frame, a multiple of 8.
        embedding_dim: D.
        channels: of the first stage; each later stage has twice as many and half the resolution.
        blocks: residual blocks in each of the four stages.
    """

    about: ClassVar[str] = "SimAM ResNet of WeSpeaker: attention without parameters; a large teacher"

    mels: int = 80
    embedding_dim: int = 256
    channels: int = 64
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)

    def __post_init__(self) -> None:
        for name in ("mels", "embedding_dim", "channels"):
            value = getattr(self, name)
            require(
                value > 0, f"SimAM: {name} must be a whole number above 0", got=value, allowed="1, 2, 3 …"
            )
        require(self.mels % 8 == 0, "SimAM: mels must be a multiple of 8", got=self.mels)
        require(
            min(self.blocks) > 0,
            "SimAM: blocks must be four whole numbers above 0",
            got=self.blocks,
            allowed="such as (3, 4, 6, 3)",
        )

    def build(self) -> SimAMResNet:
        return SimAMResNet(self)


def simam(planes: Float[Tensor, "B C F T"]) -> Float[Tensor, "B C F T"]:
    """Every point times a number in (0.62, 1) that grows with its distance from the mean of its plane.

    Source: Yang et al., "SimAM: A Simple, Parameter-Free Attention Module", ICML 2021, eq. 5.
    """
    distance = (planes - planes.mean(dim=(2, 3), keepdim=True)).square()
    variance = distance.sum(dim=(2, 3), keepdim=True) / (planes.shape[2] * planes.shape[3] - 1)
    return planes * torch.sigmoid(distance / (4 * (variance + ENERGY_FLOOR)) + 0.5)


class Block(nn.Module):
    """Two 3 × 3 convolutions and SimAM around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != width:
            self.downsample.append(nn.Conv2d(inputs, width, 1, stride=stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(width))

    def forward(self, planes: Float[Tensor, "B I F T"]) -> Float[Tensor, "B O G S"]:
        inner = simam(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(planes))))))
        return torch.relu(inner + self.downsample(planes))


class Front(nn.Module):
    """Planes [B, 1, F, T] → [B, 8 C, F / 8, T / 8], both rounded up."""

    def __init__(self, config: SimAMConfig) -> None:
        super().__init__()
        width = config.channels
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for k, count in enumerate(config.blocks):
            width = config.channels * 2**k
            first = Block(inputs, width, 1 if k == 0 else 2)
            self.add_module(
                f"layer{k + 1}", nn.Sequential(first, *[Block(width, width, 1) for _ in range(count - 1)])
            )
            inputs = width

    def forward(self, planes: Float[Tensor, "B 1 F T"]) -> Float[Tensor, "B C G S"]:
        planes = torch.relu(self.bn1(self.conv1(planes)))
        for k in range(4):
            planes = self.get_submodule(f"layer{k + 1}")(planes)
        return planes


class AttentivePlanes(nn.Module):
    """Weighted mean, then weighted deviation, of every channel and bin [B, C, G, S] → [B, 2 C G], float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(channels, INNER, 1),
            nn.ReLU(),
            nn.BatchNorm1d(INNER),
            nn.Conv1d(INNER, channels, 1),
        )

    def forward(self, planes: Float[Tensor, "B C G S"]) -> Float[Tensor, "B P"]:
        frames = planes.flatten(1, 2)
        weights = torch.softmax(self.attention(frames).float(), dim=2)
        frames = frames.float()
        mean = (weights * frames).sum(dim=2)
        variance = (weights * (frames - mean.unsqueeze(2)).square()).sum(dim=2)
        return torch.cat([mean, torch.sqrt(variance.clamp(min=VARIANCE_FLOOR))], dim=1)


class SimAMResNet(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 2.

    Source: Qin et al., "Simple Attention Module Based Speaker Verification with Iterative Noisy Label
    Detection", ICASSP 2022, arXiv 2110.06534.
    """

    min_frames = 2

    def __init__(self, config: SimAMConfig) -> None:
        super().__init__(config)
        pooled = 8 * config.channels * config.mels // 8
        self.front = Front(config)
        self.pooling = AttentivePlanes(pooled)
        self.bottleneck = nn.Linear(2 * pooled, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        planes = self.front(features.transpose(1, 2).unsqueeze(1))
        return self.bottleneck(self.pooling(planes)).float()
