"""One teacher made ready: its cached embeddings of the corpus, its centre, its class centres."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from distilvox.console import progress
from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN
from distilvox.teachers.base import Teacher, TeacherHead
from distilvox.teachers.cache import TeacherCache
from distilvox.teachers.ensemble import members_of, side_by_side
from distilvox.teachers.heads import FittedHead, centred, fit_head, in_sorted_order, training_mean
from distilvox.teachers.live import LiveTeacher, Speech
from distilvox.train.config import TargetConfig, to_json
from distilvox.train.distributed import World
from distilvox.views.bank import Bank
from distilvox.views.batches import Views
from distilvox.views.draws import ViewConfig

Reader = Callable[[Views, int], Tensor]


@dataclass(frozen=True)
class Member:
    """A teacher, alone or one of an ensemble.

    Attributes:
        live: what it is and what it is shown.
        cache: its embeddings of the training corpus, the whole of it, as is `live`.
        rows: [U] in the cache of the utterances that are trained on.
        uses_cache: whether `embed` reads the cache or runs the teacher.
        mean: of its unit training embeddings [D_k].
        centre: the same where it is taken away before every cosine, else None.
        head: its class centres.
    """

    live: LiveTeacher
    cache: TeacherCache
    rows: Int64[np.ndarray, " U"]
    uses_cache: bool
    mean: Tensor
    centre: Tensor | None
    head: FittedHead

    @property
    def teacher(self) -> Teacher:
        return self.live.teacher

    def units(self) -> Tensor:
        """All views of all utterances, of length 1, centred if so configured: [V · U, D_k]."""
        return centred(_all(self.cache, self.rows), self.centre)

    def reader(self) -> Reader:
        """What a step asks: (batch, number of its view) → embeddings [B, D_k] of length 1, centred if so configured.

        It holds the cache, a map of half precision, and not the teacher; or, without the cache, the teacher.
        """
        live, cache, rows, centre = self.live, self.cache, self.rows, self.centre
        whole = live.sees == "utterance"
        if self.uses_cache:
            return lambda batch, view: centred(
                cache.get(0 if whole else view, rows[batch.utterances]), centre
            )
        if whole:
            return lambda batch, view: centred(live.embed(0, rows[batch.utterances]), centre)
        return lambda batch, view: centred(live.teacher.embed(batch.waves).cpu(), centre)

    def first_views(self) -> Callable[[], Tensor]:
        """Reads the first view of every utterance, [U, D_k]: of length 1, centred if so configured. Holds the map."""
        cache, rows, centre = self.cache, self.rows, self.centre
        return lambda: centred(cache.get(0, rows), centre)


def prepare_member(
    live: LiveTeacher,
    rows: Int64[np.ndarray, " U"],
    labels: Tensor,
    names: list[str],
    config: TargetConfig,
    folder: Path,
    world: World,
) -> Member:
    """Fills the cache in `folder` and fits the class centres.

    Args:
        live: of the whole corpus.
        rows: [U] of it that are trained on.
        labels: [V · U] of every view of each of these, or `UNKNOWN`.
        names: C, in the order of the labels; perhaps none.
    """
    views = 1 if live.sees == "utterance" else config.views
    held = open_cache(live, views, folder, world)
    embeddings = _all(held, rows)
    own, assumed, removes_mean = centring(live.teacher, names, config)
    mean = training_mean(embeddings)
    centre = mean if removes_mean else None
    known = labels != UNKNOWN
    if not names:
        return Member(live, held, rows, not config.live, mean, centre, no_centres(embeddings.shape[1]))
    head = fit_head(
        own, embeddings[known], labels[known], names,
        how=config.head, unmatched=config.unmatched, centre=centre, assumed=assumed,
    )  # fmt: skip
    return Member(live, held, rows, not config.live, mean, centre, head)


def no_centres(dim: int) -> FittedHead:
    """The class centres of speech in which no utterance has a speaker: none."""
    return FittedHead(torch.zeros(0, dim), "teacher head: none, for no utterance has a speaker", 0)


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


def open_cache(live: LiveTeacher, views: int, folder: Path, world: World) -> TeacherCache:
    """The cache of what `live` shows, built where it is missing, with a bar."""
    with progress(enabled=world.is_main) as bar:
        total = len(live.corpus) * views
        task = bar.add_task(f"teacher {live.teacher.uri} embeds", total=total, note="")
        return TeacherCache.open_or_build(
            folder,
            live.teacher,
            live.corpus,
            view_config=live.view_config,
            bank=live.bank,
            views=views,
            sees=live.sees,
            device=live.device,
            progress=lambda done, all_of_them: bar.update(task, completed=done, total=all_of_them),
            rank=world.rank,
            world_size=world.size,
            barrier=world.barrier,
        )


def centred_embed(teacher: Teacher, corpus: Corpus, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Waves [B, N] → embeddings [B, D_t] with the mean over a training corpus removed, each member its own.

    The mean comes from the cache that a distillation from whole utterances reads, built where it is missing.
    """
    members, means = members_of(teacher), []
    for one in members:
        live = LiveTeacher(one, corpus, ViewConfig(), Bank(), "utterance", device)
        folder = default_cache(corpus, one, TargetConfig(sees="utterance"), live.view_config, live.bank)
        means.append(training_mean(open_cache(live, 1, folder, World()).all()))

    def embed(waves: Tensor) -> Tensor:
        each = zip(members, means, strict=True)
        return side_by_side([centred(one.embed(waves).cpu(), mean) for one, mean in each])

    return embed


def trials_cache(teacher: Teacher, speech: Speech, folder: Path) -> Path:
    """Where the teacher's embeddings of the trials' utterances lie: whole and clean, whatever it trains on."""
    return folder / f"{teacher.id}-trials-{speech.id[:8]}"


def default_cache(
    corpus: Corpus, teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank
) -> Path:
    """Where a cache lies unless the user says otherwise: beside the corpus, a folder a teacher and setting."""
    return corpus.path.with_name(corpus.path.name + ".cache") / cache_name(teacher, config, views, bank)


def member_cache(
    corpus: Corpus,
    one: Teacher,
    config: TargetConfig,
    views: ViewConfig,
    bank: Bank,
    cache: Path | None,
    members: int,
) -> Path:
    """Where a member's cache lies: in `cache` if that is given, there in a folder of its own beside other members'."""
    if cache is None:
        return default_cache(corpus, one, config, views, bank)
    return cache / cache_name(one, config, views, bank) if members > 1 else cache


def cache_name(teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank) -> str:
    """A folder's name that differs wherever the embeddings do: two settings never claim one cache."""
    name = f"{teacher.id}-{config.sees}"
    if config.sees == "view":
        settings = hashlib.sha256(f"{to_json(views)} {bank.id}".encode()).hexdigest()[:8]
        name += f"{config.views}-{views.seconds:g}s-seed{views.seed}-{settings}"
    return name


def _all(held: TeacherCache, rows: Int64[np.ndarray, " U"]) -> Tensor:
    return torch.cat([held.get(view, rows) for view in range(held.views)])
