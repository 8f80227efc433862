"""The front end equals Kaldi's and a slow float64 truth, and obeys the laws of log-mel features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import PRESETS, FrontEnd
from tests.reference.frontend import fbank

WINDOW = 400


def kaldi(wave: np.ndarray, front: FrontEnd = FrontEnd()) -> np.ndarray:  # noqa: B008 (frozen)
    """The same features by kaldi-native-fbank: [T, F]."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = front.window
    options.frame_opts.samp_freq = front.sample_rate
    options.frame_opts.snip_edges = front.snip_edges
    options.frame_opts.preemph_coeff = front.emphasis
    options.mel_opts.num_bins = front.mels
    options.mel_opts.low_freq = front.low
    options.mel_opts.high_freq = front.high
    options.use_energy = False
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(front.sample_rate, (wave * front.scale).astype(np.float32).tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(t) for t in range(extractor.num_frames_ready)])


def ours(wave: np.ndarray, *, mean_norm: bool = False) -> np.ndarray:
    return Fbank(FrontEnd(mean_norm=mean_norm))(torch.from_numpy(wave)[None])[0].numpy()


@pytest.fixture(scope="module")
def speech(shared: Path) -> np.ndarray:
    first = min((shared / "corpora" / "chorus" / "audio").rglob("*.opus"))
    wave, rate = soundfile.read(first, dtype="float32", frames=12_345)
    assert rate == 16_000
    return wave


def made(rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = np.arange(6_000)
    waves = {
        "noise": 0.1 * rng.standard_normal(6_000),
        "quiet noise": 1e-4 * rng.standard_normal(6_000),
        "low tone": 0.5 * np.sin(2 * np.pi * 440 * n / 16_000),
        "high tone": 0.9 * np.sin(2 * np.pi * 3_111 * n / 16_000),
        "silence": np.zeros(6_000),
        "one window": rng.standard_normal(WINDOW),
        "a window and a bit": rng.standard_normal(WINDOW + 159),
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def test_close_to_kaldi_and_closer_to_the_truth_than_a_thousandth(rng: np.random.Generator) -> None:
    for name, wave in made(rng).items():
        truth = fbank(wave)
        found = ours(wave)
        assert found.shape == truth.shape, name
        assert np.abs(found - truth).max() < 1e-3, name
        assert np.abs(found - kaldi(wave)).max() < 1e-3, name


def test_real_speech_is_no_further_from_the_truth_than_kaldi_is(speech: np.ndarray) -> None:
    truth = fbank(speech)
    assert np.abs(ours(speech) - kaldi(speech)).max() < 1e-3
    assert np.abs(ours(speech) - truth).max() <= np.abs(kaldi(speech) - truth).max() + 1e-4


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("samples", [400, 479, 480, 8_000, 8_079, 8_080, 12_345])
def test_every_preset_is_kaldis_at_every_length(
    name: str, training: bool, samples: int, speech: np.ndarray
) -> None:
    front = replace(PRESETS[name], mean_norm=False, gate_db=0.0)
    wave = speech[:samples]
    found = Fbank(front).train(training)(torch.from_numpy(wave)[None])[0].numpy()
    assert len(found) == front.frames(samples)
    np.testing.assert_allclose(found, kaldi(wave, front), atol=5e-3)


@pytest.mark.parametrize("offset", [0.01, 0.3, -0.5])
def test_a_constant_offset_changes_nothing(offset: float, speech: np.ndarray) -> None:
    shifted = speech + np.float32(offset)
    assert np.abs(ours(shifted) - fbank(shifted)).max() < 1e-3


@pytest.mark.parametrize("gain", [0.05, 0.5, 1.9])
def test_gain_is_an_offset_that_mean_normalisation_removes(gain: float, speech: np.ndarray) -> None:
    loud = np.float32(gain) * speech
    np.testing.assert_allclose(ours(loud) - ours(speech), 2 * np.log(gain), atol=1e-3)
    np.testing.assert_allclose(ours(loud, mean_norm=True), ours(speech, mean_norm=True), atol=1e-3)


def test_normalised_features_have_mean_zero_and_the_same_differences(speech: np.ndarray) -> None:
    normalised = ours(speech, mean_norm=True)
    assert np.abs(normalised.mean(axis=0)).max() < 1e-5
    np.testing.assert_allclose(np.diff(normalised, axis=0), np.diff(ours(speech), axis=0), atol=1e-4)


def test_a_later_start_by_one_shift_drops_the_first_frame(speech: np.ndarray) -> None:
    np.testing.assert_allclose(ours(speech[160:]), ours(speech)[1:], atol=1e-3)


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 561, 8_000, 8_079, 8_080])
def test_only_whole_windows_count(samples: int) -> None:
    features = Fbank()(torch.randn(2, samples))
    assert features.shape == (2, 1 + (samples - 400) // 160, 80)
    assert FrontEnd().frames(samples) == features.shape[1]


def test_a_tone_lights_its_own_filter() -> None:
    n = torch.arange(8_000) / 16_000
    peaks = [Fbank(FrontEnd(mean_norm=False))(torch.sin(2 * torch.pi * hertz * n)[None]).mean(1).argmax().item()
             for hertz in (100, 400, 1_600, 6_400)]  # fmt: skip
    top = 1127 * np.log1p(8_000 / 700)
    low = 1127 * np.log1p(20 / 700)
    expected = [
        (1127 * np.log1p(hertz / 700) - low) / (top - low) * 81 - 1 for hertz in (100, 400, 1_600, 6_400)
    ]
    np.testing.assert_allclose(peaks, expected, atol=1.0)


def test_a_batch_equals_its_items_alone() -> None:
    waves = torch.randn(5, 7_000) * torch.logspace(-4, 0, 5)[:, None]
    together = Fbank()(waves)
    alone = torch.cat([Fbank()(wave[None]) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_an_empty_batch_stays_empty() -> None:
    assert Fbank()(torch.zeros(0, 8_000)).shape == (0, 48, 80)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float32_inside_whatever_surrounds_it(dtype: torch.dtype) -> None:
    waves = torch.randn(2, 8_000).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        inside = Fbank()(waves)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, Fbank()(waves.float()), atol=0, rtol=0)


def test_gradients_reach_the_waveform_and_are_finite_on_silence() -> None:
    waves = torch.cat([torch.zeros(1, 8_000), 0.1 * torch.randn(1, 8_000)]).requires_grad_()
    weights = torch.randn(2, 48, 80)
    (Fbank()(waves) * weights).sum().backward()
    gradient: Tensor = waves.grad if waves.grad is not None else torch.full((1,), torch.nan)
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() > 0


def test_holds_nothing_that_a_checkpoint_would_store() -> None:
    assert not Fbank().state_dict()
    assert not list(Fbank().parameters())


def test_eight_kilohertz_has_the_same_windows_in_time() -> None:
    assert Fbank(FrontEnd(8_000, 40, high=4_000.0))(torch.randn(1, 4_000)).shape == (1, 48, 40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Fbank()(torch.zeros(1, 399)), r"shorter than one window(.|\n)*399 samples(.|\n)*25 ms"),
        (lambda: Fbank()(torch.zeros(1, 0)), "shorter than one window"),
        (lambda: FrontEnd(11_025), r"sample rate\n  got:     11025\n  allowed: a multiple of 200"),
        (lambda: FrontEnd(0), "sample rate"),
        (lambda: FrontEnd(mels=0), "this many mel filters"),
        (lambda: FrontEnd(mels=200), r"this many mel filters: some would catch no bin(.|\n)*200"),
    ],
)
def test_refuses_at_the_door(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
