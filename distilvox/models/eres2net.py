"""ERes2Net and ERes2NetV2 in 3D-Speaker's exact layout: Res2Net over the plane whose parts are fused by attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.pooling import StatisticsPooling

CEILING = 20.0
"""Of the ReLU inside the blocks; the stem's has none."""

VARIANCE_FLOOR = 1e-8
MIN_FRAMES = 9
"""Three halvings must leave two frames, which a standard deviation takes."""


@dataclass(frozen=True)
class ERes2NetConfig(BackboneConfig):
    """Depth and width of an ERes2Net; the defaults are 3D-Speaker's base model (9,887,808 parameters).

    The others of 3D-Speaker, each one line:

    >>> large = ERes2NetConfig(channels=64)
    >>> v2 = ERes2NetConfig(version=2, channels=64, base_width=26, embedding_dim=192)
    >>> v2_w24s4ep4 = ERes2NetConfig(
    ...     version=2, channels=64, base_width=24, scale=4, expansion=4, embedding_dim=192
    ... )

    Args:
        mels: F, features of one frame, a multiple of 8.
        embedding_dim: D.
        version: 1 fuses the outputs of all four stages from the bottom up, 2 those of the last two.
        channels: of the stem; stage k (from 0) works on 2^k times as many, at half the resolution of the one
            before.
        blocks: in each of the four stages.
        base_width: channels of one group in the first stage, in 64ths of `channels`.
        scale: into how many groups a block divides its channels.
        expansion: channels that leave a block for each of its stage.
    """

    about: ClassVar[str] = "ERes2Net of 3D-Speaker: groups of channels fused by attention; a large teacher"

    mels: int = 80
    embedding_dim: int = 512
    version: int = 1
    channels: int = 32
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    base_width: int = 32
    scale: int = 2
    expansion: int = 2

    def __post_init__(self) -> None:
        for name in ("mels", "embedding_dim", "channels", "base_width", "expansion"):
            value = getattr(self, name)
            require(
                value > 0, f"ERes2Net: {name} must be a whole number above 0", got=value, allowed="1, 2, 3 …"
            )
        require(
            self.version in (1, 2), "ERes2Net: there is no such version", got=self.version, allowed="1, 2"
        )
        require(self.mels % 8 == 0, "ERes2Net: mels must be a multiple of 8", got=self.mels)
        require(self.scale > 1, "ERes2Net: scale must be at least 2", got=self.scale, allowed="2, 3, 4 …")
        require(
            min(self.blocks) > 0,
            "ERes2Net: blocks must be four whole numbers above 0",
            got=self.blocks,
            allowed="such as (3, 4, 6, 3)",
        )
        require(
            self.channels * self.base_width >= 64,
            "ERes2Net: channels times base_width must be at least 64, so that a group has a channel",
            got=f"{self.channels} times {self.base_width}",
        )

    def build(self) -> ERes2Net:
        return ERes2Net(self)


class Fusion(nn.Module):
    """x and y of one shape → (1 + a) x + (1 − a) y, a in (−1, 1) for each point, from both.

    Source: Dai et al., "Attentional Feature Fusion", arXiv 2009.14082, with local attention alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(
        self, first: Float[Tensor, "B C F T"], second: Float[Tensor, "B C F T"]
    ) -> Float[Tensor, "B C F T"]:
        tilt = torch.tanh(self.local_att(torch.cat([first, second], dim=1)))
        return first + second + tilt * (first - second)


class Block(nn.Module):
    """1 × 1, 3 × 3 over groups of channels, and 1 × 1 convolutions around a shortcut.

    Each group is joined by the result of the one before: added to it, or fused with it.
    Source: Gao et al., "Res2Net", arXiv 1904.01169, §3.1.
    """

    def __init__(self, inputs: int, planes: int, stride: int, fused: bool, config: ERes2NetConfig) -> None:
        super().__init__()
        self.width = planes * config.base_width // 64
        inner, outputs = self.width * config.scale, planes * config.expansion
        groups = range(config.scale)
        self.conv1 = nn.Conv2d(inputs, inner, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1, bias=False) for _ in groups
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in groups)
        if fused:
            self.fuse_models = nn.ModuleList(Fusion(self.width) for _ in groups[1:])
        self.fused = fused
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, planes: Float[Tensor, "B I F T"]) -> Float[Tensor, "B O G S"]:
        groups = rectified(self.bn1(self.conv1(planes))).split(self.width, dim=1)
        done: list[Tensor] = []
        for k, (group, conv, bn) in enumerate(zip(groups, self.convs, self.bns, strict=True)):
            if done:
                group = self.fuse_models[k - 1](done[-1], group) if self.fused else done[-1] + group
            done.append(rectified(bn(conv(group))))
        return rectified(self.bn3(self.conv3(torch.cat(done, dim=1))) + self.shortcut(planes))


def rectified(values: Float[Tensor, "B C F T"]) -> Float[Tensor, "B C F T"]:
    return values.clamp(0.0, CEILING)


def from_wespeaker(name: str) -> str:
    """A name of WeSpeaker's ERes2Net in 3D-Speaker's terms: it keeps the first group of a fused block apart.

    >>> from_wespeaker("layer3.0.conv2_1.weight"), from_wespeaker("layer4.2.bns.0.bias")
    ('layer3.0.convs.0.weight', 'layer4.2.bns.1.bias')
    """
    stage, *rest = name.split(".")
    if stage not in ("layer3", "layer4") or len(rest) < 3:
        return name
    block, part, *last = rest
    if part in ("conv2_1", "bn2_1"):
        part, last = f"{part.removesuffix('2_1')}s", ["0", *last]
    elif part in ("convs", "bns") and last[0].isdecimal():
        last = [str(int(last[0]) + 1), *last[1:]]
    return ".".join([stage, block, part, *last])


def halving(channels: int) -> nn.Conv2d:
    """Half the resolution and twice the channels: a lower stage's output in the shape of the next one's."""
    return nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)


class ERes2Net(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 9 (`MIN_FRAMES`).

    Source: Chen et al., "An Enhanced Res2Net with Local and Global Feature Fusion for Speaker Verification",
    Interspeech 2023, arXiv 2305.12838; version 2: Chen et al., "ERes2NetV2: Boosting Short-Duration Speaker
    Verification Performance with Computational Efficiency", Interspeech 2024, arXiv 2406.02167.
    """

    min_frames = MIN_FRAMES

    def __init__(self, config: ERes2NetConfig) -> None:
        super().__init__(config)
        width, first = config.channels, config.version == 1
        self.first = first
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for k, count in enumerate(config.blocks):
            planes = width * 2**k
            outputs = planes * config.expansion
            stride = 1 if k == 0 else 2
            blocks = [Block(inputs, planes, stride, k > 1, config)]
            blocks += [Block(outputs, planes, 1, k > 1, config) for _ in range(count - 1)]
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
            inputs = outputs
        lowest = width * config.expansion
        if first:
            self.layer1_downsample = halving(lowest)
            self.layer2_downsample = halving(2 * lowest)
            self.layer3_downsample = halving(4 * lowest)
            self.fuse_mode12 = Fusion(2 * lowest)
            self.fuse_mode123 = Fusion(4 * lowest)
            self.fuse_mode1234 = Fusion(8 * lowest)
        else:
            self.layer3_ds = halving(4 * lowest)
            self.fuse34 = Fusion(8 * lowest)
        self.pool = StatisticsPooling(VARIANCE_FLOOR)
        self.seg_1 = nn.Linear(2 * 8 * lowest * config.mels // 8, config.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        planes = torch.relu(self.bn1(self.conv1(features.transpose(1, 2).unsqueeze(1))))
        one = self.get_submodule("layer1")(planes)
        two = self.get_submodule("layer2")(one)
        three = self.get_submodule("layer3")(two)
        four = self.get_submodule("layer4")(three)
        if self.first:
            two = self.fuse_mode12(two, self.layer1_downsample(one))
            three = self.fuse_mode123(three, self.layer2_downsample(two))
            four = self.fuse_mode1234(four, self.layer3_downsample(three))
        else:
            four = self.fuse34(four, self.layer3_ds(three))
        return self.seg_1(self.pool(four)).float()
