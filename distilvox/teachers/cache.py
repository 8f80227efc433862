"""Teacher embeddings of training views on disk: float16 [views, utterances, D_t], built once, resumable.

Embeddings, not logits: exact logits are one product with the head away. The folder holds `key.json`
(what the embeddings depend on), `embeddings.f16`, and `done.u8` (one byte a view and block of 256
utterances, set after the block's embeddings reached the disk: a kill at any moment costs one block).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import require
from distilvox.files import explain_disk_errors, read_json
from distilvox.locks import alone
from distilvox.teachers.base import Teacher
from distilvox.teachers.blocks import DATA, KEY, REMEDY, build, is_whole, prepare, require_complete
from distilvox.teachers.live import LiveTeacher, Speech
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig

SAMPLE = 8
TOLERANCE = 1e-3
PIECE = 4096
"""Embeddings read before their pages are given back: the system maps up to 64 KB around each."""

NOT_COMPARED = ("teacher_uri",)  # a teacher may move; its id may not change


class TeacherCache:
    """Complete cached embeddings. `TeacherCache.open_or_build` makes it.

    Attributes:
        folder: where it lies.
        key: what it depends on.
        views: how many views; `get` takes views in [0, views), training shows view `epoch % views`.
        embedding_dim: D_t.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        require_complete(folder, key)
        self.folder = folder
        self.key = key
        self.views: int = key["views"]
        self.embedding_dim: int = key["embedding_dim"]
        self._shape = (self.views, int(key["utterances"]), self.embedding_dim)
        with open(folder / DATA, "rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._map = np.frombuffer(self._pages, dtype=np.float16).reshape(self._shape)
        self._read = 0

    @classmethod
    def open_or_build(
        cls,
        folder: Path | str,
        teacher: Teacher,
        corpus: Speech,
        *,
        view_config: ViewConfig,
        bank: Bank,
        views: int,
        sees: str = "view",
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
        rank: int = 0,
        world_size: int = 1,
        barrier: Callable[[], None] | None = None,
    ) -> TeacherCache:
        """Opens the cache in `folder`, building what is missing of it, and checks it against the teacher.

        Args:
            folder: made if absent; an unfinished cache in it is continued.
            views: how many views, at least 1; exactly 1 where the teacher sees the whole utterance.
            progress: called with (embeddings done, embeddings in all) of this process's part.
            rank, world_size: this process builds every `world_size`-th block from `rank`.
            barrier: waits for all processes; needed where `world_size` > 1.

        Two processes that do not know each other may open one folder: the second waits for the first.

        Errors:
            UserError if the folder holds a cache of something else (it names what changed), is damaged,
            or disagrees with the live teacher on a sample; if the disk is full (what is done stays).
        """
        live = LiveTeacher(teacher, corpus, view_config, bank, sees, device)
        folder = Path(folder)
        require(views >= 1, "a teacher cache needs views", got=views, allowed="1 and above")
        require(
            sees == "view" or views == 1,
            "whole clean utterances have one view only",
            got=views,
            allowed="views = 1 where the teacher sees the utterance",
        )
        require(
            world_size == 1 or barrier is not None, "several processes build a cache: they need a barrier"
        )
        key = live.key(views)
        check_key(folder, key)
        wait = barrier or (lambda: None)
        with explain_disk_errors(folder), ExitStack() as stack:
            if rank == 0 and not is_whole(folder, key):
                stack.enter_context(alone(folder, inside=True, wait=True))
                check_key(folder, key)  # whoever held the lock may have begun another
                prepare(folder, key)
            wait()
            build(folder, live, key, progress=progress, rank=rank, world_size=world_size)
            wait()
        cache = cls(folder, key)
        cache.verify(live)
        return cache

    def get(self, view: int | Int[np.ndarray, " B"], indices: Int[np.ndarray, " B"]) -> Float[Tensor, "B D"]:
        """Embeddings [B, D_t] float32 of the utterances `indices` in `view` (one, or one each).

        However many are read, at most some 256 MB of the file stay in this process's memory.
        """
        found = np.empty((len(indices), self.embedding_dim), dtype=np.float32)
        views = np.broadcast_to(np.asarray(view), np.shape(indices))
        for start in range(0, len(found), PIECE):
            some = slice(start, start + PIECE)
            found[some] = self._map[views[some], indices[some]]
            self._read += len(found[some])
            if self._read >= PIECE:
                self._forget()
        return torch.from_numpy(found)

    def _forget(self) -> None:
        """Gives the pages that were read back to the system, which keeps them as long as it has room."""
        self._pages.madvise(mmap.MADV_DONTNEED)
        self._read = 0

    def all(self, view: int = 0) -> Float[Tensor, "U D"]:
        """Every utterance's embedding in one view: what a head is fitted on."""
        return torch.from_numpy(np.asarray(self._map[view], dtype=np.float32))

    def verify(self, live: LiveTeacher) -> None:
        """Compares utterances spread over the corpus, in the last view, with the teacher itself.

        Errors:
            UserError unless every 1 − cosine(cached, live) is below 1e-3.
        """
        rows = np.unique(np.linspace(0, self._shape[1] - 1, SAMPLE).astype(np.int64))
        fresh, cached = live.embed(self.views - 1, rows), self.get(self.views - 1, rows)
        errors = 1 - F.cosine_similarity(cached.double(), fresh.double(), dim=-1)
        worst = int(torch.nan_to_num(errors, nan=2.0).argmax())
        require(
            bool((errors < TOLERANCE).all()),
            f"the teacher cache in {self.folder} disagrees with the teacher on "
            f"{live.corpus.utterances[int(rows[worst])]}",
            got=f"1 - cosine = {float(errors[worst]):.2g}",
            allowed=f"below {TOLERANCE:g}",
            remedy=REMEDY,
        )


def check_key(folder: Path, key: dict[str, Any]) -> None:
    """Refuses a folder whose cache was built from something else, naming each changed field: old → new."""
    path = folder / KEY
    if not path.exists():
        return
    old = read_json(path, noun="teacher cache", remedy=REMEDY)
    require(isinstance(old, dict), f"this teacher cache is damaged: {path}", remedy=REMEDY)
    changed = [
        f"{name}: {old.get(name)} → {key.get(name)}"
        for name in sorted(old.keys() | key.keys())
        if old.get(name) != key.get(name) and name not in NOT_COMPARED
    ]
    require(
        not changed,
        f"the teacher cache in {folder} was built from something else",
        got="; ".join(changed),
        remedy="give another cache folder, or delete this one",
    )
