"""SpeechBrain's ECAPA-TDNN, under the names of its tensors.

It differs from WeSpeaker's (`distilvox.models.ecapa`) in more than names: frames are mirrored beyond the
ends, the first group of channels passes a block unchanged (not the last), the last convolution over frames
and the attention have batch norms, and the context's deviation is the biased one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import UserError

DILATIONS = (2, 3, 4)
"""Of the three blocks, as in every published model; shapes do not tell them."""

MIN_FRAMES = max(DILATIONS) + 1
"""As many frames are mirrored at each end as the widest convolution reaches; the end itself is not."""

VARIANCE_FLOOR = 1e-12


class Sizes(NamedTuple):
    """What the shapes of the tensors say: F, channels, groups a block, gate, MFA, attention, D."""

    mels: int
    channels: int
    scale: int
    gate: int
    pooled: int
    attention: int
    embedding_dim: int


def sizes(state: Mapping[str, Tensor], *, where: str) -> Sizes:
    """Reads the sizes off a state dict.

    Errors:
        UserError naming the tensor that is missing or has an impossible shape.
    """

    def size(name: str, axis: int) -> int:
        shape = tuple(state[name].shape) if name in state else ()
        if len(shape) != 3 or 0 in shape:
            got = f"{name} has shape {list(shape)}, three sizes expected" if name in state else f"no {name}"
            raise UserError(f"{where} does not hold SpeechBrain's ECAPA-TDNN", got=got)
        return shape[axis]

    channels = size("blocks.0.conv.conv.weight", 0)
    group = size("blocks.1.res2net_block.blocks.0.conv.conv.weight", 0)
    if channels % group or channels == group:
        raise UserError(
            f"{where} does not hold SpeechBrain's ECAPA-TDNN",
            got=f"{channels} channels in groups of {group} (blocks.1.res2net_block.blocks.0.conv.conv.weight)",
        )
    return Sizes(
        mels=size("blocks.0.conv.conv.weight", 1),
        channels=channels,
        scale=channels // group,
        gate=size("blocks.1.se_block.conv1.conv.weight", 0),
        pooled=size("mfa.conv.conv.weight", 0),
        attention=size("asp.tdnn.conv.conv.weight", 0),
        embedding_dim=size("fc.conv.weight", 0),
    )


class Conv(nn.Module):
    """Convolution over time that keeps T: frames are mirrored beyond the ends."""

    def __init__(self, inputs: int, outputs: int, width: int = 1, dilation: int = 1) -> None:
        super().__init__()
        reach = dilation * (width // 2)
        self.conv = nn.Conv1d(
            inputs,
            outputs,
            width,
            dilation=dilation,
            padding=reach,
            padding_mode="reflect" if reach else "zeros",
        )

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O T"]:
        return self.conv(frames)


class Norm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        return self.norm(frames)


class TDNN(nn.Module):
    """Convolution, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, width: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, width, dilation)
        self.norm = Norm(outputs)

    def forward(self, frames: Float[Tensor, "B I T"]) -> Float[Tensor, "B O T"]:
        return self.norm(torch.relu(self.conv(frames)))


class Res2Net(nn.Module):
    """Dilated layers over groups of channels, each group joined by the result of the one before."""

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        self.width = channels // scale
        self.blocks = nn.ModuleList(TDNN(self.width, self.width, 3, dilation) for _ in range(scale - 1))

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        first, second, *others = frames.split(self.width, dim=1)
        done = [first, self.blocks[0](second)]
        for group, layer in zip(others, list(self.blocks)[1:], strict=True):
            done.append(layer(group + done[-1]))
        return torch.cat(done, dim=1)


class Gate(nn.Module):
    """Every channel times a number in (0, 1) that depends on the means of all channels."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, inner)
        self.conv2 = Conv(inner, channels)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        mean = frames.mean(dim=2, keepdim=True)
        return frames * torch.sigmoid(self.conv2(torch.relu(self.conv1(mean))))


class Block(nn.Module):
    def __init__(self, channels: int, scale: int, dilation: int, gate: int) -> None:
        super().__init__()
        self.tdnn1 = TDNN(channels, channels)
        self.res2net_block = Res2Net(channels, scale, dilation)
        self.tdnn2 = TDNN(channels, channels)
        self.se_block = Gate(channels, gate)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        return frames + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(frames))))


def statistics(
    frames: Float[Tensor, "B C T"], weights: Float[Tensor, "B C T"] | None = None
) -> Float[Tensor, "B P 1"]:
    """Mean and standard deviation of every channel, in this order; all frames alike without weights."""
    mean = (frames.mean(dim=2) if weights is None else (weights * frames).sum(dim=2)).unsqueeze(2)
    squares = (frames - mean).square()
    variance = squares.mean(dim=2) if weights is None else (weights * squares).sum(dim=2)
    return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt().unsqueeze(2)], dim=1)


class Pooling(nn.Module):
    """Statistics under weights that depend on the frame and on the utterance's plain statistics."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.tdnn = TDNN(3 * channels, inner)
        self.conv = Conv(inner, channels)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B P 1"]:
        context = statistics(frames).expand(-1, -1, frames.shape[2])
        inner = torch.tanh(self.tdnn(torch.cat([frames, context], dim=1)))
        return statistics(frames, torch.softmax(self.conv(inner), dim=2))


class SpeechBrainECAPA(nn.Module):
    """Features [B, T, F] → embedding [B, D], not normalised; T at least 5 (`MIN_FRAMES`)."""

    def __init__(self, size: Sizes) -> None:
        super().__init__()
        blocks = [Block(size.channels, size.scale, dilation, size.gate) for dilation in DILATIONS]
        self.blocks = nn.ModuleList([TDNN(size.mels, size.channels, 5), *blocks])
        self.mfa = TDNN(3 * size.channels, size.pooled)
        self.asp = Pooling(size.pooled, size.attention)
        self.asp_bn = Norm(2 * size.pooled)
        self.fc = Conv(2 * size.pooled, size.embedding_dim)

    def forward(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D"]:
        frames, outputs = features.transpose(1, 2), []
        for layer in self.blocks:
            frames = layer(frames)
            outputs.append(frames)
        pooled = self.asp(self.mfa(torch.cat(outputs[1:], dim=1)))
        return self.fc(self.asp_bn(pooled)).squeeze(2)
