"""Waveform to log-mel features as Kaldi computes them, in two matrix products that export to ONNX.

Removing the mean of a frame, pre-emphasis, window and Fourier transform are all linear, so they are
multiplied out once, in float64, into one real matrix: exact, and no complex numbers, which ONNX exporters
refuse. Training on a CPU takes `frontend_fft` instead, three times as fast (`bench/frontend.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require, unknown
from distilvox.models.frontend_fft import bands, energies_by_fft

FULL_SCALE = 32768.0
"""Kaldi counts samples as 16-bit integers; ours lie in [-1, 1]."""

PRE_EMPHASIS = 0.97
LOW_HERTZ = 20.0
ENERGY_FLOOR = float(np.finfo(np.float32).eps)


def frames_in(samples: int, sample_rate: int = 16_000) -> int:
    """T = 1 + (N − 400) // 160 at 16 kHz: only whole windows count; 0 when not even one fits."""
    window, shift = sample_rate // 40, sample_rate // 100
    return 0 if samples < window else 1 + (samples - window) // shift


WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hamming": lambda turn: 0.54 - 0.46 * np.cos(turn),
    "povey": lambda turn: (0.5 - 0.5 * np.cos(turn)) ** 0.85,
}
"""Kaldi's windows, over an angle that makes one full turn from the first sample to the last."""


def spectrum_matrix(window: int, size: int, kind: str = "hamming") -> Float[np.ndarray, "W S"]:
    """[W, S] float64: a frame in [-1, 1] times it gives the spectrum's real parts, then imaginary.

    W = window samples; S = size points of the transform, of which S / 2 bins are kept (the last, Nyquist,
    has mel weight 0), two numbers each.
    Each column holds, in this order of application: the scale of 16-bit samples, removal of the frame's
    mean, pre-emphasis 0.97 (the first sample is its own predecessor), the window (`kind`, a key of
    `WINDOWS`), the transform.
    """
    n = np.arange(window)
    centre = np.eye(window) - 1.0 / window
    emphasis = np.eye(window)
    emphasis[n[1:], n[:-1]] = -PRE_EMPHASIS
    emphasis[0, 0] = 1.0 - PRE_EMPHASIS
    taper = WINDOWS[kind](2 * np.pi * n / (window - 1))
    angles = 2 * np.pi * np.outer(np.arange(size // 2), n) / size
    transform = np.concatenate([np.cos(angles), -np.sin(angles)])
    return FULL_SCALE * ((transform * taper) @ emphasis @ centre).T


def mel_matrix(sample_rate: int, size: int, mels: int) -> Float[np.ndarray, "K F"]:
    """[K, F] float64, K = size / 2: triangles of height 1, equally spaced in mel from 20 Hz to half the rate.

    The sides are straight in mel, not in hertz, with mel = 1127 ln(1 + hertz / 700).
    """
    lowest, highest = mel(np.array([LOW_HERTZ, sample_rate / 2]))
    edges = np.linspace(lowest, highest, mels + 2)
    bins = mel(np.arange(size // 2) * sample_rate / size)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return np.maximum(weights, 0.0)


def mel(hertz: Float[np.ndarray, " X"]) -> Float[np.ndarray, " X"]:
    return 1127.0 * np.log1p(hertz / 700.0)


class Fbank(nn.Module):
    """Waveform [B, N] in [-1, 1] → log-mel features [B, T, F], float32 also under autocast.

    As Kaldi's fbank without dither: windows of 25 ms every 10 ms, whole windows only (T = 1 + (N − 400)
    // 160 at 16 kHz), power spectrum, natural logarithm of at least 1.2e-7. No parameters, and nothing
    in the state dict. In training mode on a CPU, and without a gradient of the waves, the spectrum comes
    from an FFT: the same within rounding.

    Args:
        sample_rate: in hertz, a multiple of 200.
        mels: F, the number of triangular filters.
        mean_norm: subtract each bin's mean over the utterance's frames, so that gain and any fixed
            channel drop out.
        window: a key of `WINDOWS`; WeSpeaker's models take a Hamming window, 3D-Speaker's Kaldi's own.

    Raises:
        UserError: fewer samples than one window; more filters than the spectrum can tell apart.
    """

    spectrum: Tensor
    filters: Tensor
    taper: Tensor

    def __init__(
        self, sample_rate: int = 16_000, mels: int = 80, *, mean_norm: bool = True, window: str = "hamming"
    ) -> None:
        super().__init__()
        if window not in WINDOWS:
            raise unknown("window of the front end", window, WINDOWS)
        require(
            sample_rate > 0 and sample_rate % 200 == 0,
            "the front end cannot cut 25 ms windows every 10 ms at this sample rate",
            got=sample_rate,
            allowed="a multiple of 200 Hz, such as 8000 or 16000",
        )
        self.sample_rate = sample_rate
        self.mels = mels
        self.mean_norm = mean_norm
        self.window = sample_rate // 40
        self.shift = sample_rate // 100
        size = 1 << (self.window - 1).bit_length()
        weights = mel_matrix(sample_rate, size, mels) if mels > 0 else np.zeros((1, 1))
        require(
            bool((weights.max(axis=0) > 0).all()),
            "the front end cannot make this many mel filters: some would catch no bin of the spectrum",
            got=mels,
            allowed="1 or more; 80 is usual at 16 kHz, 40 at 8 kHz",
        )
        self.bands = bands(weights)
        spectrum = spectrum_matrix(self.window, size, window)
        taper = FULL_SCALE * WINDOWS[window](2 * np.pi * np.arange(self.window) / (self.window - 1))
        self.register_buffer("taper", torch.from_numpy(taper).float(), persistent=False)
        self.register_buffer("spectrum", torch.from_numpy(spectrum).float(), persistent=False)
        # Twice, as a bin's power is the sum of two squares: one for the real half, one for the imaginary.
        self.register_buffer("filters", torch.from_numpy(weights).float().repeat(2, 1), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        require(
            waves.shape[1] >= self.window,
            "the waveform is shorter than one window of the front end",
            got=f"{waves.shape[1]} samples",
            allowed=f"at least {self.window} samples ({1000 * self.window // self.sample_rate} ms)",
        )
        with torch.autocast(waves.device.type, enabled=False):
            waves = waves.float()
            # Each frame loses its own mean anyway; taking the utterance's off first keeps float32 exact
            # where a recording has a large constant offset.
            waves = waves - waves.mean(dim=1, keepdim=True)
            if (
                self.training
                and waves.device.type == "cpu"
                and not (waves.requires_grad or torch.compiler.is_compiling())
            ):
                bins = len(self.filters) // 2
                energies = energies_by_fft(
                    waves, self.taper, self.filters[:bins], self.bands,
                    shift=self.shift, emphasis=PRE_EMPHASIS,
                )  # fmt: skip
            else:
                # The copy is made in any case; made here, torch.export need not reason about its strides.
                frames = waves.unfold(1, self.window, self.shift).clone(memory_format=torch.contiguous_format)
                energies = (frames @ self.spectrum).square() @ self.filters
            features = energies.clamp(min=ENERGY_FLOOR).log()
        return features - features.mean(dim=1, keepdim=True) if self.mean_norm else features
