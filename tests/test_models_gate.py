"""Silence is left out: wherever it stands, the features are those of the speech, from the first frame again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.models.fbank import Fbank
from distilvox.models.frontend import PRESETS
from distilvox.models.gate import keep_sound, sounding

GATE = 40.0


def slow(features: np.ndarray, gate_db: float) -> np.ndarray:
    """One utterance [T, F], frame by frame."""
    levels = [float(np.mean(frame)) for frame in features]
    loud = sorted(levels)[-10] if len(levels) >= 10 else min(levels)
    kept = [
        frame
        for frame, level in zip(features, levels, strict=True)
        if level >= loud - gate_db * np.log(10) / 10
    ]
    return np.stack([kept[t % len(kept)] for t in range(len(features))])


def speechlike(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape) - 3


@pytest.mark.parametrize("silent", [0, 1, 7, 30, 90])
def test_equals_the_slow_reference(silent: int) -> None:
    features = speechlike(3, 100, 20)
    features[:, torch.randperm(100)[:silent]] = -15.9
    found = keep_sound(features, GATE).numpy()
    for row, utterance in zip(found, features.numpy(), strict=True):
        np.testing.assert_array_equal(row, slow(utterance, GATE))


@pytest.mark.parametrize("place", ["before", "within", "behind"])
def test_where_the_silence_stands_changes_nothing(place: str) -> None:
    speech, silence = speechlike(1, 60, 20), torch.full((1, 25, 20), -15.9)
    parts = {
        "before": [silence, speech],
        "within": [speech[:, :31], silence, speech[:, 31:]],
        "behind": [speech, silence],
    }
    found = keep_sound(torch.cat(parts[place], dim=1), GATE)
    assert torch.equal(found, torch.cat([speech, speech[:, :25]], dim=1))


def test_sound_all_through_comes_back_as_it_is() -> None:
    features = speechlike(2, 50, 20)
    assert torch.equal(keep_sound(features, GATE), features)
    assert torch.equal(keep_sound(features[:, :4], GATE), features[:, :4])
    assert keep_sound(features[:0], GATE).shape == (0, 50, 20)


def test_level_and_channel_change_nothing() -> None:
    features = speechlike(2, 80, 20)
    features[:, 20:40] = -15.9
    channel = torch.randn(20)
    torch.testing.assert_close(keep_sound(features + channel, GATE), keep_sound(features, GATE) + channel)


def test_a_click_does_not_silence_the_speech() -> None:
    features = speechlike(1, 80, 20)
    features[:, 40:43] += 20
    assert bool(sounding(features, GATE).all())


def test_a_batch_equals_its_items_alone_and_gradients_are_finite() -> None:
    features = speechlike(4, 70, 20)
    features[1, :50] = -15.9
    features[2, 69] = -15.9
    features.requires_grad_()
    together = keep_sound(features, GATE)
    assert torch.equal(together, torch.cat([keep_sound(one[None], GATE) for one in features]))
    (together * torch.randn_like(together)).sum().backward()
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())
    assert not features.grad[1, :50].any()


@pytest.mark.parametrize("level", [0.0, 2.0**-15])
def test_digital_silence_behind_noise_of_speech_level_is_left_out(level: float) -> None:
    wave = 0.05 * torch.randn(1, 16_000)
    quiet = level * torch.randint(-1, 2, (1, 16_000))
    plain, padded = (Fbank(PRESETS["sherpa"])(w) for w in (wave, torch.cat([wave, quiet], dim=1)))
    torch.testing.assert_close(padded.mean(dim=1), plain.mean(dim=1), atol=1e-4, rtol=0)
    torch.testing.assert_close(padded.std(dim=1), plain.std(dim=1), atol=0.15, rtol=0)
