from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.audio import read_audio, read_sound
from distilvox.errors import UserError
from distilvox.names import EXTENSIONS, without_extension
from distilvox.sound import SAMPLE_RATE, SILENCE_PEAK, AudioError


def noise(rng: np.random.Generator, seconds: float = 1.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    return (0.1 * rng.standard_normal(round(seconds * rate))).clip(-0.9, 0.9).astype(np.float32)


def reason(path: Path, min_seconds: float = 0.5) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path, min_seconds=min_seconds)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_a_16_bit_file_comes_back_exactly(tmp_path: Path, rng: np.random.Generator) -> None:
    integers = rng.integers(-32768, 32768, 20_001).astype(np.int16)
    integers[:4] = [-32768, 32767, 0, -1]
    soundfile.write(tmp_path / "a.wav", integers, SAMPLE_RATE)
    wave = read_audio(tmp_path / "a.wav")
    assert wave.dtype == np.float32
    assert np.array_equal(wave * 32768, integers)


@pytest.mark.parametrize("extension", ["flac", "aiff", "w64", "caf", "au", "sph", "rf64"])
def test_every_lossless_container_gives_the_same_samples(
    tmp_path: Path, rng: np.random.Generator, extension: str
) -> None:
    integers = rng.integers(-9000, 9000, 12_000).astype(np.int16)
    formats = {"sph": "NIST"}
    soundfile.write(
        tmp_path / f"a.{extension}", integers, SAMPLE_RATE, subtype="PCM_16", format=formats.get(extension)
    )
    assert f".{extension}" in EXTENSIONS
    assert np.array_equal(read_audio(tmp_path / f"a.{extension}") * 32768, integers)


def test_channels_are_averaged(tmp_path: Path, rng: np.random.Generator) -> None:
    left, right = noise(rng), noise(rng)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_and_level_at_any_rate(tmp_path: Path, rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), rate, subtype="FLOAT")
    wave = read_audio(tmp_path / "a.wav")
    assert len(wave) == SAMPLE_RATE
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    np.testing.assert_allclose(wave[800:-800], expected[800:-800], atol=2e-3)


def test_what_lies_above_the_new_band_is_removed(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000)
    soundfile.write(tmp_path / "a.wav", tone, 48_000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", allow_silence=True)[800:-800]).max() < 1e-3


def test_files_that_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello, I am not audio at all\n" * 50)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "video.m4a").write_bytes(b"\0" * 100)
    (tmp_path / "short.ogg").write_bytes(b"OggS")
    assert reason(tmp_path / "empty.wav") == "empty file"
    assert reason(tmp_path / "text.wav").startswith("not audio (")
    assert reason(tmp_path / "folder.wav") == "a folder, not a file"
    assert reason(tmp_path / "absent.wav") == "no such file"
    assert reason(tmp_path / "text.wav" / "inside.wav") == "no such file"
    assert reason(tmp_path / "video.m4a").startswith("not audio (")
    assert reason(tmp_path / "short.ogg").startswith("truncated")
    assert issubclass(AudioError, UserError)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_sample_in_one_channel_is_enough(
    tmp_path: Path, rng: np.random.Generator, bad: float
) -> None:
    samples = np.stack([noise(rng), noise(rng)], axis=1)
    samples[9000, 1] = bad
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert reason(tmp_path / "a.wav") == "NaN or infinite samples"


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0.20"), (0.4999, "0.49"), (0.0, "0.00")])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_shorter_than_half_a_second_is_refused(
    tmp_path: Path, rng: np.random.Generator, seconds: float, shown: str, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(rng, seconds, rate), rate)
    assert reason(tmp_path / "a.wav") == f"too short: {shown} s, at least 0.50 s"


def test_half_a_second_is_enough_and_the_limit_can_be_moved(tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "a.wav", noise(rng, 0.5), SAMPLE_RATE)
    assert len(read_audio(tmp_path / "a.wav")) == SAMPLE_RATE // 2
    assert reason(tmp_path / "a.wav", min_seconds=0.6) == "too short: 0.50 s, at least 0.60 s"


def test_silence_is_what_never_leaves_its_mean_by_60_db(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    for name, samples in {
        "zeros": 0 * tone,
        "quiet": 0.9 * SILENCE_PEAK * tone,
        "offset": 0.3 + 0 * tone,
        "audible": 1.2 * SILENCE_PEAK * tone,
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    for name in ("zeros", "quiet", "offset"):
        assert reason(tmp_path / f"{name}.wav") == "silence"
    assert np.abs(read_audio(tmp_path / "audible.wav")).max() > SILENCE_PEAK
    assert not read_audio(tmp_path / "zeros.wav", allow_silence=True).any()


CONTAINERS = [
    *[
        ("wav", "WAV", "PCM_16"),
        ("wav", "WAV", "FLOAT"),
        ("wav", "RF64", "PCM_16"),
        ("flac", "FLAC", "PCM_16"),
    ],
    *[
        ("opus", "OGG", "OPUS"),
        ("ogg", "OGG", "VORBIS"),
        ("aiff", "AIFF", "PCM_16"),
        ("w64", "W64", "PCM_16"),
    ],
    *[("caf", "CAF", "PCM_16"), ("au", "AU", "PCM_16"), ("sph", "NIST", "PCM_16"), ("mp3", "MP3", None)],
]


@pytest.mark.parametrize(("extension", "container", "subtype"), CONTAINERS)
def test_a_file_that_was_cut_off_is_noticed(
    tmp_path: Path, rng: np.random.Generator, extension: str, container: str, subtype: str | None
) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, noise(rng, 3), SAMPLE_RATE, format=container, subtype=subtype)
    whole = path.read_bytes()
    assert len(read_audio(path)) == pytest.approx(3 * SAMPLE_RATE, abs=1200)
    for share in (0.5, 0.8):
        path.write_bytes(whole[: int(share * len(whole))])
        assert reason(path).startswith("truncated") or container == "CAF"


def test_an_ogg_stream_without_its_last_page_is_truncated(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.opus"
    soundfile.write(path, noise(rng, 3), SAMPLE_RATE, format="OGG", subtype="OPUS")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"OggS")])  # every page that is left is whole
    assert reason(path) == "truncated: the Ogg stream has no last page"
    path.write_bytes(whole[:-1])
    assert reason(path) == "truncated: the last Ogg page is incomplete"
    path.write_bytes(whole + b"TAG of some player")
    assert len(read_audio(path)) == 3 * SAMPLE_RATE


def test_real_speech_cut_off_is_truncated(shared: Path, tmp_path: Path) -> None:
    speech = shared / "corpora/chorus/audio/cv0001/se993/00.opus"
    assert len(read_audio(speech)) == 55_296
    (tmp_path / "cut.opus").write_bytes(speech.read_bytes()[:-300])
    assert reason(tmp_path / "cut.opus").startswith("truncated")


def test_a_wav_written_to_a_pipe_states_no_size_and_is_read(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.wav"
    integers = (noise(rng) * 32768).astype(np.int16)
    soundfile.write(path, integers, SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert np.array_equal(read_audio(path) * 32768, integers)


def test_a_sample_rate_that_no_speech_has(tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "a.wav", noise(rng), 100)
    assert reason(tmp_path / "a.wav") == "a sample rate of 100 Hz, at least 2000 Hz"


def test_only_known_extensions_are_cut_from_names() -> None:
    assert without_extension("a/b.WAV") == "a/b"
    assert without_extension("a/b.v2") == "a/b.v2"
    assert without_extension("a/.wav") == "a/.wav"
    assert without_extension("") == ""
    assert all(without_extension(f"x{extension}") == "x" for extension in EXTENSIONS)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_blocks_change_nothing(
    tmp_path: Path, rng: np.random.Generator, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(
        tmp_path / "a.wav", np.stack([noise(rng, 2, rate), noise(rng, 2, rate)], 1), rate, subtype="FLOAT"
    )
    whole, integers = read_sound(tmp_path / "a.wav"), read_sound(tmp_path / "a.wav", dtype=np.int16)
    assert np.array_equal(integers.wave, np.rint(whole.wave * 32768))
    monkeypatch.setattr("distilvox.audio._BLOCK", 1000)
    assert np.array_equal(read_sound(tmp_path / "a.wav").wave, whole.wave)
    assert np.array_equal(read_sound(tmp_path / "a.wav", dtype=np.int16).wave, integers.wave)


def test_hours_take_the_memory_of_the_result_and_of_a_block(tmp_path: Path, rng: np.random.Generator) -> None:
    """A minute of eight channels at 48 kHz: 92 MB of floats, 2 MB as a corpus holds it."""
    block = (9000 * rng.standard_normal((48_000, 8))).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 48_000, 8) as file:
        for _ in range(60):
            file.write(block)
    tracemalloc.start()
    wave = read_sound(tmp_path / "a.wav", dtype=np.int16).wave
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(wave) == 60 * SAMPLE_RATE
    assert peak < wave.nbytes + 40_000_000
