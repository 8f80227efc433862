"""What follows the weighted sum of WavLM's hidden states in the paper's teacher: an ECAPA-TDNN.

Its computation is that of `distilvox.models.ecapa` without global context, on features that instance norm
has made alike in level; its tensors keep the names of the published checkpoint, so that they load as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.models.ecapa import AttentivePooling, ChannelGate, ConvReLUNorm, Res2Conv

SCALE, DILATIONS, POOLED, BOTTLENECK = 8, (2, 3, 4), 1536, 128
VARIANCE_FLOOR = 1e-9


class Block(nn.Module):
    """`models.ecapa.Block` under the names of the checkpoint."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.Conv1dReluBn1 = ConvReLUNorm(channels, channels)
        self.Res2Conv1dReluBn = Res2Conv(channels, SCALE, dilation)
        self.Conv1dReluBn2 = ConvReLUNorm(channels, channels)
        self.SE_Connect = ChannelGate(channels, BOTTLENECK)

    def forward(self, frames: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        inner = self.Conv1dReluBn2(self.Res2Conv1dReluBn(self.Conv1dReluBn1(frames)))
        return frames + self.SE_Connect(inner)


class WavLMECAPA(nn.Module):
    """Features [B, I, T] → embedding [B, D], not normalised; T at least 2.

    The state dict has the names, shapes and order of the published `wavlm_large_finetune.pth` (Chen et al.,
    "Large-scale Self-supervised Speech Representation Learning for Automatic Speaker Verification",
    arXiv 2110.05777), without WavLM, the weights of its layers, and the class centres.

    Args:
        feat_dim: I, the width of WavLM; 1024 for Large.
        channels: of the frame layers, a multiple of 8.
        embedding_dim: D.
    """

    def __init__(self, feat_dim: int = 1024, channels: int = 512, embedding_dim: int = 256) -> None:
        super().__init__()
        self.instance_norm = nn.InstanceNorm1d(feat_dim)
        self.layer1 = ConvReLUNorm(feat_dim, channels, 5)
        self.layer2, self.layer3, self.layer4 = (Block(channels, dilation) for dilation in DILATIONS)
        self.conv = nn.Conv1d(3 * channels, POOLED, 1)
        self.pooling = AttentivePooling(POOLED, BOTTLENECK, global_context=False, floor=VARIANCE_FLOOR)
        self.bn = nn.BatchNorm1d(2 * POOLED)
        self.linear = nn.Linear(2 * POOLED, embedding_dim)

    def forward(self, features: Float[Tensor, "B I T"]) -> Float[Tensor, "B D"]:
        first = self.layer1(self.instance_norm(features))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        frames = torch.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        return self.linear(self.bn(self.pooling(frames)))
