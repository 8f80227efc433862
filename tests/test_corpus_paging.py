from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.paging import MappedAudio


def test_any_stretch_is_that_of_the_file(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).integers(-(2**15), 2**15, 20_001).astype("<i2")
    (tmp_path / "audio.bin").write_bytes(wave.tobytes())
    audio = MappedAudio(tmp_path / "audio.bin")
    np.testing.assert_array_equal(audio.samples, wave)
    for begin, end in (
        (0, 20_001),
        (0, 1),
        (2047, 2049),
        (2048, 4096),
        (20_000, 20_001),
        (7, 7),
        (20_001, 20_001),
    ):
        np.testing.assert_array_equal(audio.read(begin, end), wave[begin:end])


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_or_missing_file_has_no_samples(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "audio.bin").touch()
    audio = MappedAudio(tmp_path / "audio.bin")
    assert audio.samples.dtype == np.int16
    assert len(audio.samples) == len(audio.read(0, 0)) == 0


def test_it_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "audio.bin").write_bytes(bytes(8))
    audio = MappedAudio(tmp_path / "audio.bin")
    with pytest.raises(ValueError, match="read-only"):
        audio.read(0, 4)[0] = 1
