"""Taught: a teacher over the corpus that students learn from. Whoever asks a teacher anything asks it here.

Training, the pre-flight, studies, profiles and `evaluate` see one and the same: what it hears, its cache, its mean,
its class centres. An ensemble is prepared member by member, then put side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher
from distilvox.teachers.blocks import is_whole
from distilvox.teachers.cache import TeacherCache, check_key
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.ensemble import members_of, side_by_side
from distilvox.teachers.heads import FittedHead
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.member import Heard, Member, Ranks, Reader, Source, open_cache
from distilvox.teachers.places import member_cache
from distilvox.teachers.vectors import SideBySide, blocks, centred
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig, check_same_speakers, draw, view_labels, view_speakers


@dataclass(frozen=True)
class Taught:
    """A teacher over a corpus; `Taught.open` and `Taught.rehearse` make it.

    Attributes:
        shown: the teacher and what it is shown, of the corpus that is trained on.
        members: the same for each of an ensemble's teachers, or the one, with its cache.
        config: how it is used.
        ranks: the processes that share the building of caches.
    """

    shown: LiveTeacher
    members: tuple[Member, ...]
    config: TargetConfig
    ranks: Ranks

    @classmethod
    def open(
        cls, teacher: Teacher, corpus: Corpus, *, config: TargetConfig, views: ViewConfig, bank: Bank,
        device: torch.device, ranks: Ranks, cache: Path | None = None,
    ) -> Taught:  # fmt: skip
        """Fills the caches, or finds them filled.

        Args:
            teacher: on `device`; of an ensemble, each member has its own cache, centre and head.
            corpus: what is trained on. Where it is part of another, caches are of that whole one, all else of it alone.
            cache: a folder (of an ensemble: one in which each member has its own); `default_cache` if None.

        Raises:
            UserError: a change of speed makes new speakers at one end only (the teacher that sees the whole utterance
                never hears one); a stale cache.
        """
        return cls._of(teacher, corpus, config, views, bank, device, ranks, cache, open_cache)

    @classmethod
    def rehearse(
        cls, teacher: Teacher, corpus: Corpus, *, config: TargetConfig, views: ViewConfig, bank: Bank,
        device: torch.device, ranks: Ranks, cache: Path | None = None,
    ) -> Taught:  # fmt: skip
        """The same, but nothing is built: numbers made up stand for a cache that is not there yet."""
        return cls._of(teacher, corpus, config, views, bank, device, ranks, cache, _cache_or_made_up)

    @classmethod
    def _of(
        cls, teacher: Teacher, corpus: Corpus, config: TargetConfig, views: ViewConfig, bank: Bank,
        device: torch.device, ranks: Ranks, cache: Path | None,
        source: Callable[[LiveTeacher, int, Path, Ranks], Source],
    ) -> Taught:  # fmt: skip
        whole = config.sees == "utterance"
        require(
            not (whole and views.speed_is_new_speaker and len(views.speeds) > 1),
            "a teacher that sees the whole clean utterance cannot know the speakers that a speed change makes",
            got="targets.sees = utterance with views.speed_is_new_speaker",
            remedy="use --targets.sees view, or keep the speaker under speed change",
        )
        names, every, members = view_speakers(views, corpus.speakers), members_of(teacher), []
        for one in every:
            if one.views is not None and views.speeds != (1.0,):
                check_same_speakers(views, one.views)
        for one in every:
            live = LiveTeacher(one, corpus.whole, views, bank, config.sees, device)
            folder = member_cache(corpus, one, config, views, bank, cache, len(every))
            held = Heard(source(live, 1 if whole else config.views, folder, ranks), corpus.rows_in_whole)
            members.append(
                Member(live, held, folder.parent if cache is None else cache, tuple(names), config)
            )
        shown = LiveTeacher(teacher, corpus, views, bank, config.sees, device)
        return cls(shown, tuple(members), config, ranks)

    @property
    def names(self) -> tuple[str, ...]:
        """C, of the speakers that are trained on, in the order of labels."""
        return tuple(self.members[0].names)

    @property
    def is_cached(self) -> bool:
        """Whether no number is made up."""
        return all(isinstance(one.heard.source, TeacherCache) for one in self.members)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The parts of D_t whose probabilities are averaged (`Objective`); none but for such an ensemble."""
        averaged = len(self.members) > 1 and self.config.ensemble == "probabilities"
        return tuple(one.teacher.embedding_dim for one in self.members) if averaged else ()

    @cached_property
    def labels(self) -> Tensor:
        """Of every view of every utterance, among `names`: [V · U], as `units` has them."""
        corpus, config, bank = self.shown.corpus, self.shown.view_config, self.shown.bank
        assert isinstance(corpus, Corpus)
        found = []
        for view in range(self.members[0].heard.source.views):
            draws = draw(
                config, corpus.address(), corpus.samples, view,
                noises=len(bank.noises), rooms=len(bank.rooms), sample_rate=corpus.sample_rate,
            )  # fmt: skip
            found.append(view_labels(config, corpus.labels, draws, speakers=len(corpus.speakers)))
        return torch.from_numpy(np.concatenate(found))

    @cached_property
    def heads(self) -> tuple[FittedHead, ...]:
        """Each member's class centres."""
        return tuple(one.fit(self.labels) for one in self.members)

    @property
    def centres(self) -> FittedHead:
        """Class centres [C, D_t] over the training speakers; a row is the teachers' own where it is every member's."""
        if len(self.heads) == 1:
            return self.heads[0]
        own = set.intersection(*(set(head.own) for head in self.heads))
        how = " + ".join(
            f"{one.teacher.uri} {head.how.removeprefix('teacher head: ')}"
            for one, head in zip(self.members, self.heads, strict=True)
        )
        weight = side_by_side([head.weight for head in self.heads])
        assumed = any(head.assumed for head in self.heads)
        return FittedHead(weight, f"teacher head: {how}", len(own), tuple(sorted(own)), assumed and bool(own))

    @property
    def units(self) -> SideBySide:
        """Every view of every utterance [V · U, D_t], of length 1, centred if so configured."""
        return SideBySide([one.units for one in self.members])

    def enter(self, waves: Tensor) -> Tensor:
        """The teacher itself: waves [B, N] → what enters a cosine [B, D_t], on the CPU."""
        return side_by_side([one.enter(waves) for one in self.members])

    def reader(self, *, live: bool | None = None) -> Reader:
        """What a step asks: (batch, number of its view) → embeddings [B, D_t] on the device.

        It holds the caches and no teacher; or, `live`, the teacher.

        Args:
            live: of the teacher itself, not from the cache; as configured if None.
        """
        live = self.config.live if live is None else live
        readers, device = [one.reader(live=live) for one in self.members], self.shown.device
        return lambda batch, view: side_by_side([read(batch, view) for read in readers]).to(device)

    def utterances(self) -> Callable[[], Tensor]:
        """Reads the teacher's embeddings [U, D_t] of the training utterances, in their first view; holds no teacher."""
        units, count = self.units, len(self.shown.corpus)

        def read() -> Tensor:
            found = torch.empty(count, units.shape[1])
            for rows in blocks(count):
                found[rows] = units[rows]
            return found

        return read

    def trials(self, judge: Judge) -> np.ndarray:
        """The teacher's embeddings [U, D_t] of the trials' utterances, whole and clean, centred if so configured."""
        each = [centred(one.trials(judge, self.ranks), one.centre) for one in self.members]
        return side_by_side(each).numpy()


class MadeUp:
    """Numbers as a cache holds them, of no teacher: one view, looked up for every other."""

    def __init__(self, utterances: int, embedding_dim: int) -> None:
        self.views, self.embedding_dim = 1, embedding_dim
        shape = (utterances, embedding_dim)
        self._rows = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(np.float16)

    def get(self, view: int | np.ndarray, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(self._rows[indices].astype(np.float32))


def _cache_or_made_up(live: LiveTeacher, views: int, folder: Path, ranks: Ranks) -> Source:
    key = live.key(views)
    check_key(folder, key)
    if is_whole(folder, key):
        return TeacherCache(folder, key)
    return MadeUp(len(live.corpus), live.teacher.embedding_dim)
