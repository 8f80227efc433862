from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.sound import AudioError, Levels, Treatment, check_speech, is_silence, seconds_of_sound

RATE = 16_000


def voice(rng: np.random.Generator, seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    """Coloured noise: float32 [N] without offset, peak about four times its level."""
    wave = np.convolve(rng.standard_normal(round(seconds * RATE) + 8), np.ones(8) / 8, "valid")[1:]
    return (level * (wave - wave.mean()) / wave.std()).astype(np.float32)


def treated(samples: np.ndarray) -> tuple[np.ndarray, Treatment]:
    """One channel out of [N] or [N, K], and how; measured in two blocks."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    levels = Levels("a.wav", samples.shape[1])
    for part in np.array_split(samples.astype(np.float32), 2):
        levels.add(part)
    treatment = levels.treatment()
    return treatment.apply(samples.astype(np.float32)), treatment


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_what_has_no_fault_is_left_alone(rng: np.random.Generator) -> None:
    wave = voice(rng)
    same, treatment = treated(wave)
    assert np.array_equal(same, wave)
    assert treatment.notes == ()


@pytest.mark.parametrize("scale", [2.0**15, 2.0**23, 2.0**31])
@pytest.mark.parametrize("whole", [True, False])
def test_integers_that_were_saved_as_floats(rng: np.random.Generator, scale: float, whole: bool) -> None:
    wave = voice(rng, level=0.2)
    given = np.rint(wave * scale) if whole else wave * scale
    found, treatment = treated(given)
    assert np.abs(found - wave).max() < 1 / 32768
    assert treatment.notes[0].endswith(f"as integers have it; divided by {scale:.0f}")


def test_quiet_integers_are_integers_too(rng: np.random.Generator) -> None:
    found, _ = treated(np.rint(voice(rng) * 40))
    assert np.abs(found).max() < 0.01


@pytest.mark.parametrize(("peak", "divisor"), [(3.0, 4), (1.5, 2), (20.0, 32)])
def test_what_is_loud_throughout_is_scaled_by_a_power_of_two(
    rng: np.random.Generator, peak: float, divisor: int
) -> None:
    wave = voice(rng)
    wave *= peak / np.abs(wave).max()
    wave[::7] = np.sign(wave[::7]) * peak * 0.9
    found, treatment = treated(wave)
    assert np.array_equal(found * divisor, wave)
    assert f"divided by {divisor}" in treatment.notes[0]
    assert "beyond full scale: up to" in treatment.notes[0]


def test_the_overshoot_of_a_decoder_is_clipped_and_said(rng: np.random.Generator) -> None:
    wave = voice(rng)
    wave[[5, 500]] = 1.2, -1.1
    found, treatment = treated(wave)
    assert treatment.notes == ("beyond full scale: up to 1.2, 2 samples; clipped",)
    assert (found[5], found[500]) == (1, -1)
    assert np.array_equal(found[501:], wave[501:])


def test_a_level_that_nothing_explains_is_refused_with_its_number(rng: np.random.Generator) -> None:
    with pytest.raises(
        AudioError, match=r"beyond full scale: up to \d.*e\+\d+, and full scale is 1: save it again"
    ):
        treated(voice(rng) * 1e12)


@pytest.mark.parametrize("offset", [5.0, -0.5, 0.06, 40.0])
def test_an_offset_is_taken_off_before_the_level_is_judged(rng: np.random.Generator, offset: float) -> None:
    wave = voice(rng)
    found, treatment = treated(wave + np.float32(offset))
    assert np.abs(found - wave).max() < 1e-5 * max(1, abs(offset))
    assert treatment.notes == (f"offset: a mean of {offset:.3g} was taken off",)


def test_what_was_clipped_before_is_said(rng: np.random.Generator) -> None:
    wave = (voice(rng) * 50).clip(-1, 1)
    found, treatment = treated(wave)
    assert np.array_equal(found, wave)
    assert treatment.notes[0].startswith("clipped before: 8")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_sample_is_enough(bad: float) -> None:
    with pytest.raises(AudioError, match="NaN or infinite samples"):
        treated(np.array([0.1, bad, 0.2, 0.3]))


def test_channels_are_averaged_and_counted(rng: np.random.Generator) -> None:
    channels = np.stack([voice(rng), voice(rng), voice(rng)], 1)
    found, treatment = treated(channels)
    np.testing.assert_allclose(found, channels.mean(axis=1), atol=1e-7)
    assert treatment.notes == ("several channels: the mean of 3",)


CANCELLING = {
    "inverted": lambda x, e: [x, -x],
    "inverted, with noise": lambda x, e: [x, -x + 0.03 * e],
    "inverted and fainter": lambda x, e: [x, -0.6 * x],
    "inverted and late": lambda x, e: [x, -np.roll(x, 1)],
    "three of which two": lambda x, e: [x, x, -2 * x],
    "inverted, with offsets": lambda x, e: [x + 0.3, -x - 0.2],
    "two pairs": lambda x, e: [x, -x, x, -x],
}


@pytest.mark.parametrize("kind", CANCELLING)
def test_of_channels_that_cancel_one_is_taken(rng: np.random.Generator, kind: str) -> None:
    wave, noise = voice(rng), voice(rng)
    channels = np.stack(CANCELLING[kind](wave, noise), 1)
    found, treatment = treated(channels)
    assert abs(alike(found, wave)) > 0.99
    assert treatment.notes[0] == (
        f"several channels: channel {1 if kind != 'three of which two' else 3} of {channels.shape[1]} taken, "
        "for together they cancel"
    )


def test_silent_channels_do_not_dilute(rng: np.random.Generator) -> None:
    wave = voice(rng)
    silent = np.zeros_like(wave)
    found, treatment = treated(np.stack([silent, silent, wave, silent + 0.2], 1))
    assert np.array_equal(found, wave)
    assert treatment.notes == ("several channels: channel 3 of 4, the others are silent",)
    assert not treated(np.stack([silent, silent], 1))[0].any()


CLICKS = {
    "one": [8_000],
    "two": [100, 30_000],
    "one in every frame": list(range(160, 64_000, 320)),
    "four in a frame": [8_000, 8_080, 8_160, 8_240],
    "at the ends": [0, 63_999],
}


@pytest.mark.parametrize("kind", CLICKS)
def test_clicks_are_no_sound(kind: str) -> None:
    wave = np.zeros(64_000, np.float32)
    wave[CLICKS[kind]] = 0.9
    assert seconds_of_sound(wave) == 0
    assert not is_silence(wave)
    with pytest.raises(AudioError, match=r"too little sound: 0.00 s, at least 0.40 s"):
        check_speech(wave, "a.wav")


@pytest.mark.parametrize(("seconds", "enough"), [(0.1, False), (0.3, False), (0.5, True), (2.0, True)])
def test_silence_around_it_changes_nothing_of_what_is_sound(
    rng: np.random.Generator, seconds: float, enough: bool
) -> None:
    for before in (0, 123, 16_000):
        wave = np.concatenate(
            [np.zeros(before, np.float32), voice(rng, seconds), np.zeros(32_000, np.float32)]
        )
        assert seconds_of_sound(wave) == pytest.approx(seconds, abs=0.021)
        if enough:
            check_speech(wave, "a.wav")
        else:
            with pytest.raises(AudioError, match="too little sound"):
                check_speech(wave, "a.wav")


def test_a_clipped_recording_is_full_of_sound(rng: np.random.Generator) -> None:
    assert seconds_of_sound((voice(rng) * 1000).clip(-1, 1)) == pytest.approx(1, abs=0.1)


def test_sound_is_a_matter_of_level_and_the_same_in_integers(rng: np.random.Generator) -> None:
    for level, heard in ((1e-4, 0.0), (1e-3, 1.0)):
        wave = voice(rng, 1.0, level)
        assert seconds_of_sound(wave) == pytest.approx(heard, abs=0.05)
        assert seconds_of_sound(wave + np.float32(0.5)) == seconds_of_sound(wave)
        integers = np.rint(32768 * wave).astype(np.int16)
        assert seconds_of_sound(integers) == pytest.approx(heard, abs=0.05)
    assert seconds_of_sound(np.zeros(100, np.float32)) == 0


def test_real_speech_has_sound(shared: Path) -> None:
    from distilvox.audio import read_audio

    wave = read_audio(shared / "corpora/chorus/audio/cv0001/se993/00.opus")
    assert seconds_of_sound(wave) > 0.5 * len(wave) / RATE
