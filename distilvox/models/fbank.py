"""Waveform to log-mel features, in two matrix products that export to ONNX.

Removing the mean of a frame, pre-emphasis, window and Fourier transform are all linear, so they are
multiplied out once, in float64, into one real matrix: exact, and no complex numbers, which ONNX exporters
refuse. Training on a CPU takes `fbank_fft` instead, three times as fast (`bench/frontend.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.fbank_fft import bands, energies_by_fft
from distilvox.models.frontend import FrontEnd, mel_matrix
from distilvox.models.gate import keep_sound


def spectrum_matrix(front: FrontEnd) -> Float[np.ndarray, "W S"]:
    """[W, S] float64: a frame in [-1, 1] times it gives the spectrum's real parts, then imaginary.

    W = window samples; S = points of the transform, of which S / 2 bins are kept, two numbers each.
    Each column holds, in this order of application: the scale of the samples, removal of the frame's mean,
    pre-emphasis (the first sample is its own predecessor), the window, the transform.
    """
    n = np.arange(front.samples)
    centre = np.eye(front.samples) - 1.0 / front.samples
    emphasis = np.eye(front.samples)
    emphasis[n[1:], n[:-1]] = -front.emphasis
    emphasis[0, 0] = 1.0 - front.emphasis
    angles = 2 * np.pi * np.outer(np.arange(front.points // 2), n) / front.points
    transform = np.concatenate([np.cos(angles), -np.sin(angles)])
    return ((transform * front.taper()) @ emphasis @ centre).T


class Fbank(nn.Module):
    """Waveform [B, N] in [-1, 1] → log-mel features [B, T, F], float32 also under autocast.

    No parameters, and nothing in the state dict. In training mode on a CPU, and without a gradient of the
    waves, the spectrum comes from an FFT: the same within rounding.

    Args:
        config: what is computed; WeSpeaker's features if not given.

    Raises (when called):
        UserError: fewer samples than one window.
    """

    spectrum: Tensor
    filters: Tensor
    caught: Tensor
    taper: Tensor

    def __init__(self, config: FrontEnd | None = None) -> None:
        super().__init__()
        self.config = config = FrontEnd() if config is None else config
        weights = mel_matrix(config)
        self.bands = bands(weights)
        self.register_buffer("taper", torch.from_numpy(config.taper()).float(), persistent=False)
        # Bins that no filter catches are left out of the products, and of what ships.
        bins = np.flatnonzero(weights.any(axis=1))
        columns = np.concatenate([bins, len(weights) + bins])
        spectrum = spectrum_matrix(config)[:, columns]
        self.register_buffer("spectrum", torch.from_numpy(spectrum).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(weights).float(), persistent=False)
        self.register_buffer("caught", torch.from_numpy(weights[bins]).float(), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        config = self.config
        require(
            waves.shape[1] >= config.samples,
            "the waveform is shorter than one window of the front end",
            got=f"{waves.shape[1]} samples",
            allowed=f"at least {config.samples} samples ({1000 * config.samples // config.sample_rate} ms)",
        )
        with torch.autocast(waves.device.type, enabled=False):
            features = self.energies(waves.float()).clamp(min=config.floor).log()
            if config.gate_db:
                features = keep_sound(features, config.gate_db)
        return features - features.mean(dim=1, keepdim=True) if config.mean_norm else features

    def energies(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        """Mel energies, before the floor."""
        config = self.config
        # Each frame loses its own mean anyway; taking the utterance's off first keeps float32 exact
        # where a recording has a large constant offset.
        waves = mirror(waves - waves.mean(dim=1, keepdim=True), *config.mirrored)
        on_cpu = waves.device.type == "cpu" and not torch.compiler.is_compiling()
        if self.training and on_cpu and not waves.requires_grad:
            return energies_by_fft(
                waves, self.taper, self.filters, self.bands,
                shift=config.shift, emphasis=config.emphasis,
            )  # fmt: skip
        # The copy is made in any case; made here, torch.export need not reason about its strides.
        frames = waves.unfold(1, config.samples, config.shift).clone(memory_format=torch.contiguous_format)
        squares, bins = (frames @ self.spectrum).square(), len(self.caught)
        return (squares[..., :bins] + squares[..., bins:]) @ self.caught


def mirror(waves: Float[Tensor, "B N"], before: int, behind: int) -> Float[Tensor, "B M"]:
    """Continued beyond both ends by its own mirror image, the first and the last sample twice."""
    if not before and not behind:
        return waves
    return torch.cat([waves[:, :before].flip(1), waves, waves[:, -behind:].flip(1)], dim=1)
