"""One teacher over a corpus: what it hears, where what it says is kept, and how its space is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int64
from torch import Tensor

from distilvox.console import progress
from distilvox.corpus.subset import part
from distilvox.corpus.table import UNKNOWN
from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher, TeacherHead, freeze
from distilvox.teachers.cache import TeacherCache
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.heads import FittedHead, fit_head, in_sorted_order, no_centres
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.places import trials_cache
from distilvox.teachers.vectors import Chosen, Units, centred, training_mean
from distilvox.teachers.window import OtherWindow, compare_windows, twin
from distilvox.views.batches import Views

Reader = Callable[[Views, int], Tensor]


@runtime_checkable
class Ranks(Protocol):
    """The processes that share the work: `distilvox.train.distributed.World`."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def barrier(self) -> None: ...


@runtime_checkable
class Source(Protocol):
    """Embeddings by view and utterance: a `TeacherCache`, or made-up ones."""

    @property
    def views(self) -> int: ...

    @property
    def embedding_dim(self) -> int: ...

    def get(self, view: int | Int[np.ndarray, " B"], indices: Int[np.ndarray, " B"]) -> Tensor: ...


@dataclass(frozen=True)
class Heard:
    """All views of the utterances that are trained on, [V · U, D]: those of one view after those of another.

    Args:
        source: of the whole corpus.
        rows: [U] in it.
    """

    source: Source
    rows: Int64[np.ndarray, " U"]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self.source.embedding_dim

    def __len__(self) -> int:
        return self.source.views * len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        views, utterances = np.divmod(rows.numpy(), len(self.rows))
        return self.source.get(views, self.rows[utterances])


class Centring(NamedTuple):
    """A teacher's own class centres, if any; whether their names are a guess; whether its mean is removed."""

    own: TeacherHead | None
    assumed: bool
    removes_mean: bool


def centring(teacher: Teacher, names: Sequence[str], config: TargetConfig) -> Centring:
    """How a teacher's space is used over the speakers `names`: in training and wherever it is compared with."""
    own = teacher.head()
    guessed = in_sorted_order(teacher.unnamed_head(), names) if config.head == "auto" else None
    assumed = own is None and guessed is not None
    own = guessed if assumed else own
    return Centring(own, assumed, config.centre == "yes" or (config.centre == "auto" and own is None))


@dataclass(frozen=True)
class Member:
    """A teacher, alone or one of an ensemble.

    Attributes:
        live: what it is and what it is shown, of the whole corpus.
        heard: its embeddings of what is trained on.
        folder: where those of trials are kept.
        names: C, of the speakers that are trained on; perhaps none.
    """

    live: LiveTeacher
    heard: Heard
    folder: Path
    names: Sequence[str]
    config: TargetConfig

    @property
    def teacher(self) -> Teacher:
        return self.live.teacher

    @cached_property
    def centring(self) -> Centring:
        return centring(self.teacher, self.names, self.config)

    @cached_property
    def mean(self) -> Tensor:
        """Of its unit training embeddings [D_k]."""
        return training_mean(self.heard)

    @property
    def centre(self) -> Tensor | None:
        """The mean where it is taken away before every cosine, else None."""
        return self.mean if self.centring.removes_mean else None

    @property
    def units(self) -> Units:
        """All views of all utterances, of length 1, centred if so configured: [V · U, D_k]."""
        return Units(self.heard, self.centre)

    def fit(self, labels: Tensor) -> FittedHead:
        """Its class centres, for the labels [V · U] of what it heard, some of them perhaps `UNKNOWN`."""
        own, assumed, _ = self.centring
        if not self.names:
            return no_centres(self.heard.shape[1])
        known = (labels != UNKNOWN).nonzero()[:, 0]
        return fit_head(
            own, Chosen(self.heard, known), labels[known], self.names,
            how=self.config.head, unmatched=self.config.unmatched, centre=self.centre, assumed=assumed,
        )  # fmt: skip

    def enter(self, waves: Tensor) -> Tensor:
        """The teacher itself: waves [B, N] → what enters a cosine [B, D_k], on the CPU."""
        return centred(self.teacher.embed(waves).cpu(), self.centre)

    def reader(self, *, live: bool) -> Reader:
        """What a step asks: (batch, number of its view) → embeddings [B, D_k] of length 1, centred if so configured.

        It holds the cache, a map of half precision, and not the teacher; or, `live`, the teacher.
        """
        source, rows, centre, itself = self.heard.source, self.heard.rows, self.centre, self.live
        whole = itself.sees == "utterance"
        if not live:
            return lambda batch, view: centred(
                source.get(0 if whole else view, rows[batch.utterances]), centre
            )
        if whole:
            return lambda batch, view: centred(itself.embed(0, rows[batch.utterances]), centre)
        return lambda batch, view: centred(itself.teacher.embed(batch.waves).cpu(), centre)

    def trials(self, judge: Judge, ranks: Ranks) -> Tensor:
        """Its embeddings [U, D_k] of the trials' utterances, whole and clean, as they are; from their cache."""
        return self._trials_of(self.teacher, judge, ranks)

    def other_window(self, judge: Judge, ranks: Ranks) -> OtherWindow | None:
        """How it would do under the other window, where it has log-mels of ours."""
        if (found := twin(self.teacher)) is None:
            return None
        other, names = found
        theirs = self._trials_of(freeze(other, self.live.device), judge, ranks)
        return compare_windows(names, self.trials(judge, ranks).numpy(), theirs.numpy(), judge)

    def _trials_of(self, teacher: Teacher, judge: Judge, ranks: Ranks) -> Tensor:
        speech = part(judge.corpus, judge.rows)
        place = trials_cache(teacher, speech, self.folder)
        if place not in self._asked:
            shown = replace(self.live, teacher=teacher, corpus=speech, sees="utterance")
            self._asked[place] = open_cache(shown, 1, place, ranks).all()
        return self._asked[place]

    @cached_property
    def _asked(self) -> dict[Path, Tensor]:
        """Trials that it was asked about: they are read once."""
        return {}


def open_cache(live: LiveTeacher, views: int, folder: Path, ranks: Ranks) -> TeacherCache:
    """The cache of what `live` shows, built where it is missing, with a bar."""
    with progress(enabled=ranks.rank == 0) as bar:
        total = len(live.corpus) * views
        task = bar.add_task(f"teacher {live.teacher.uri} embeds", total=total, note="")
        return TeacherCache.open_or_build(
            folder, live.teacher, live.corpus, view_config=live.view_config, bank=live.bank, views=views,
            sees=live.sees, device=live.device,
            progress=lambda done, all_of_them: bar.update(task, completed=done, total=all_of_them),
            rank=ranks.rank, world_size=ranks.size, barrier=ranks.barrier,
        )  # fmt: skip
