"""CAM++ in WeSpeaker's exact layout: a densely connected TDNN whose layers mask themselves by their context."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.pooling import StatisticsPooling

MIN_FRAMES = 3
"""Halving must leave two frames, which a standard deviation takes."""


@dataclass(frozen=True)
class CAMPPlusConfig(BackboneConfig):
    """Widths and depths of a CAM++; the defaults are WeSpeaker's (7,176,224 parameters).

    For 2 s of speech: 1,064 million multiply–accumulates; `campplus-s` takes 36 million. A training step of
    `campplus-s` (32 × 2 s, one core of an AMD EPYC) took 260 ms in float32 and 180 ms in bfloat16 autocast,
    2.1 and 2.7 times an `xvector-s`. The head is most of it, for few channels at full time resolution use a
    CPU badly: with the head's strides as WeSpeaker has them the same step takes 1.5 times as long.

    Args:
        mels: F, features of one frame, a multiple of 8.
        embedding_dim: D.
        head_channels: of the convolutions over the time–frequency plane, at full time resolution.
        head_blocks: residual blocks in each of the two stages over the plane.
        head_strides: over frequency, of the first convolution, the two stages and the last convolution; the
            earlier they are, the cheaper the head. `mels` is a multiple of their product.
        channels: of the first layer over time, which halves the time resolution.
        layers: layers in each of the three dense blocks.
        growth: channels that each of these layers adds.
        bottleneck: the inner width of such a layer, in multiples of `growth`.
        kernel: its width, odd, in frames (of 20 ms).
        dilations: of each dense block, in frames.
        segment: frames that share a mask.
    """

    about: ClassVar[str] = "CAM++: dense layers that mask themselves by context; a quarter of ResNet34's MACs"

    mels: int = 80
    embedding_dim: int = 512
    head_channels: int = 32
    head_blocks: int = 2
    head_strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    channels: int = 128
    layers: tuple[int, int, int] = (12, 24, 16)
    growth: int = 32
    bottleneck: int = 4
    kernel: int = 3
    dilations: tuple[int, int, int] = (1, 2, 2)
    segment: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            many = isinstance(value, tuple)
            require(
                min(value) > 0 if many else value > 0,
                f"CAM++: {field.name} must be {'whole numbers' if many else 'a whole number'} above 0",
                got=value,
                allowed=f"such as {field.default}" if many else "1, 2, 3 …",
            )
        require(
            self.mels % prod(self.head_strides) == 0,
            f"CAM++: mels must be a multiple of {prod(self.head_strides)}, the product of head_strides",
            got=self.mels,
        )
        require(self.kernel % 2 == 1, "CAM++: kernel must be odd", got=self.kernel, allowed="1, 3, 5 …")
        require(
            self.growth * self.bottleneck > 1,
            "CAM++: growth times bottleneck must be at least 2, for half of it is the width of a mask's layer",
            got=self.growth * self.bottleneck,
        )

    def build(self) -> CAMPPlus:
        return CAMPPlus(self)


class PlaneBlock(nn.Module):
    """ResNet's basic block, which strides over frequency alone and keeps its number of channels.

    The shortcut takes every other bin before its pointwise convolution, which is the same as a stride
    behind it and four times as fast on a CPU.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, planes: Float[Tensor, "B C F T"]) -> Float[Tensor, "B C G T"]:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(planes)))))
        return torch.relu(inner + self.shortcut(planes[:, :, :: self.stride]))


class Head(nn.Module):
    """Convolutions over the plane: features [B, F, T] → channels [B, C · G, T], G bins left, inside."""

    def __init__(self, channels: int, blocks: int, strides: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, second, third, last = strides
        self.conv1 = nn.Conv2d(1, channels, 3, stride=(first, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(*[PlaneBlock(channels, 1 if k else second) for k in range(blocks)])
        self.layer2 = nn.Sequential(*[PlaneBlock(channels, 1 if k else third) for k in range(blocks)])
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(last, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Float[Tensor, "B F T"]) -> Float[Tensor, "B C T"]:
        planes = torch.relu(self.bn1(self.conv1(features.unsqueeze(1))))
        planes = self.layer2(self.layer1(planes))
        return torch.relu(self.bn2(self.conv2(planes))).flatten(1, 2)


def normalise(channels: int) -> nn.Sequential:
    """Batch norm and ReLU, under the layout's names."""
    layers = nn.Sequential()
    layers.add_module("batchnorm", nn.BatchNorm1d(channels))
    layers.add_module("relu", nn.ReLU())
    return layers


def members(frames: Float[Tensor, "B C T"], segment: int) -> Float[Tensor, "S T"]:
    """Which frames each segment holds: ones and zeros, S = ceil(T / segment) + 1.

    Behind the last segment comes an empty one, without which the exporter of PyTorch would take the only segment of
    a short example for a constant.
    """
    total, device = frames.shape[2], frames.device
    segments = torch.arange((total + segment - 1) // segment + 1, device=device)
    return (torch.arange(total, device=device) // segment == segments[:, None]).to(frames.dtype)


def contexts(frames: Float[Tensor, "B C T"], member: Float[Tensor, "S T"]) -> Float[Tensor, "B C S"]:
    """The mean of each segment plus the mean of all frames; a shorter last segment counts its own frames.

    The product sums the same frames as `avg_pool1d(ceil_mode=True)`, which runtimes round or refuse in ways of their
    own: onnxruntime before 1.32 does not load a pooling that a pad was folded into.
    """
    sums = frames @ member.T
    return sums / member.sum(dim=1).clamp(min=1) + sums.sum(dim=2, keepdim=True) / frames.shape[2]


class MaskedLayer(nn.Module):
    """A dilated convolution times a mask in (0, 1) for each channel and segment, from the segment's context.

    The original computes the mask for every frame; frames of one segment share it, so it is computed once
    for each segment, and a product with ones and zeros [S, T] (`members`) hands it to the frames.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.linear_local = nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, frames: Float[Tensor, "B I T"], member: Float[Tensor, "S T"]) -> Float[Tensor, "B O T"]:
        masks = torch.sigmoid(self.linear2(torch.relu(self.linear1(contexts(frames, member)))))
        return self.linear_local(frames) * (masks @ member)


class DenseLayer(nn.Module):
    """Norm, a pointwise bottleneck, norm, and a masked convolution that yields `growth` channels."""

    def __init__(self, inputs: int, dilation: int, config: CAMPPlusConfig) -> None:
        super().__init__()
        inner = config.bottleneck * config.growth
        self.nonlinear1 = normalise(inputs)
        self.linear1 = nn.Conv1d(inputs, inner, 1, bias=False)
        self.nonlinear2 = normalise(inner)
        self.cam_layer = MaskedLayer(inner, config.growth, config.kernel, dilation)

    def forward(self, frames: Float[Tensor, "B I T"], member: Float[Tensor, "S T"]) -> Float[Tensor, "B O T"]:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(frames))), member)


class DenseBlock(nn.Sequential):
    """Layers that each see the block's input and the outputs of all layers before."""

    def __init__(self, inputs: int, layers: int, dilation: int, config: CAMPPlusConfig) -> None:
        super().__init__()
        self.segment = config.segment
        for k in range(layers):
            self.add_module(f"tdnnd{k + 1}", DenseLayer(inputs + k * config.growth, dilation, config))

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O T"]:
        member = members(frames, self.segment)
        for layer in self:
            frames = torch.cat([frames, layer(frames, member)], dim=1)
        return frames


class Transit(nn.Module):
    """Norm, and a pointwise convolution that halves the channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.nonlinear = normalise(inputs)
        self.linear = nn.Conv1d(inputs, inputs // 2, 1, bias=False)

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O T"]:
        return self.linear(self.nonlinear(frames))


class Entry(nn.Module):
    """The first layer over time: five frames wide, every other frame, then norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 5, stride=2, padding=2, bias=False)
        self.nonlinear = normalise(outputs)

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O S"]:
        return self.nonlinear(self.linear(frames))


class Dense(nn.Module):
    """Statistics → embedding, in batch norm without weights."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(outputs, affine=False))

    def forward(self, statistics: Float[Tensor, "B I"]) -> Float[Tensor, "B D"]:
        return self.nonlinear(self.linear(statistics.unsqueeze(2)).squeeze(2))


class CAMPPlus(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 3 (`MIN_FRAMES`).

    The embedding is the output of a batch norm, so training needs batches of two and more.
    Source: Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
    Masking", Interspeech 2023, arXiv 2303.00332.
    """

    min_frames = MIN_FRAMES

    def __init__(self, config: CAMPPlusConfig) -> None:
        super().__init__(config)
        self.head = Head(config.head_channels, config.head_blocks, config.head_strides)
        planes = config.head_channels * config.mels // prod(config.head_strides)
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", Entry(planes, config.channels))
        width = config.channels
        for k, (layers, dilation) in enumerate(zip(config.layers, config.dilations, strict=True), start=1):
            self.xvector.add_module(f"block{k}", DenseBlock(width, layers, dilation, config))
            width += layers * config.growth
            self.xvector.add_module(f"transit{k}", Transit(width))
            width //= 2
        self.xvector.add_module("out_nonlinear", normalise(width))
        self.xvector.add_module("stats", StatisticsPooling())
        self.xvector.add_module("dense", Dense(2 * width, config.embedding_dim))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        return self.xvector(self.head(features.transpose(1, 2))).float()
