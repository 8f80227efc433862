"""Training's features by FFT are those of the matrix: the same energies within an FFT's own rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distilvox.models import fbank_fft
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import WINDOWS, FrontEnd, mel_matrix
from tests.reference.frontend import fbank


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_training_and_evaluation_see_the_same_features(window: str, rate: int) -> None:
    front = Fbank(FrontEnd(rate, 40, window=window, high=rate / 2))
    waves = torch.randn(3, 9_001) * torch.logspace(-3, 0, 3)[:, None]
    trained, judged = front(waves), front.eval()(waves)
    torch.testing.assert_close(trained, judged, atol=1e-3, rtol=0)
    assert (trained - judged).abs().mean() < 1e-5
    assert not torch.equal(trained, judged)  # two ways, not one


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_close_to_the_truth_in_training_too(offset: float) -> None:
    waves = 0.05 * torch.randn(1, 8_000) + offset
    found = Fbank(FrontEnd(mean_norm=False))(waves)[0].numpy()
    error = np.abs(found - fbank(waves[0].numpy()))
    assert error.max() < 3e-3
    assert error.mean() < 1e-5


@pytest.mark.parametrize("frames", [1, 47, 48, 100, 10_000])
def test_how_many_go_together_changes_nothing(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waves = torch.randn(5, 8_000)
    wanted = Fbank()(waves)
    monkeypatch.setattr(fbank_fft, "FRAMES", frames)
    torch.testing.assert_close(Fbank()(waves), wanted, atol=1e-4, rtol=0)


def test_the_waves_stay_as_they_were_and_get_their_gradient() -> None:
    waves = torch.randn(2, 4_000)
    before = waves.clone()
    Fbank()(waves)
    assert torch.equal(waves, before)
    waves.requires_grad_()
    Fbank()(waves).square().sum().backward()
    assert waves.grad is not None
    assert waves.grad.abs().max() > 0


@pytest.mark.parametrize(("rate", "mels"), [(16_000, 80), (16_000, 17), (8_000, 1)])
def test_bands_hold_every_filter_and_all_that_it_catches(rate: int, mels: int) -> None:
    filters = mel_matrix(FrontEnd(rate, mels, high=rate / 2))
    held = np.zeros_like(filters)
    for some, caught in fbank_fft.bands(filters):
        held[caught, some] += filters[caught, some]
    np.testing.assert_array_equal(held, filters)
