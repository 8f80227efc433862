"""ECAPA-TDNN in WeSpeaker's exact layout, so that its checkpoints load, with widths as fields."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone, BackboneConfig

VARIANCE_FLOOR = 1e-7
"""Of the pooled variances: keeps the root's gradient finite where a channel is constant."""


@dataclass(frozen=True)
class ECAPAConfig(BackboneConfig):
    """Widths of an ECAPA-TDNN; the defaults are WeSpeaker's ECAPA_TDNN_GLOB_c512 (6,190,720 parameters).

    WeSpeaker's others, each one line:

    >>> glob_c1024 = ECAPAConfig(channels=1024)
    >>> c512 = ECAPAConfig(global_context=False)
    >>> c1024 = ECAPAConfig(channels=1024, global_context=False)

    Args:
        mels: F, features of one frame.
        embedding_dim: D.
        channels: of the first layer and the three blocks, a multiple of `scale`.
        scale: into how many groups of channels a block divides its frames; one of them passes unchanged.
        dilations: of the three blocks, in frames.
        pooled: channels whose statistics are pooled.
        bottleneck: inner width of the channel gates and of the attention.
        global_context: whether the attention sees the utterance's mean and deviation beside the frame.
        embedding_norm: a batch norm behind the embedding; WeSpeaker's `emb_bn`, of its DINO models.
    """

    about: ClassVar[str] = "WeSpeaker's ECAPA-TDNN over time: accurate for its cost, and small when narrow"

    mels: int = 80
    embedding_dim: int = 192
    channels: int = 512
    scale: int = 8
    dilations: tuple[int, int, int] = (2, 3, 4)
    pooled: int = 1536
    bottleneck: int = 128
    global_context: bool = True
    embedding_norm: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("dilations", "global_context", "embedding_norm"):
                require(
                    value > 0,
                    f"ECAPA: {field.name} must be a whole number above 0",
                    got=value,
                    allowed="1, 2, 3 …",
                )
        require(self.scale > 1, "ECAPA: scale must be at least 2", got=self.scale, allowed="2, 4, 8 …")
        require(
            self.channels % self.scale == 0,
            "ECAPA: channels must be a multiple of scale",
            got=f"{self.channels} channels, scale {self.scale}",
        )
        require(
            min(self.dilations) > 0,
            "ECAPA: dilations must be three whole numbers above 0",
            got=self.dilations,
            allowed="such as (2, 3, 4)",
        )

    def build(self) -> ECAPA:
        return ECAPA(self)


class ConvReLUNorm(nn.Module):
    """Convolution over time that keeps T (zeros beyond the ends), ReLU, batch norm, in this order."""

    def __init__(self, inputs: int, outputs: int, width: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, width, padding=width // 2)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O T"]:
        return self.bn(torch.relu(self.conv(frames)))


class Res2Conv(nn.Module):
    """Dilated convolutions over groups of channels, each group joined by the result of the one before.

    The last group passes unchanged. Source: Gao et al., "Res2Net", arXiv 1904.01169, §3.1.
    """

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        self.width = channels // scale
        self.convs = nn.ModuleList(
            nn.Conv1d(self.width, self.width, 3, padding=dilation, dilation=dilation)
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(scale - 1))

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        *groups, last = frames.split(self.width, dim=1)
        done: list[Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            done.append(bn(torch.relu(conv(group + done[-1] if done else group))))
        return torch.cat([*done, last], dim=1)


class ChannelGate(nn.Module):
    """Every channel times a number in (0, 1) that depends on the utterance's means of all channels.

    Source: Hu et al., "Squeeze-and-Excitation Networks", arXiv 1709.01507, §3.
    """

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, bottleneck)
        self.linear2 = nn.Linear(bottleneck, channels)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        gates = torch.sigmoid(self.linear2(torch.relu(self.linear1(frames.mean(dim=2)))))
        return frames * gates.unsqueeze(2)


class Block(nn.Module):
    """What a frame's neighbourhood adds to it: 1 × 1, Res2Net and 1 × 1 convolutions, then a gate."""

    def __init__(self, channels: int, scale: int, dilation: int, bottleneck: int) -> None:
        super().__init__()
        self.se_res2block = nn.Sequential(
            ConvReLUNorm(channels, channels),
            Res2Conv(channels, scale, dilation),
            ConvReLUNorm(channels, channels),
            ChannelGate(channels, bottleneck),
        )

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        return frames + self.se_res2block(frames)


class AttentivePooling(nn.Module):
    """Mean, then standard deviation, of every channel, each channel with its own weights over time.

    Frames [B, C, T] → [B, 2 C]; the statistics are float32 also under autocast. With global context the
    weights depend on the frame, and on the utterance's mean and (unbiased) deviation. WeSpeaker calls this
    layer ASTP. Source: Desplanques et al., arXiv 2005.07143, §3.1.

    Args:
        channels: C.
        bottleneck: inner width of the attention.
        global_context: see above; T is then at least 2.
        floor: smallest variance, before the root.
    """

    def __init__(
        self, channels: int, bottleneck: int, *, global_context: bool, floor: float = VARIANCE_FLOOR
    ) -> None:
        super().__init__()
        self.floor = floor
        self.channels = channels
        self.linear1 = nn.Conv1d(channels * (3 if global_context else 1), bottleneck, 1)
        self.linear2 = nn.Conv1d(bottleneck, channels, 1)

    def hidden(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B H T"]:
        """`linear1` of frame, mean and deviation side by side; the last two, alike in all frames, once."""
        if self.linear1.in_channels == self.channels:
            return self.linear1(frames)
        precise = frames.float()
        mean = precise.mean(dim=2, keepdim=True)
        variance = (precise - mean).square().sum(dim=2) / (frames.shape[2] - 1)
        context = torch.cat([mean.squeeze(2), torch.sqrt(variance + VARIANCE_FLOOR)], dim=1)
        of_frame, of_context = self.linear1.weight.split([self.channels, 2 * self.channels], dim=1)
        shared = F.linear(context, of_context.squeeze(2), self.linear1.bias)
        return F.conv1d(frames, of_frame) + shared.unsqueeze(2)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B P"]:
        weights = torch.softmax(self.linear2(torch.tanh(self.hidden(frames))).float(), dim=2)
        frames = frames.float()
        mean = (weights * frames).sum(dim=2)
        variance = (weights * (frames - mean.unsqueeze(2)).square()).sum(dim=2)
        return torch.cat([mean, torch.sqrt(variance.clamp(min=self.floor))], dim=1)


class ECAPA(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least 2.

    Source: Desplanques et al., "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in
    TDNN Based Speaker Verification", arXiv 2005.07143. As in WeSpeaker, a block adds to the output of the
    one before, not to the sum of all.
    """

    min_frames = 2

    def __init__(self, config: ECAPAConfig) -> None:
        super().__init__(config)
        channels, blocks = (
            config.channels,
            [
                Block(config.channels, config.scale, dilation, config.bottleneck)
                for dilation in config.dilations
            ],
        )
        self.layer1 = ConvReLUNorm(config.mels, channels, 5)
        self.layer2, self.layer3, self.layer4 = blocks
        self.conv = nn.Conv1d(3 * channels, config.pooled, 1)
        self.pool = AttentivePooling(config.pooled, config.bottleneck, global_context=config.global_context)
        self.bn = nn.BatchNorm1d(2 * config.pooled)
        self.linear = nn.Linear(2 * config.pooled, config.embedding_dim)
        self.bn2 = nn.BatchNorm1d(config.embedding_dim) if config.embedding_norm else nn.Identity()

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        first = self.layer1(features.transpose(1, 2))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        frames = torch.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        return self.bn2(self.linear(self.bn(self.pool(frames)))).float()
