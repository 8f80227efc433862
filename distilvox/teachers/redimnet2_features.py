"""The two front ends of ReDimNet2's published checkpoints, "tf" and "pt": neither is Kaldi's.

Both bring the whole utterance to mean 0 and deviation 1 (where the file says so), take 0.97 of each sample's
predecessor off, before it is cut into frames, take log-mels of a Hamming window of 25 ms every 10 ms, 512 points,
20 to 7,600 Hz on the HTK scale, and remove each filter's mean over the frames. They differ in window, edges, filters
and floors. Source: PalabraAI/redimnet2, `layers/features_tf.py` and `layers/features.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require, unknown

RATE, WINDOW, HOP, POINTS = 16_000, 400, 160, 512
LOW, HIGH, EMPHASIS = 20.0, 7_600.0, 0.97
CEILING = 1e8
"""Of powers and of mel energies, in "tf"."""


class Kind(NamedTuple):
    """What the front ends differ in.

    Attributes:
        turn: samples in one turn of the window's cosine.
        edge: samples beyond each end: of zeros, or mirrored.
        mirrored: which of the two.
        bins: of the spectrum that are kept, from 0 Hz.
        floor: of powers and of mel energies; 0 for none.
        beside: added to the mel energies before the logarithm.
        beside_deviation: added to the utterance's deviation.
    """

    turn: int
    edge: int
    mirrored: bool
    bins: int
    floor: float
    beside: float
    beside_deviation: float


KINDS = {
    "tf": Kind(399, 80, False, 256, 1e-8, 1e-8, 1e-8),
    "pt": Kind(400, 200, True, 257, 0.0, 1e-6, 1e-6),
}


@dataclass(frozen=True)
class ReDimNet2Features:
    """What is computed.

    Args:
        kind: a key of `KINDS`.
        mels: F.
        normalise: whether the utterance is brought to mean 0 and deviation 1 first.
    """

    kind: str = "tf"
    mels: int = 72
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("front end of ReDimNet2", self.kind, KINDS)
        require(
            1 <= self.mels <= 96, "bad mels of ReDimNet2", got=self.mels, allowed="1 … 96; 72 is published"
        )

    def window(self) -> Float[np.ndarray, " W"]:
        """Hamming, float64."""
        return 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(WINDOW) / KINDS[self.kind].turn)

    def filters(self) -> Float[np.ndarray, "K F"]:
        """Triangles of height 1, float64: straight in mel ("tf") or in hertz ("pt").

        The bins of "tf" lie where the published code takes them: 256 from 0 Hz to 8,000, the first in no filter.
        """
        bins = np.linspace(0, RATE / 2, KINDS[self.kind].bins)
        bottom, top = mel(np.array([LOW, HIGH]))
        edges = np.linspace(bottom, top, self.mels + 2)
        if self.kind == "tf":
            bins = mel(bins)
        else:
            edges = 700 * (10 ** (edges / 2595) - 1)
        low, peak, high = edges[:-2], edges[1:-1], edges[2:]
        rising, falling = (bins[:, None] - low) / (peak - low), (high - bins[:, None]) / (high - peak)
        weights = np.maximum(np.minimum(rising, falling), 0)
        weights[0] = 0
        return weights


def mel(hertz: np.ndarray) -> np.ndarray:
    """HTK's scale."""
    return 2595 * np.log10(1 + hertz / 700)


class ReDimNet2Fbank(nn.Module):
    """Waveform [B, N] in [-1, 1] → features [B, T, F] float32; T = (N - 240) // 160 + 1 ("tf") or N // 160 + 1.

    Raises (when called):
        UserError: fewer samples than one window.
    """

    def __init__(self, config: ReDimNet2Features) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("taper", torch.from_numpy(config.window()).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        kind = KINDS[self.config.kind]
        require(
            waves.shape[1] >= WINDOW,
            "the waveform is shorter than one window of the front end",
            got=f"{waves.shape[1]} samples",
            allowed=f"at least {WINDOW} samples",
        )
        waves = waves.float()
        if self.config.normalise:
            deviation, mean = torch.std_mean(waves, dim=1, keepdim=True, correction=0)
            waves = (waves - mean) / (deviation + kind.beside_deviation)
        before = torch.cat([waves[:, 1:2], waves[:, :-1]], dim=1)
        waves = waves - EMPHASIS * before
        edges = (kind.edge, kind.edge)
        waves = F.pad(waves, edges, mode="reflect") if kind.mirrored else F.pad(waves, edges)
        return self.log_mels(waves.unfold(1, WINDOW, HOP))

    def log_mels(self, frames: Float[Tensor, "B T W"]) -> Float[Tensor, "B T F"]:
        """Frames → log-mels, the mean over the frames taken off."""
        kind = KINDS[self.config.kind]
        spectrum = torch.fft.rfft(frames * self.get_buffer("taper"), n=POINTS)[..., : kind.bins]
        power = spectrum.real.square() + spectrum.imag.square()
        if kind.floor:
            power = power.clamp(kind.floor, CEILING)
        energies = power @ self.get_buffer("filters")
        if kind.floor:
            energies = energies.clamp(kind.floor, CEILING)
        features = (energies + kind.beside).log()
        return features - features.mean(dim=1, keepdim=True)


MATRICES = {
    "tf": ("1.flipped_filter", "2.real_kernel_pt", "2.image_kernel_pt", "2.melbanks_pt"),
    "pt": ("1.flipped_filter", "2.spectrogram.window", "2.mel_scale.fb"),
}
"""What a checkpoint holds of its front end, behind `spec.torchfbank.`."""
WITHIN = 1e-3


def differing(found: Mapping[str, Tensor], config: ReDimNet2Features) -> list[str]:
    """Which of a checkpoint's matrices compute other features than these; their phase and sign are of no account.

    Args:
        found: name behind `spec.torchfbank.` → tensor; all of `MATRICES`.
    """
    window, filters = torch.from_numpy(config.window()).float(), torch.from_numpy(config.filters()).float()
    wanted = {"1.flipped_filter": torch.tensor([[[-EMPHASIS, 1.0]]])}
    if config.kind == "tf":
        wanted["2.melbanks_pt"] = filters.T[:, :, None]
    else:
        wanted |= {"2.spectrogram.window": window, "2.mel_scale.fb": filters}
    problems = [name for name, value in wanted.items() if not alike(found[name], value)]
    if config.kind == "tf":
        real, image = found["2.real_kernel_pt"], found["2.image_kernel_pt"]
        shape = (KINDS["tf"].bins, 1, WINDOW)
        if real.shape != shape or image.shape != shape:
            return [*problems, "2.real_kernel_pt"]
        probe = torch.sin(0.01 * torch.arange(WINDOW) ** 1.5) + torch.linspace(-1, 1, WINDOW)
        power = (real[:, 0].float() @ probe).square() + (image[:, 0].float() @ probe).square()
        ours = torch.fft.rfft(probe * window, n=POINTS)[: KINDS["tf"].bins].abs().square()
        problems += [] if alike(power, ours) else ["2.real_kernel_pt"]
    return problems


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and differ by less than a thousandth of the largest value."""
    return one.shape == other.shape and bool(
        (one.float() - other).abs().max() <= WITHIN * float(other.abs().max())
    )
