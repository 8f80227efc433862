"""ReDimNet2: stages over the time–frequency plane and over time in turn, all maps at full time resolution."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import gcd, prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require, unknown
from distilvox.models.backbone import Backbone, BackboneConfig
from distilvox.models.ecapa import AttentivePooling
from distilvox.models.redimnet2_blocks import (
    HEADS,
    NORM_FLOOR,
    ChannelNorm,
    ConvBlock,
    ConvNeXtBlock,
    Map,
    Mixture,
    Plane,
    Repeat,
    ResidualBlock,
    TimeBlock,
    to_plane,
)

KINDS = {"time_block": ("conv+att", "att"), "plane_block": ("basic_resnet", "convnext_like")}
BOTTLENECK = 128
"""Inner width of the attentive pooling."""


@dataclass(frozen=True)
class ReDimNet2Config(BackboneConfig):
    """Widths and depths of a ReDimNet2; the defaults are those of B0 (1,115,220 parameters).

    Five fields hold one value a stage.

    Args:
        mels: F, features of one frame, a multiple of the product of `bin_strides` and of the stem's.
        embedding_dim: D.
        channels: C of the plane behind the stem, the first convolution; every map has C · F rows.
        stem_strides: by how much the stem divides the bins and the frames of all that follows, which makes a
            small model cheap: 1 or 2; (1, 1) is what is published.
        bin_strides: by how much a stage divides the bins, and multiplies the channels.
        time_strides: by how much it divides the frames; at most 48 together with the stem's.
        blocks: residual blocks over the plane.
        expansions: by how much the channels are wider inside a stage.
        reductions: C · F divided by it is the width of the stage's block over time; 0 for none.
        out_channels: of the convolution in front of the pooling; 0 for none.
        out_plane: whether that convolution is over the plane (for each bin) or over the map (over all bins).
        time_block: "conv+att" or "att", see `TimeBlock`.
        plane_block: "basic_resnet", or "convnext_like" with convolutions of `kernels`.
        kernels: bins and frames of the first convolution side by side, of the second, …; odd.
        divisor: channels in a group of the blocks' convolutions.
        grouped_strides: whether the convolution that strides is grouped.
        group_norm: whether every map is normed over time, in C groups of rows, before the next stages see it.
        dual: whether the next stages see a stage's plane beside the output of its block over time.
        embedding_norm: whether a batch norm follows the embedding.
    """

    about: ClassVar[str] = "ReDimNet2: plane and time in turn; the best published error for its size"

    mels: int = 72
    embedding_dim: int = 192
    channels: int = 12
    stem_strides: tuple[int, int] = (1, 1)
    bin_strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2)
    time_strides: tuple[int, ...] = (1, 1, 2, 1, 2, 1)
    blocks: tuple[int, ...] = (2, 3, 4, 5, 4, 3)
    expansions: tuple[float, ...] = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    reductions: tuple[int, ...] = (36, 36, 36, 36, 18, 18)
    out_channels: int = 64
    out_plane: bool = True
    time_block: str = "conv+att"
    plane_block: str = "basic_resnet"
    kernels: tuple[int, ...] = (3, 3)
    divisor: int = 1
    grouped_strides: bool = True
    group_norm: bool = False
    dual: bool = False
    embedding_norm: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value, zero = getattr(self, field.name), field.name in ("reductions", "out_channels")
            if isinstance(value, str):
                if value not in KINDS[field.name]:
                    raise unknown(f"{field.name} of ReDimNet2", value, KINDS[field.name])
                continue
            items = value if isinstance(value, tuple) else (value,)
            require(
                bool(items) and min(items) >= (0 if zero or isinstance(value, bool) else 1e-9),
                f"ReDimNet2: {field.name} must be {'0 or more' if zero else 'above 0'}",
                got=value,
                allowed=f"such as {field.default}",
            )
        per_stage = ("bin_strides", "time_strides", "blocks", "expansions", "reductions")
        lengths = {name: len(getattr(self, name)) for name in per_stage}
        require(len(set(lengths.values())) == 1, "ReDimNet2: its stages differ in number", got=lengths)
        require(
            max(self.stem_strides) <= 2,
            "ReDimNet2: stem_strides must be 1 or 2",
            got=self.stem_strides,
            allowed="such as (1, 1) or (2, 2)",
        )
        require(
            self.mels % self.bin_stride == 0,
            f"ReDimNet2: mels must be a multiple of {self.bin_stride}, the product of all strides over bins",
            got=self.mels,
        )
        require(
            self.time_stride <= 48,
            "ReDimNet2: stem_strides and time_strides divide the frames too often",
            got=self.time_stride,
            allowed="at most 48 together",
        )
        for reduction in filter(None, self.reductions):
            width = self.rows // reduction
            require(
                width > 0 and width % HEADS == 0,
                f"ReDimNet2: channels · mels / reduction must be a multiple of {HEADS}, the attention's heads",
                got=f"{self.rows} / {reduction}",
            )
        for width in self.widths:
            require(
                width > 0 and width % self.divisor == 0,
                "ReDimNet2: the channels inside a stage must be a multiple of divisor",
                got=f"{width} channels, divisor {self.divisor}",
            )
        require(
            len(self.kernels) % 2 == 0 and all(size % 2 for size in self.kernels),
            "ReDimNet2: kernels must be pairs of odd numbers",
            got=self.kernels,
            allowed="such as (3, 3), or (3, 3, 3, 5) for two convolutions",
        )

    @property
    def bin_stride(self) -> int:
        """Mels in a bin of the last stage."""
        return self.stem_strides[0] * prod(self.bin_strides)

    @property
    def time_stride(self) -> int:
        """What T is cut to a multiple of."""
        return self.stem_strides[1] * prod(self.time_strides)

    @property
    def bins(self) -> int:
        """F of the plane behind the stem."""
        return self.mels // self.stem_strides[0]

    @property
    def rows(self) -> int:
        """R of every map."""
        return self.channels * self.bins

    @property
    def widths(self) -> list[int]:
        """Channels inside each stage."""
        wide = [self.channels * prod(self.bin_strides[: k + 1]) for k in range(len(self.bin_strides))]
        return [int(channels * expansion) for channels, expansion in zip(wide, self.expansions, strict=True)]

    def build(self) -> ReDimNet2:
        return ReDimNet2(self)


class Maps(nn.Module):
    """Features [B, F, T] → what is pooled, [B, P, S]; T is cut to a multiple of all strides over time.

    The stage k first mixes all maps so far: that of the stem and those that the stages before it left.
    """

    def __init__(self, config: ReDimNet2Config) -> None:
        super().__init__()
        self.config = config
        rows = config.rows
        self.bins = config.mels // config.bin_stride
        stem = nn.Conv2d(1, config.channels, 3, stride=config.stem_strides)
        self.stem = nn.Sequential(stem, ChannelNorm(config.channels), Map())
        if config.group_norm:
            self.stem_gnorm = nn.GroupNorm(config.channels, rows)
        maps = 1
        for k in range(len(config.blocks)):
            maps += self.add_stage(k, maps)
        self.fin_wght1d = Mixture(maps, rows)
        self.head: nn.Module = nn.Identity()
        if config.out_channels and config.out_plane:
            self.head = nn.Conv2d(rows // self.bins, config.out_channels, 1)
        elif config.out_channels:
            self.head = nn.Conv1d(rows, config.out_channels, 1)

    def add_stage(self, k: int, maps: int) -> int:
        """Adds the modules of stage k, which mixes `maps` maps; returns how many it leaves."""
        config, rows = self.config, self.config.rows
        stride, time = config.bin_strides[k], prod(config.time_strides[: k + 1])
        bins = config.bins // prod(config.bin_strides[:k])
        before, inner, after = rows // bins, config.widths[k], stride * rows // bins
        groups = gcd(before, inner) if config.grouped_strides else 1
        pairs = list(zip(config.kernels[::2], config.kernels[1::2], strict=True))
        layers: list[nn.Module] = [
            Mixture(maps, rows),
            Plane(bins),
            nn.Conv2d(before, inner, (stride, time), stride=(stride, time), groups=groups),
        ]
        for _ in range(config.blocks[k]):
            if config.plane_block == "basic_resnet":
                layers.append(ConvBlock(ResidualBlock(inner, config.divisor)))
            else:
                layers.append(ConvBlock(ConvNeXtBlock(inner, [*pairs], config.divisor)))
        if config.expansions[k] != 1:
            norm = nn.BatchNorm2d(after, eps=NORM_FLOOR)
            layers.append(nn.Sequential(nn.Conv2d(inner, after, 1), norm))
        layers.append(Map())

        def back() -> list[nn.Module]:
            return (
                [Repeat(time), nn.GroupNorm(config.channels, rows)] if config.group_norm else [Repeat(time)]
            )

        reduction = config.reductions[k]
        if config.dual and reduction:
            self.add_module(f"stage{k}_pre", nn.Sequential(*layers))
            self.add_module(f"stage{k}_1d", TimeBlock(rows, rows // reduction, config.time_block))
            self.add_module(f"stage{k}_up_2d", nn.Sequential(*back()))
            self.add_module(f"stage{k}_up_1d", nn.Sequential(*back()))
            return 2
        if reduction:
            layers.append(TimeBlock(rows, rows // reduction, config.time_block))
        self.add_module(f"stage{k}", nn.Sequential(*layers, *back()))
        return 1

    def forward(self, features: Float[Tensor, "B F T"]) -> Float[Tensor, "B P S"]:
        stride = self.config.time_stride
        # By index, not by slice, and with one zero before the first bin and frame and one behind the last only
        # where the stem does not stride: the exporter can then prove that every map has one length.
        kept = torch.arange(features.shape[2] // stride * stride, device=features.device)
        bins, times = self.config.stem_strides
        plane = F.pad(features.index_select(2, kept).unsqueeze(1), (1, 2 - times, 1, 2 - bins))
        stem = self.stem(plane)
        maps = [self.stem_gnorm(stem) if self.config.group_norm else stem]
        for k, reduction in enumerate(self.config.reductions):
            if self.config.dual and reduction:
                plane = self.get_submodule(f"stage{k}_pre")(maps)
                whole = self.get_submodule(f"stage{k}_1d")(plane)
                maps.append(self.get_submodule(f"stage{k}_up_2d")(plane))
                maps.append(self.get_submodule(f"stage{k}_up_1d")(whole))
            else:
                maps.append(self.get_submodule(f"stage{k}")(maps))
        mixed = self.fin_wght1d(maps)
        return (
            self.head(to_plane(mixed, self.bins)).flatten(1, 2) if self.config.out_plane else self.head(mixed)
        )


class ReDimNet2(Backbone):
    """Features [B, T, F] → embedding [B, D] float32, T at least twice the product of the strides over time.

    Source: arXiv 2603.11841.
    """

    def __init__(self, config: ReDimNet2Config) -> None:
        super().__init__(config)
        self.min_frames = 2 * config.time_stride
        self.backbone = Maps(config)
        pooled = config.rows
        if config.out_channels:
            pooled = config.out_channels * (self.backbone.bins if config.out_plane else 1)
        self.pool = AttentivePooling(pooled, BOTTLENECK, global_context=True)
        self.bn = nn.BatchNorm1d(2 * pooled)
        self.linear = nn.Linear(2 * pooled, config.embedding_dim)
        self.bn2 = nn.BatchNorm1d(config.embedding_dim) if config.embedding_norm else nn.Identity()

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        self.check_frames(features)
        return self.bn2(self.linear(self.bn(self.pool(self.backbone(features.transpose(1, 2)))))).float()
