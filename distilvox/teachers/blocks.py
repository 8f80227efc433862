"""The files of a teacher cache: laid out empty, filled block by block, whole when every block is marked.

Whoever fills it holds its lock (`distilvox.locks`): of two processes that begin one cache at once, the second waits
and finds it whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.files import write_json
from distilvox.teachers.live import LiveTeacher

BLOCK = 256
DATA, MARKS, KEY = "embeddings.f16", "done.u8", "key.json"
REMEDY = "delete the cache folder and build it again"


def is_whole(folder: Path, key: dict[str, Any]) -> bool:
    """Whether there is nothing to do. Damage is none of it: whoever goes on to build or to read meets it."""
    marks = folder / MARKS
    return (folder / KEY).exists() and marks.is_file() and marks.read_bytes() == b"\1" * sizes(key)[1]


def prepare(folder: Path, key: dict[str, Any]) -> None:
    """An empty cache of the right size, its key last: a folder with a key has valid marks."""
    if (folder / KEY).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in zip((DATA, MARKS), sizes(key), strict=True):
        with open(folder / name, "wb") as file:
            file.truncate(size)
    write_json(folder / KEY, key)


def sizes(key: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the embeddings and of the marks."""
    views, utterances = key["views"], key["utterances"]
    return views * utterances * key["embedding_dim"] * 2, views * -(-utterances // BLOCK)


@contextmanager
def descriptor(path: Path, size: int, flags: int) -> Iterator[int]:
    """Opens one of the cache's files, which must be there with its full size."""
    found = path.stat().st_size if path.is_file() else None
    require(
        found == size,
        f"this teacher cache is damaged: {path} has another size",
        got="no such file" if found is None else f"{found} bytes",
        allowed=f"{size} bytes",
        remedy=REMEDY,
    )
    opened = os.open(path, flags)
    try:
        yield opened
    finally:
        os.close(opened)


def write_at(file: int, data: bytes, offset: int) -> None:
    """All of `data` at `offset`, on the disk when this returns (a map would die of a full disk)."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written
    os.fsync(file)


def to_float16(embeddings: Float[Tensor, "B D"], names: list[str]) -> Float16[np.ndarray, "B D"]:
    """Half precision, or an error that names the utterance whose embedding does not fit it."""
    half = embeddings.half()
    bad = torch.nonzero(~torch.isfinite(half).all(dim=1)).flatten().tolist()
    if bad:
        raise UserError(
            f"the teacher's embedding of {names[bad[0]]} does not fit float16",
            got=f"largest entry {float(embeddings[bad[0]].abs().max()):g}",
            allowed="finite, up to 65504",
            remedy="run this teacher live (no cache)",
        )
    return half.numpy()


def build(
    folder: Path,
    live: LiveTeacher,
    key: dict[str, Any],
    *,
    progress: Callable[[int, int], None] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Writes the blocks of this rank that are not done: embeddings first, then the block's mark.

    A whole cache is only read, so it may lie where nobody may write.
    """
    if is_whole(folder, key):
        return
    utterances, dim = key["utterances"], key["embedding_dim"]
    data_size, marks_size = sizes(key)
    blocks = -(-utterances // BLOCK)
    mine = range(rank, marks_size, world_size)
    spans = {
        place: range(place % blocks * BLOCK, min(place % blocks * BLOCK + BLOCK, utterances))
        for place in mine
    }
    total, done = sum(map(len, spans.values())), 0
    with (
        descriptor(folder / DATA, data_size, os.O_RDWR) as data,
        descriptor(folder / MARKS, marks_size, os.O_RDWR) as marks,
    ):
        for place, span in spans.items():
            if os.pread(marks, 1, place) != b"\x01":
                view = place // blocks
                found = live.embed(view, np.asarray(span))
                half = to_float16(found, [live.corpus.utterances[index] for index in span])
                write_at(data, half.tobytes(), (view * utterances + span.start) * dim * 2)
                write_at(marks, b"\x01", place)
            done += len(span)
            if progress is not None:
                progress(done, total)


def require_complete(folder: Path, key: dict[str, Any]) -> None:
    """Every block of every view is marked."""
    data_size, marks_size = sizes(key)
    with (
        descriptor(folder / DATA, data_size, os.O_RDONLY),
        descriptor(folder / MARKS, marks_size, os.O_RDONLY),
    ):
        missing = (folder / MARKS).read_bytes().count(0)
    require(
        missing == 0,
        f"the teacher cache in {folder} is unfinished",
        got=f"{missing} of {marks_size} blocks are missing",
        remedy="build it again: what is done is kept",
    )
