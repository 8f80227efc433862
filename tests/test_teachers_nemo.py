"""NeMo's features as sherpa-onnx computes them, against its own library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kaldi_native_fbank
import numpy as np
import pytest
import torch

from distilvox.errors import UserError
from distilvox.teachers.nemo import NemoFbank, NemoFeatures


def golden_wave(samples: int) -> np.ndarray:
    n = np.arange(samples)
    return (
        0.3 * np.sin(0.02 * n) + 0.2 * np.sin(1e-4 * n**2) + 0.05 * np.sin(1.7 * n + 0.5 * np.sin(0.003 * n))
    )


def kaldi(wave: np.ndarray, window: str, rate: int) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = window
    options.frame_opts.remove_dc_offset = False
    options.mel_opts.num_bins = 80
    options.mel_opts.low_freq = 0.0
    options.mel_opts.high_freq = -400.0
    options.mel_opts.is_librosa = True
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(rate, wave.astype(np.float32).tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(t) for t in range(extractor.num_frames_ready)])


@pytest.mark.parametrize("normalise", [True, False])
def test_the_golden_features(golden: Callable[[str], Any], normalise: bool) -> None:
    for case in golden("sherpa_nemo_features")["cases"]:
        wave = torch.from_numpy(golden_wave(case["samples"])).float()[None]
        truth = np.array(case["normalised" if normalise else "raw"]).reshape(case["shape"])
        found = NemoFbank(NemoFeatures(normalise=normalise))(wave)[0].numpy()
        assert found.shape == truth.shape
        np.testing.assert_allclose(found, truth, atol=1e-3)


@pytest.mark.parametrize("window", ["hann", "povey", "hamming"])
def test_features_equal_those_of_its_library(rng: np.random.Generator, window: str) -> None:
    wave = 0.1 * rng.standard_normal(9_000) + 0.05  # an offset stays in
    found = NemoFbank(NemoFeatures(window=window, normalise=False))(torch.from_numpy(wave).float()[None])
    np.testing.assert_allclose(found[0].numpy(), kaldi(wave, window, 16_000), atol=2e-3)


def test_a_batch_equals_its_items_alone_and_a_constant_feature_stays_finite() -> None:
    front = NemoFbank(NemoFeatures())
    waves = torch.stack([0.1 * torch.randn(6_000), torch.zeros(6_000)])
    torch.testing.assert_close(front(waves), torch.cat([front(wave[None]) for wave in waves]))
    assert bool(torch.isfinite(front(waves)).all())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)unknown window.*'square'"):
        NemoFeatures(window="square")
    with pytest.raises(UserError, match=r"(?s)25 ms windows.*11025"):
        NemoFeatures(sample_rate=11_025)
    with pytest.raises(UserError, match=r"(?s)shorter than one window.*399 samples.*400"):
        NemoFbank(NemoFeatures())(torch.zeros(1, 399))
