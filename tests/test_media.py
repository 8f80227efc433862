"""m4a and the like: decoded by PyAV, judged as every recording is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox import media
from distilvox.audio import read_audio, read_sound
from distilvox.corpus.pack import pack
from distilvox.media import decode
from distilvox.sound import AudioError
from tests.inputs.recordings import RATE, encode, encoded

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE) * np.linspace(0.5, 1, 2 * RATE)


@pytest.fixture
def m4a(tmp_path: Path) -> Path:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna/1.m4a").write_bytes(encoded(TONE))
    return tmp_path / "anna/1.m4a"


def test_what_was_encoded_comes_back_in_its_place(m4a: Path) -> None:
    wave, rate = decode(m4a)
    assert (rate, wave.shape[1], wave.dtype) == (RATE, 1, np.float32)
    assert abs(len(wave) - len(TONE)) <= 1024  # the last frame of AAC
    heard, meant = wave[4000:28_000, 0], TONE[4000:28_000]
    assert np.corrcoef(heard, meant)[0, 1] > 0.99


def test_parts_of_it_and_other_rates(m4a: Path) -> None:
    whole = read_audio(m4a)
    np.testing.assert_array_equal(read_sound(m4a, span=(0.5, 1.5)).wave, whole[8000:24_000])
    assert abs(len(read_audio(m4a, sample_rate=8000)) - len(whole) / 2) < 2
    with pytest.raises(AudioError, match=r"5.00 s to its end is wanted"):
        read_sound(m4a, span=(5, None))


def test_a_folder_of_them_is_packed(m4a: Path, tmp_path: Path) -> None:
    report = pack(tmp_path, tmp_path / "corpus", jobs=1, progress=False)
    assert (report.corpus.utterances, report.rejected) == (["anna/1"], [])


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty file"), (b"\0\0\0\x20ftypM4A ", "not audio ("), (b"hello " * 99, "not audio (")],
)
def test_what_is_none(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.m4a").write_bytes(data)
    with pytest.raises(AudioError) as caught:
        decode(tmp_path / "a.m4a")
    assert caught.value.reason.startswith(reason)


def test_one_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(encoded(TONE)[:-2000])  # its index is gone
    with pytest.raises(AudioError, match=r"not audio \("):
        read_audio(path)
    encode(str(path), TONE, movflags="faststart")
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(AudioError, match=r"truncated: 1\.\d\d of 2\.\d\d s|not audio \("):
        read_audio(tmp_path / "a.m4a")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        decode(tmp_path / "a.m4a")
    with pytest.raises(AudioError, match="a folder, not a file"):
        decode(tmp_path)


def test_without_the_library_it_says_how_to_get_it(m4a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "find_spec", lambda _: None)
    with pytest.raises(
        AudioError, match=r"does not read .m4a: convert it .*pip install 'distilvox\[media\]'"
    ):
        read_audio(m4a)
