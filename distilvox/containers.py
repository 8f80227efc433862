"""What a file is, and what its container promises: compared with what is there, in both directions.

libsndfile reads a file that was cut off as if it were merely shorter, and believes a header that states less than there
is. Half an utterance under a whole one's name is worse than none, so both are found out here, before it is read.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from distilvox.held import Held, opened
from distilvox.sound import AudioError

STREAMED_BYTES = 0x7FFE_0000
"""Sizes from here on are what sox and ffmpeg write when they write to a pipe: unknown."""

_SLACK = 4096
"""Bytes behind the samples that no chunk explains, such as a player's tag: fewer are nobody's samples."""

CONVERT = "convert it to FLAC or WAV first"

_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer in the file's place: fetch the file with `git lfs pull`",
    ),
    (0, b"\0\5\x16\7", "macOS's notes about a file (AppleDouble, ._name), not the file: leave it out"),
    (0, b"\0\5\x16\0", "macOS's notes about a file (AppleSingle), not the file: leave it out"),
    (4, b"ftyp", f"MPEG-4 (m4a, mp4), which libsndfile does not read: {CONVERT}"),
    (4, b"moov", f"QuickTime, which libsndfile does not read: {CONVERT}"),
    (0, b"\x1a\x45\xdf\xa3", f"WebM or Matroska, which libsndfile does not read: {CONVERT}"),
    (0, b"#!AMR", f"AMR, which libsndfile does not read: {CONVERT}"),
    (
        0,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        f"Windows Media (wma, asf), which libsndfile does not read: {CONVERT}",
    ),
    (0, b"\xff\xf1", f"AAC (ADTS), which libsndfile does not read: {CONVERT}"),
    (0, b"\xff\xf9", f"AAC (ADTS), which libsndfile does not read: {CONVERT}"),
    (0, b".RMF", f"RealMedia, which libsndfile does not read: {CONVERT}"),
    (0, b".ra\xfd", f"RealAudio, which libsndfile does not read: {CONVERT}"),
    (0, b"FLV\x01", f"Flash video, which libsndfile does not read: {CONVERT}"),
    (0, b"wvpk", f"WavPack, which libsndfile does not read: {CONVERT}"),
    (0, b"MAC ", f"Monkey's Audio, which libsndfile does not read: {CONVERT}"),
    (0, b"TTA1", f"True Audio, which libsndfile does not read: {CONVERT}"),
    (0, b"DSD ", f"DSD, which libsndfile does not read: {CONVERT}"),
    (0, b"ajkg", "shorten, which libsndfile does not read: decompress it with `shorten -x` or ffmpeg"),
    (8, b"AVI ", f"AVI video, which libsndfile does not read: {CONVERT}"),
    (8, b"WEBP", "a WebP picture, not audio"),
    (0, b"PK\3\4", "a ZIP archive, not audio: unpack it"),
    (0, b"\x1f\x8b", "compressed with gzip: decompress it"),
    (0, b"BZh", "compressed with bzip2: decompress it"),
    (0, b"\xfd7zXZ", "compressed with xz: decompress it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it"),
    (0, b"7z\xbc\xaf", "a 7z archive, not audio: unpack it"),
    (0, b"Rar!", "a RAR archive, not audio: unpack it"),
    (257, b"ustar", "a tar archive, not audio: unpack it"),
    (0, b"%PDF", "a PDF document, not audio"),
    (0, b"\x89PNG", "a PNG picture, not audio"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not audio"),
    (0, b"GIF8", "a GIF picture, not audio"),
    (0, b"\x93NUMPY", "a NumPy array, not audio: write its samples as WAV"),
    (0, b"\x89HDF", "an HDF5 file, not audio"),
    (0, b"MThd", "MIDI: notes to play, not audio"),
    (0, b"SQLite format 3", "an SQLite database, not audio"),
)
"""(position, bytes there, what a file is that has them)."""

_PAGE = re.compile(rb"^\s*(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|error|!--)", re.IGNORECASE)


def foreign_kind(head: bytes) -> str | None:
    """What a file that begins with `head` (512 bytes or all) is, if it is known and nothing that libsndfile reads.

    >>> foreign_kind(b"<!DOCTYPE html>")
    'a web page (HTML, XML) in the place of the file: download it again'
    """
    if _PAGE.match(head):
        return "a web page (HTML, XML) in the place of the file: download it again"
    for position, magic, kind in _STARTS:
        if head[position : position + len(magic)] == magic and not _is_media(head):
            return kind
    if head.startswith(b"NIST_1A") and b"shorten" in head.partition(b"end_head")[0]:
        return "SPHERE compressed with shorten: decompress it with `sph2pipe -f wav`"
    if head.lstrip().startswith((b"{", b"[")) and _is_text(head):
        return "text (JSON), not audio"
    return None


def check_container(path: Path | Held) -> str | None:
    """Looks at the file itself; says what is missing of its container, None if nothing is.

    Raises:
        AudioError: no such file, no regular file, empty, of a known foreign kind, a header that states less than is
            there.
    """
    try:
        if isinstance(path, Path):
            _check_regular(path)
        with opened(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(1024)
            if size == 0:
                raise AudioError(path, "empty file")
            if (kind := foreign_kind(head)) is not None:
                raise AudioError(path, kind)
            if not head.strip(b"\0") and not file.read(1 << 20).strip(b"\0"):
                raise AudioError(path, "nothing but zero bytes: a copy or a download that did not finish")
            if head[:4] == b"OggS":
                return _ogg_missing(file, size)
            return _chunks_missing(path, file, size, head)
    except FileNotFoundError:
        raise AudioError(path, "no such file") from None
    except (IsADirectoryError, NotADirectoryError):
        raise AudioError(
            path, "a folder, not a file" if isinstance(path, Path) and path.is_dir() else "no such file"
        ) from None
    except PermissionError:
        raise AudioError(path, "no permission to read it") from None
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror})") from None


def _check_regular(path: Path) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise AudioError(path, "a folder, not a file")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise AudioError(path, f"{kind}, which cannot be read twice: write the sound to a file first")


def _is_media(head: bytes) -> bool:
    """Whether libsndfile reads this after all: an AAC-like start inside MP3's frames is no AAC."""
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff") and head[8:12] not in (
        b"AVI ",
        b"WEBP",
    )


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r" for byte in head)


# ---- Ogg: pages ------------------------------------------------------------------------------------------------


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


# ---- RIFF, AIFF, AU, W64, CAF: chunks ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How a container lays out its chunks.

    Args:
        start: of the first chunk.
        header: struct of a chunk's name and length.
        samples: the name of the chunk that holds the samples.
        pads: chunks begin at multiples of it.
        own: bytes of the header that the length counts too.
    """

    start: int
    header: str
    samples: bytes
    pads: int
    own: int = 0


_LAYOUTS = {
    b"RIFF": _Layout(12, "<4sI", b"data", 2),
    b"RF64": _Layout(12, "<4sI", b"data", 2),
    b"RIFX": _Layout(12, ">4sI", b"data", 2),
    b"FORM": _Layout(12, ">4sI", b"SSND", 2),
    b"caff": _Layout(8, ">4sq", b"data", 1),
    b"riff": _Layout(40, "<16sQ", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 8, 24),
}


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    begin: int
    length: int


def _walk(file: BinaryIO, size: int, layout: _Layout) -> Iterator[_Chunk]:
    """The chunks, until one does not look like any; `begin` is where a chunk's content does."""
    position, header = layout.start, struct.calcsize(layout.header)
    while position + header <= size:
        file.seek(position)
        name, length = struct.unpack(layout.header, file.read(header))
        if not all(32 <= letter < 127 for letter in name[:4]):
            return
        length -= layout.own
        yield _Chunk(name, position + header, length)
        position += header + max(length, 0)
        position += -position % layout.pads


def _chunks_missing(path: Path | Held, file: BinaryIO, size: int, head: bytes) -> str | None:
    if head[:4] == b".snd" and len(head) >= 12:
        offset, length = struct.unpack(">II", head[4:12])
        return _compared(path, file, length, offset, offset + length)
    if head.startswith(b"NIST_1A"):
        return _sphere_missing(path, file, head)
    if head[:4] not in _LAYOUTS:
        return None
    layout = _LAYOUTS[head[:4]]
    chunks = list(_walk(file, size, layout))
    held = [chunk for chunk in chunks if chunk.name == layout.samples]
    if not held:
        _refuse_odd_chunk(path, file, chunks, layout)
        return None
    if len(held) > 1 and all(chunk.length for chunk in held):
        raise AudioError(path, "two chunks of samples, of which one would be read: encode it again")
    length = held[0].length
    if head[:4] == b"RF64" and length == 0xFFFF_FFFF:
        length = _long_length(file, chunks)
    ends = [held[0].begin + length, *(chunk.begin + chunk.length for chunk in chunks)]
    return _compared(
        path, file, length, held[0].begin, max((end for end in ends if end <= size), default=size)
    )


def _sphere_missing(path: Path | Held, file: BinaryIO, head: bytes) -> str | None:
    """SPHERE: a header of text, then samples whose number, channels and bytes it states."""
    fields = dict(re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d+)", head))
    begin = re.match(rb"NIST_1A\s+(\d+)", head)
    if begin is None or len(fields) < 3 or re.search(rb"sample_coding -s\d+ \S*embedded", head):
        return None
    length = int(fields[b"sample_count"]) * int(fields[b"channel_count"]) * int(fields[b"sample_n_bytes"])
    return _compared(path, file, length, int(begin[1]), int(begin[1]) + length)


def _compared(path: Path | Held, file: BinaryIO, promised: int, begin: int, end: int) -> str | None:
    """What is missing of the samples, if anything; more of them than promised is an error of its own.

    Args:
        promised: bytes of samples that the header states.
        begin: where they begin.
        end: where the last chunk ends; what follows no header explains.
    """
    size = file.seek(0, 2)
    there = size - begin
    if promised < 0 or (promised >= STREAMED_BYTES and there < promised):
        return None
    if there < promised:
        return f"{there:,} of {promised:,} bytes of samples"
    file.seek(end)
    rest = file.read(1 << 16)
    if size - end > _SLACK and rest.strip(b"\0") and not rest.startswith((b"ID3", b"TAG", b"APETAGEX")):
        said = f"its header states {promised:,} of {promised + size - end:,} bytes of samples"
        raise AudioError(path, f"{said}: mend the header, for instance with `sox --ignore-length`")
    return None


def _long_length(file: BinaryIO, chunks: list[_Chunk]) -> int:
    """The length of the samples as RF64 keeps it, in a chunk of its own."""
    for chunk in chunks:
        if chunk.name == b"ds64" and chunk.length >= 16:
            file.seek(chunk.begin)
            return struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
    return -1


def _refuse_odd_chunk(path: Path | Held, file: BinaryIO, chunks: list[_Chunk], layout: _Layout) -> None:
    """Says so where the samples are lost behind a chunk of odd length that lacks its pad byte."""
    for chunk in chunks:
        file.seek(chunk.begin + chunk.length)
        if chunk.length % layout.pads and file.read(len(layout.samples)) == layout.samples:
            name = chunk.name.decode("ascii").strip()
            raise AudioError(path, f"its {name} chunk has an odd length and no pad byte: encode it again")
