"""The features that sherpa-onnx feeds NeMo's TitaNet and SpeakerNet, as it distributes them.

Log-mels as kaldi-native-fbank makes them with `is_librosa`: windows of 25 ms every 10 ms, whole windows only, no
removal of a frame's mean, pre-emphasis 0.97 within the frame, power spectrum of 512 points, Slaney's mel scale
from 0 to 7,600 Hz with triangles of unit area, natural logarithm of at least 1.19e-7, samples in ±1; then each
filter has its mean over the frames taken off and is divided by its deviation (the population's).

NeMo itself feeds the same networks other features (centred windows, up to 8,000 Hz, the sample's deviation):
embeddings of one file differ between the two, and these are the ones whose graphs are at hand.
Source: sherpa-onnx, csrc/speaker-embedding-extractor-nemo-impl.h and csrc/features.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.frontend import KALDI_FLOOR, WINDOWS, check_windows
from distilvox.teachers.ge2e import mel_filters

BELOW_NYQUIST = 400.0
"""Hz between the top of the filters and half the sample rate; sherpa-onnx sets it for every model."""
PERIODIC = "hann"
"""The window whose full turn kaldi-native-fbank ends one sample behind the frame, as torch does; others within."""
LEAST_VARIANCE, BESIDE_DEVIATION = 1e-5, 1e-5


@dataclass(frozen=True)
class NemoFeatures:
    """What is computed.

    Args:
        sample_rate: Hz, a multiple of 200.
        mels: F.
        window: a key of `WINDOWS`; sherpa-onnx's export writes `hann`.
        normalise: whether each filter is brought to mean 0 and deviation 1 over the frames.
    """

    sample_rate: int = 16_000
    mels: int = 80
    window: str = "hann"
    normalise: bool = True

    def __post_init__(self) -> None:
        check_windows(self.window, self.sample_rate)


class NemoFbank(nn.Module):
    """Waveform [B, N] in [-1, 1] → features [B, T, F], T = 1 + (N - 400) // 160 at 16 kHz.

    Raises (when called):
        UserError: fewer samples than one window.
    """

    def __init__(self, config: NemoFeatures) -> None:
        super().__init__()
        self.config = config
        self.samples, self.shift = config.sample_rate // 40, config.sample_rate // 100
        self.points = 1 << (self.samples - 1).bit_length()
        last = self.samples if config.window == PERIODIC else self.samples - 1
        turn = 2 * np.pi * np.arange(self.samples) / last
        filters = mel_filters(
            self.points,
            config.mels,
            high=config.sample_rate / 2 - BELOW_NYQUIST,
            sample_rate=config.sample_rate,
        )
        taper = torch.from_numpy(WINDOWS[config.window](turn)).float()
        self.register_buffer("taper", taper, persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        require(
            waves.shape[1] >= self.samples,
            "the waveform is shorter than one window of the front end",
            got=f"{waves.shape[1]} samples",
            allowed=f"at least {self.samples} samples",
        )
        frames = waves.float().unfold(1, self.samples, self.shift)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.get_buffer("taper"), n=self.points)
        power = spectrum.real.square() + spectrum.imag.square()
        features = (power @ self.get_buffer("filters")).clamp(min=KALDI_FLOOR).log()
        if not self.config.normalise:
            return features
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        return (features - mean) / (variance.clamp(min=LEAST_VARIANCE).sqrt() + BESIDE_DEVIATION)
