"""The parts of ReDimNet2: blocks over the time–frequency plane, blocks over time, and the turns between both.

A *map* is what the parts pass on: [B, F · C, T], the bins one after the other, each with its channels. As a
*plane* it is [B, C, F, T]. The names of the tensors are those of the published checkpoints.
Source: arXiv 2603.11841, and the layout of PalabraAI's published files.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HEADS = 4
"""Of every attention."""

NORM_FLOOR = 1e-6
"""Added to the variance by the norms over channels, and by the batch norm behind a widened stage."""

WIDTHS = (7, 19, 31, 59)
"""Of the convolutions over time in front of the attention, in frames; the last one also places the frames."""


def copied(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """In order. What follows would copy in any case; made here, torch.export need not reason about strides."""
    return values.clone(memory_format=torch.contiguous_format)


def to_map(plane: Float[Tensor, "B C F T"]) -> Float[Tensor, "B R T"]:
    """[B, C, F, T] → [B, F · C, T]: row f · C + c."""
    return copied(plane.transpose(1, 2)).flatten(1, 2)


def to_plane(frames: Float[Tensor, "B R T"], bins: int) -> Float[Tensor, "B C F T"]:
    """[B, F · C, T] → [B, C, F, T], F = `bins`."""
    return frames.unflatten(1, (bins, frames.shape[1] // bins)).transpose(1, 2)


def repeated(frames: Float[Tensor, "B R S"], times: int) -> Float[Tensor, "B R T"]:
    """Every frame `times` times in a row: T = times · S."""
    return frames if times == 1 else F.interpolate(frames, times * frames.shape[2])


class ChannelNorm(nn.Module):
    """Layer norm over dimension 1, in float32 at least."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Float[Tensor, "B C *rest"]) -> Float[Tensor, "B C *rest"]:
        values = values.to(self.weight.dtype)
        centred = values - values.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + NORM_FLOOR)
        shape = (-1, *[1] * (values.dim() - 2))
        return centred * scale * self.weight.view(shape) + self.bias.view(shape)


class Mixture(nn.Module):
    """The sum of the maps so far, each row of each map weighted; the weights of a row sum to 1."""

    def __init__(self, maps: int, rows: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, maps, rows, 1))

    def forward(self, maps: list[Float[Tensor, "B R T"]]) -> Float[Tensor, "B R T"]:
        first, *others = torch.softmax(self.w, dim=1).unbind(1)
        total = maps[0] * first
        for weight, frames in zip(others, maps[1:], strict=True):
            total = torch.addcmul(total, frames, weight)
        return total


class Plane(nn.Module):
    """A map → a plane of `bins` bins."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, frames: Float[Tensor, "B R T"]) -> Float[Tensor, "B C F T"]:
        return to_plane(frames, self.bins)


class Map(nn.Module):
    """A plane → a map."""

    def forward(self, plane: Float[Tensor, "B C F T"]) -> Float[Tensor, "B R T"]:
        return to_map(plane)


class Repeat(nn.Module):
    """Back to full time resolution: every frame `times` times in a row."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, frames: Float[Tensor, "B R S"]) -> Float[Tensor, "B R T"]:
        return repeated(frames, self.times)


class ResidualBlock(nn.Module):
    """Two grouped 3 × 3 convolutions, each with a pointwise one behind it; ReLU before the first batch norm.

    Args:
        channels: C.
        divisor: channels in a group.
    """

    def __init__(self, channels: int, divisor: int) -> None:
        super().__init__()
        groups = channels // divisor
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv1pw = nn.Conv2d(channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv2pw = nn.Conv2d(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, plane: Float[Tensor, "B C F T"]) -> Float[Tensor, "B C F T"]:
        inner = self.bn1(torch.relu(self.conv1pw(self.conv1(plane))))
        return torch.relu(self.bn2(self.conv2pw(self.conv2(inner))) + plane)


class ConvNeXtBlock(nn.Module):
    """Grouped convolutions side by side, batch norm, GELU, a pointwise convolution, and the input added.

    Args:
        channels: C.
        kernels: of the convolutions, each odd in every dimension: (frames,) or (bins, frames).
        divisor: channels in a group.
    """

    def __init__(self, channels: int, kernels: list[tuple[int, ...]], divisor: int = 1) -> None:
        super().__init__()
        plane = len(kernels[0]) == 2
        conv: Any = nn.Conv2d if plane else nn.Conv1d
        norm: Any = nn.BatchNorm2d if plane else nn.BatchNorm1d
        self.dwconvs = nn.ModuleList(
            conv(
                channels,
                channels,
                kernel,
                padding=tuple(size // 2 for size in kernel),
                groups=channels // divisor,
            )
            for kernel in kernels
        )
        self.norm = norm(channels * len(kernels))
        self.pwconv1 = conv(channels * len(kernels), channels, 1)

    def forward(self, values: Float[Tensor, "B C *rest"]) -> Float[Tensor, "B C *rest"]:
        side_by_side = torch.cat([conv(values) for conv in self.dwconvs], dim=1)
        return values + self.pwconv1(F.gelu(self.norm(side_by_side)))


class ConvBlock(nn.Module):
    """One block over the plane, under the name that the published layout gives it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.conv_block = block

    def forward(self, plane: Float[Tensor, "B C F T"]) -> Float[Tensor, "B C F T"]:
        return self.conv_block(plane)


class Attention(nn.Module):
    """Every frame looks at every frame: scaled dot products, softmax, in four heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, frames: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        query, key, value = (
            proj(frames).unflatten(2, (HEADS, frames.shape[2] // HEADS)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(copied(seen.transpose(1, 2)).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU (its tanh form) between them."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(channels, inner)
        self.output_dense = nn.Linear(inner, channels)

    def forward(self, frames: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.output_dense(F.gelu(self.intermediate_dense(frames), approximate="tanh"))


class Transformer(nn.Module):
    """Attention and feed-forward, a layer norm behind each sum. Source: arXiv 1706.03762, §3.1."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(channels)
        self.layer_norm = nn.LayerNorm(channels, eps=NORM_FLOOR)
        self.feed_forward = FeedForward(channels, inner)
        self.final_layer_norm = nn.LayerNorm(channels, eps=NORM_FLOOR)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        rows = copied(frames.transpose(1, 2))
        rows = self.layer_norm(rows + self.attention(rows))
        return self.final_layer_norm(rows + self.feed_forward(rows)).transpose(1, 2)


class Position(nn.Module):
    """Tells each frame where it is: a wide convolution over time, normed and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, WIDTHS[-1], padding=WIDTHS[-1] // 2, groups=channels)
        self.norm = ChannelNorm(channels)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        return frames + self.norm(self.conv(frames))


class TimeBlock(nn.Module):
    """What the rest of the utterance adds to each frame of a map, computed at a narrow width.

    Args:
        rows: of the map.
        width: the narrow width, a multiple of 4.
        kind: "conv+att", convolutions of growing width, then attention; or "att", attention alone.
    """

    def __init__(self, rows: int, width: int, kind: str) -> None:
        super().__init__()
        self.red_dim_conv = nn.Sequential(nn.Conv1d(rows, width, 1), ChannelNorm(width))
        if kind == "conv+att":
            convolutions = [ConvNeXtBlock(width, [(size,)]) for size in WIDTHS]
            self.tcm = nn.Sequential(*convolutions, Transformer(width, width))
        else:
            self.tcm = nn.Sequential(Position(width), Transformer(width, 2 * width))
        self.exp_dim_conv = nn.Conv1d(width, rows, 1)

    def forward(self, frames: Float[Tensor, "B R T"]) -> Float[Tensor, "B R T"]:
        return frames + self.exp_dim_conv(self.tcm(self.red_dim_conv(frames)))
