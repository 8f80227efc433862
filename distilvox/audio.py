"""One utterance from a file: any format and rate that libsndfile reads, to mono float32.

libsndfile reads a cut-off file as if it were merely shorter. Half an utterance under a whole one's
name is worse than none, so what the container promises is compared with what it holds.
No torch here: the runtime that ships reads its audio through this file too.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from distilvox.errors import UserError

SAMPLE_RATE = 16_000
"""Samples a second, everywhere in distilvox."""

MIN_SECONDS = 0.5
"""The shortest utterance that a corpus, a student or the runtime takes."""

SILENCE_PEAK = 1e-3
"""A file whose largest deviation from its own mean stays below this (-60 dBFS) is silence."""

MIN_FILE_RATE = 2_000
"""The lowest sample rate that a speech file may have; a smaller one is a damaged header."""

EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".w64", ".rf64"),
    *(".caf", ".au"),
)
"""Lower-case extensions of the formats that libsndfile reads."""

FOREIGN = (".m4a", ".aac", ".mp4", ".webm", ".mkv", ".mka", ".wma", ".amr", ".3gp", ".ra")
"""Speech too, but in formats that libsndfile does not read: refused with advice, never overlooked."""

_KNOWN = frozenset(EXTENSIONS + FOREIGN)
_UNKNOWN_FRAMES = 1 << 40
_STREAMED_BYTES = 0x7FFF_0000  # sox and ffmpeg write sizes from here on when they write to a pipe
_MP3_SLACK = 2 * 1152  # the length that an MP3 states may include the padding of its codec


class AudioError(UserError):
    """A file that cannot be used as speech; `reason` is short enough for a table."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot use {path}: {reason}", remedy="replace the file or leave it out")


def without_extension(name: str) -> str:
    """The name without its audio extension, if it has a known one.

    >>> without_extension("cv0001/se993/00.opus"), without_extension("anna/v1.2")
    ('cv0001/se993/00', 'anna/v1.2')
    """
    stem, dot, extension = name.rpartition(".")
    known = dot + extension.lower() in _KNOWN
    return stem if known and stem and not stem.endswith("/") else name


def read_audio(
    path: Path | str,
    *,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = MIN_SECONDS,
    allow_silence: bool = False,
) -> np.ndarray:
    """Reads one utterance: mono (mean of the channels), resampled (soxr HQ), float32 [N] in about [-1, 1].

    A 16-bit file at `sample_rate` comes back exactly, as integer / 32768.

    Args:
        path: a file in any format that libsndfile reads.
        sample_rate: of the result, in Hz.
        min_seconds: anything shorter is refused.
        allow_silence: accept files that never leave -60 dBFS.

    Raises:
        AudioError: with a `reason`: no such file, a folder, empty, not audio, truncated,
            NaN or infinite samples, too short, silence.
    """
    path = Path(path)
    stated = _stated(path)
    try:
        with soundfile.SoundFile(path) as file:
            frames, rate, log, subtype = file.frames, file.samplerate, file.extra_info, file.subtype
            if frames >= _UNKNOWN_FRAMES:
                raise AudioError(path, "its header does not state its length: encode it again")
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        detail = str(error).strip().rpartition(": ")[2].rstrip(".").lower() or "libsndfile cannot read it"
        if stated is not None or "lost sync" in detail:
            raise AudioError(path, f"truncated: {stated or detail}") from None
        raise AudioError(path, f"not audio ({detail})") from None
    stated = stated or _logged(log) or _missing_frames(path, len(samples), frames, subtype)
    if stated is not None:
        raise AudioError(path, f"truncated: {stated}")
    if rate < MIN_FILE_RATE:
        raise AudioError(path, f"a sample rate of {rate} Hz, at least {MIN_FILE_RATE} Hz")
    if not np.isfinite(samples).all():
        raise AudioError(path, "NaN or infinite samples")
    wave = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    shortest = round(min_seconds * sample_rate)
    if len(wave) and rate != sample_rate:
        wave = soxr.resample(wave, rate, sample_rate, quality="HQ")
    if len(wave) < shortest or not len(wave):
        hundredths = len(samples) * 100 // rate
        raise AudioError(path, f"too short: {hundredths / 100:.2f} s, at least {min_seconds:.2f} s")
    if not allow_silence:
        mean = float(wave.mean(dtype=np.float64))
        if max(float(wave.max()) - mean, mean - float(wave.min())) < SILENCE_PEAK:
            raise AudioError(path, "silence")
    return np.ascontiguousarray(wave, dtype=np.float32)


def _stated(path: Path) -> str | None:
    """Checks the file itself; says what is missing of an Ogg or RIFF container, None if nothing is."""
    if path.suffix.lower() in FOREIGN:
        reason = f"libsndfile does not read {path.suffix.lower()}: convert it to FLAC or WAV first"
        raise AudioError(path, reason)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            magic = file.read(4)
            if size == 0:
                raise AudioError(path, "empty file")
            if magic == b"OggS":
                return _ogg_missing(file, size)
            if magic in (b"RIFF", b"RF64"):
                return _riff_missing(file, size)
            return None
    except FileNotFoundError:
        raise AudioError(path, "no such file") from None
    except (IsADirectoryError, NotADirectoryError):
        raise AudioError(path, "a folder, not a file" if path.is_dir() else "no such file") from None
    except PermissionError:
        raise AudioError(path, "no permission to read it") from None
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})") from None


def _ogg_missing(file: BinaryIO, size: int) -> str | None:
    """Walks the pages (RFC 3533, section 6): the last must be whole, every stream must end."""
    position, unended = 0, set()
    while position + 4 <= size:
        file.seek(position)
        header = file.read(27)
        if header[:4] != b"OggS":
            break  # something appended after the last page, such as a tag
        if len(header) < 27:
            return "the last Ogg page is incomplete"
        flags, serial, segments = header[5], header[14:18], header[26]
        table = file.read(segments)
        position += 27 + segments + sum(table)
        if len(table) < segments or position > size:
            return "the last Ogg page is incomplete"
        unended.discard(serial) if flags & 4 else unended.add(serial)
    return "the Ogg stream has no last page" if unended else None


def _riff_missing(file: BinaryIO, size: int) -> str | None:
    """Compares the data chunk of a WAV or RF64 file with the file's size."""
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64" and length >= 16:
            long_size = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        if name == b"data":
            promised = length if long_size is None or length != 0xFFFF_FFFF else long_size
            there = size - position - 8
            streamed = long_size is None and promised >= _STREAMED_BYTES
            return None if streamed or there >= promised else f"{there:,} of {promised:,} bytes of samples"
        position += 8 + length + (length & 1)
    return None


def _logged(log: str) -> str | None:
    """What libsndfile noted while opening AIFF, AU, W64 and CAF: a chunk that passes the file's end."""
    pattern = r"^\s*(?:SSND|Data Size|data|riff)\s*:\s*(\d+) \(should be (\d+)\)"
    for match in re.finditer(pattern, log, re.MULTILINE):
        promised, there = int(match[1]), int(match[2])
        if there < promised < _STREAMED_BYTES:
            return f"{there:,} of {promised:,} bytes"
    return None


def _missing_frames(path: Path, decoded: int, frames: int, subtype: str) -> str | None:
    """Compares the number of samples that the header promises with those that were decoded."""
    if path.suffix.lower() == ".sph":
        with path.open("rb") as file:
            count = re.search(rb"sample_count -i (\d+)", file.read(4096))
        frames = max(frames, int(count[1]) if count else 0)
    slack = _MP3_SLACK if subtype.startswith("MPEG") else 0
    return f"{decoded:,} of {frames:,} samples" if decoded + slack < frames else None
