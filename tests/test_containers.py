from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.audio import read_audio, read_sound
from distilvox.containers import foreign_kind
from distilvox.sound import AudioError

RATE = 16_000


@pytest.fixture
def integers(rng: np.random.Generator) -> np.ndarray:
    return (3000 * rng.standard_normal(2 * RATE)).astype(np.int16)


def reason(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    return caught.value.reason


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if length is None else length) + content


def riff(*chunks: bytes) -> bytes:
    """A WAV file of 16-bit mono at 16 kHz around chunks."""
    body = b"WAVE" + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)) + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


FOREIGN = {
    "m4a": (b"\0\0\0\x20ftypM4A ", "MPEG-4"),
    "WebM": (b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    "AMR": (b"#!AMR\n", "AMR"),
    "wma": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    "AAC": (b"\xff\xf1\x50\x80", "AAC"),
    "a page": (b"<!DOCTYPE html><html><title>404", "a web page"),
    "a page after blanks": (b"\n\n  <HTML>", "a web page"),
    "an error in XML": (b"<?xml version='1.0'?><Error>", "a web page"),
    "an answer in JSON": (b'{"error": "not found"}', "text (JSON)"),
    "an LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n",
        "a Git LFS pointer",
    ),
    "AppleDouble": (b"\0\5\x16\7\0\2\0\0Mac OS X", "macOS's notes about a file"),
    "a ZIP": (b"PK\3\4", "a ZIP archive"),
    "gzip": (b"\x1f\x8b\x08", "compressed with gzip"),
    "a tar": (b"name".ljust(257, b"\0") + b"ustar", "a tar archive"),
    "JPEG": (b"\xff\xd8\xff\xe0", "a JPEG picture"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "AVI video"),
    "shorten": (b"ajkg\2", "shorten"),
    "shorten in SPHERE": (
        b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n",
        "decompress it with `sph2pipe -f wav`",
    ),
    "zeros": (b"\0" * 5000, "nothing but zero bytes"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_something_else_is_called_by_its_name(tmp_path: Path, kind: str) -> None:
    start, words = FOREIGN[kind]
    path = tmp_path / "a.wav"
    path.write_bytes(start + (b" " if start.startswith(b"{") else b"\0") * 4000)
    assert words in reason(path)


def test_what_libsndfile_reads_is_nothing_foreign(tmp_path: Path, integers: np.ndarray) -> None:
    for name in ("wav", "flac", "ogg", "opus", "mp3", "aiff", "w64", "rf64", "caf", "au"):
        path = tmp_path / f"a.{name}"
        options = {"format": "OGG", "subtype": "OPUS"} if name == "opus" else {}
        soundfile.write(path, integers, RATE, **options)
        assert foreign_kind(path.read_bytes()[:1024]) is None, name
        path.rename(tmp_path / "other.wav")
        assert len(read_audio(tmp_path / "other.wav")) == len(integers), name


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert reason(tmp_path / "a.wav") == "a pipe, which cannot be read twice: write the sound to a file first"
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    assert reason(tmp_path / "b.wav").startswith("a device")
    (tmp_path / "c.wav").symlink_to("c.wav")
    assert reason(tmp_path / "c.wav").startswith("cannot be read (Too many levels")


def put_length(kind: str, at: int, stated: Callable[[int], int]) -> Callable[[bytearray, bytes], None]:
    def change(data: bytearray, mark: bytes) -> None:
        place = data.index(mark) + at
        size = struct.calcsize(kind)
        data[place : place + size] = struct.pack(
            kind, stated(struct.unpack(kind, data[place : place + size])[0])
        )

    return change


LENGTHS = {
    "wav": (b"data", "<I", 4),
    "aiff": (b"SSND", ">I", 4),
    "au": (b".snd", ">I", 8),
    "caf": (b"data", ">q", 4),
    "w64": (b"data\xf3", "<Q", 16),
    "rf64": (b"ds64", "<Q", 16),
}
"""Extension → the mark before the length of the samples, its struct, and where it stands behind the mark."""


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("extension", LENGTHS)
def test_a_header_that_states_less_than_there_is(
    tmp_path: Path, integers: np.ndarray, extension: str, share: float
) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, integers, RATE, subtype="PCM_16")
    assert np.array_equal(read_audio(path) * 32768, integers)
    data = bytearray(path.read_bytes())
    mark, kind, at = LENGTHS[extension]
    put_length(kind, at, lambda n: int(n * share) // 16 * 16 + 32)(data, mark)
    path.write_bytes(data)
    assert reason(path).startswith("its header states ")
    assert "bytes of samples: mend the header" in reason(path)


@pytest.mark.parametrize("stated", ["00000", "16000"])
def test_a_sphere_header_that_states_less(tmp_path: Path, integers: np.ndarray, stated: str) -> None:
    path = tmp_path / "a.sph"
    soundfile.write(path, integers, RATE, format="NIST", subtype="PCM_16")
    assert np.array_equal(read_audio(path) * 32768, integers)
    path.write_bytes(path.read_bytes().replace(b"-i 32000", f"-i {stated}".encode(), 1))
    assert reason(path).startswith(f"its header states {2 * int(stated):,} of 64,000 bytes of samples")


def test_a_recorder_that_was_killed_left_zeros_in_the_header(tmp_path: Path, integers: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    samples = integers.tobytes()
    for size in (0, 36):
        path.write_bytes(b"RIFF" + struct.pack("<I", size) + riff(chunk(b"data", samples, 0))[8:])
        assert reason(path).startswith("its header states 0 of 64,000 bytes of samples")


@pytest.mark.parametrize("stated", [0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_0000 - 100, 0xFFFF_FFF7])
def test_sizes_that_programs_write_to_a_pipe_are_read(
    tmp_path: Path, integers: np.ndarray, stated: int
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(chunk(b"data", integers.tobytes(), stated)))
    assert np.array_equal(read_audio(path) * 32768, integers)


def test_what_may_follow_the_samples(tmp_path: Path, integers: np.ndarray) -> None:
    samples = chunk(b"data", integers.tobytes())
    path = tmp_path / "a.wav"
    for end in (
        chunk(b"LIST", b"INFO" + b"x" * 9000),
        b"\0" * 9000,
        b"TAG" + b"x" * 125,
        b"ID3\3\0" + b"cover" * 9000,
        b"junk" * 200,
    ):
        path.write_bytes(riff(samples) + end)
        assert np.array_equal(read_audio(path) * 32768, integers)


def test_two_chunks_of_samples_and_a_chunk_without_its_pad(tmp_path: Path, integers: np.ndarray) -> None:
    half = chunk(b"data", integers[:RATE].tobytes())
    path = tmp_path / "a.wav"
    path.write_bytes(riff(half, half))
    assert reason(path) == "two chunks of samples, of which one would be read: encode it again"
    path.write_bytes(riff(chunk(b"LIST", b"INFOx"), chunk(b"data", integers.tobytes())))
    assert reason(path) == "its LIST chunk has an odd length and no pad byte: encode it again"
    path.write_bytes(riff(chunk(b"LIST", b"INFOx") + b"\0", chunk(b"data", integers.tobytes())))
    assert np.array_equal(read_audio(path) * 32768, integers)


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "IMA_ADPCM", "ULAW"])
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_codecs_of_telephones(tmp_path: Path, integers: np.ndarray, subtype: str, rate: int) -> None:
    name = "a.au" if subtype == "G721_32" else "a.wav"
    soundfile.write(tmp_path / name, integers, rate, subtype=subtype)
    assert len(read_audio(tmp_path / name)) == pytest.approx(len(integers) * RATE / rate, rel=0.02)
    part = read_sound(tmp_path / name, span=(0.5, 1.25)).wave
    whole = read_sound(tmp_path / name).wave
    assert len(part) == 12_000
    if rate == RATE:
        assert np.abs(part - whole[8_000:20_000]).max() < 0.01 or subtype == "IMA_ADPCM"
