"""What the teacher gives a training step: its embedding of each utterance, and its class centres.

The embeddings come from the cache, or from the teacher itself on every step (`live`), the reference that the
cache is tested against. An ensemble is prepared member by member, then put side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import part
from distilvox.corpus.table import UNKNOWN
from distilvox.errors import UserError, require
from distilvox.evaluation.judge import Judge
from distilvox.teachers.advice import Baseline, read_baseline
from distilvox.teachers.base import Teacher, freeze
from distilvox.teachers.ensemble import members_of, side_by_side
from distilvox.teachers.heads import FittedHead, centred
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.preflight import Preflight, preflight
from distilvox.teachers.probe import probe
from distilvox.teachers.window import OtherWindow, compare_windows, twin
from distilvox.train.config import TargetConfig
from distilvox.train.distributed import World
from distilvox.train.members import (
    Member,
    cache_name,
    default_cache,
    member_cache,
    open_cache,
    prepare_member,
    trials_cache,
)  # fmt: skip
from distilvox.views.bank import Bank
from distilvox.views.batches import Views
from distilvox.views.draws import ViewConfig, check_same_speakers, draw, view_labels, view_speakers

__all__ = ["Targets", "cache_name", "default_cache", "prepare_targets", "view_of_epoch"]


@dataclass(frozen=True)
class Targets:
    """The teacher's side of a distillation, ready for the loop.

    Attributes:
        embed: (views, number of the view) → the teacher's embeddings [B, D_t], centred if so configured.
        head: class centres over the training speakers.
        utterances: reads the teacher's embeddings [U, D_t] of the training utterances, in their first view. Nothing
            of that size is held: the caches are maps of half precision, and a step gathers its rows.
        preflight: how good the teacher is on the utterances of this data that have a speaker; None where none has.
        sizes: the parts of D_t whose probabilities are averaged (`Objective`); none but for such an ensemble.
        trials: the teacher's embeddings [U, D_t] of the dev trials' utterances, whole and clean, centred if so
            configured; None without trials.
    """

    embed: Callable[[Views, int], Tensor]
    head: FittedHead
    utterances: Callable[[], Tensor]
    preflight: Preflight | None
    sizes: tuple[int, ...] = ()
    trials: np.ndarray | None = None


def view_of_epoch(targets: TargetConfig | None, epoch: int) -> int:
    """Which view of every utterance an epoch shows: a cache of V views of crops is gone through in turns."""
    if targets is None or targets.live or targets.sees == "utterance":
        return epoch
    return epoch % targets.views


def prepare_targets(
    teacher: Teacher,
    corpus: Corpus,
    *,
    config: TargetConfig,
    views: ViewConfig,
    bank: Bank,
    scale: float,
    device: torch.device,
    cache: Path | None = None,
    judge: Judge | None = None,
    baseline: Path | None = None,
    measure: bool = False,
    world: World = World(),  # noqa: B008 (frozen)
) -> Targets:
    """Embeds the corpus with the teacher, fits its head over the training speakers, and looks at both.

    Args:
        teacher: on `device`; of an ensemble, each member has its own cache, centre and head.
        corpus: what is trained on. Where it is part of another, the cache is of that whole one, all else of it alone.
        scale: of the cosines, for the teacher's probabilities in the pre-flight.
        cache: a folder (of an ensemble: one in which each member has its own); `default_cache` if None.
        judge: dev trials for the teacher's own EER, if any.
        baseline: the folder of a run judged by these trials, that the pre-flight compares the teacher with.
        measure: also run the teacher on a little training speech: two views, speed, memory.
        world: the processes that share the building of the cache.

    Raises:
        UserError: a change of speed makes new speakers at one end only (the teacher that sees the whole utterance
            never hears one); a stale cache.
    """
    whole = config.sees == "utterance"
    require(
        not (whole and views.speed_is_new_speaker and len(views.speeds) > 1),
        "a teacher that sees the whole clean utterance cannot know the speakers that a speed change makes",
        got="targets.sees = utterance with views.speed_is_new_speaker",
        remedy="use --targets.sees view, or keep the speaker under speed change",
    )
    beaten = None if baseline is None else _baseline(baseline, judge)
    teachers = members_of(teacher)
    for one in teachers:
        if one.views is not None and views.speeds != (1.0,):
            check_same_speakers(views, one.views)
    count = 1 if whole else config.views
    labels = torch.cat([_labels(corpus, views, view, bank) for view in range(count)])
    names = view_speakers(views, corpus.speakers)
    members, devs = [], []
    windows: dict[int, OtherWindow] = {}
    for one in teachers:
        live = LiveTeacher(one, corpus.whole, views, bank, config.sees, device)
        folder = member_cache(corpus, one, config, views, bank, cache, len(teachers))
        members.append(prepare_member(live, corpus.rows_in_whole, labels, names, config, folder, world))
        if judge is not None:
            speech = part(judge.corpus, judge.rows)
            shown = replace(live, corpus=speech, sees="utterance")
            beside = folder.parent if cache is None else cache
            devs.append(embed_trials(shown, beside, world))
            if (found_twin := twin(one)) is not None:
                other, names_of_windows = found_twin
                theirs = embed_trials(replace(shown, teacher=freeze(other, device)), beside, world)
                windows[len(members) - 1] = compare_windows(
                    names_of_windows, devs[-1].numpy(), theirs.numpy(), judge
                )

    averaged = len(members) > 1 and config.ensemble == "probabilities"
    sizes = tuple(member.teacher.embedding_dim for member in members) if averaged else ()
    sources, known = torch.arange(len(corpus)).repeat(count), labels != UNKNOWN

    def enter(waves: Tensor) -> Tensor:
        return side_by_side([centred(one.teacher.embed(waves).cpu(), one.centre) for one in members])

    shown = LiveTeacher(teacher, corpus, views, bank, config.sees, device)
    measured = probe(enter, shown) if measure else None

    def look(uri: str, some: Sequence[Member], devs: Sequence[Tensor], **more: Any) -> Preflight:
        if judge is not None:
            centred_devs = [centred(dev, member.mean) for dev, member in zip(devs, some, strict=True)]
            more |= {"dev_eer": judge.eer(_joined(devs)), "dev_eer_centred": judge.eer(_joined(centred_devs))}
            more["trial_list"] = judge.trials.name
        return preflight(
            uri, join_heads(some), side_by_side([member.units() for member in some])[known], labels[known], names,
            scale=scale, utterances=sources[known], sizes=sizes if len(some) > 1 else (), **more,
        )  # fmt: skip

    alone = windows.get(0) if len(members) == 1 else None
    found = None
    if names:
        found = look(teacher.uri, members, devs, baseline=beaten, probe=measured, window=alone)
    if found is not None and len(members) > 1:
        each = [
            look(one.teacher.uri, [one], devs[k : k + 1], window=windows.get(k))
            for k, one in enumerate(members)
        ]
        found = found.with_members(each)
    shown_devs = [centred(dev, member.centre) for dev, member in zip(devs, members, strict=False)]
    trials = _joined(shown_devs) if judge is not None else None
    readers, firsts = [member.reader() for member in members], [member.first_views() for member in members]
    return Targets(
        embed=lambda batch, view: side_by_side([read(batch, view) for read in readers]).to(device),
        head=join_heads(members), utterances=lambda: side_by_side([read() for read in firsts]),
        preflight=found, sizes=sizes, trials=trials,
    )  # fmt: skip


def embed_trials(live: LiveTeacher, folder: Path, world: World) -> Tensor:
    """The teacher's embeddings of the trials' utterances, whole and clean, from their cache in `folder`."""
    return open_cache(live, 1, trials_cache(live.teacher, live.corpus, folder), world).all()


def join_heads(members: Sequence[Member]) -> FittedHead:
    """The members' class centres side by side; a row is the teachers' own where it is every member's own."""
    if len(members) == 1:
        return members[0].head
    own = set.intersection(*(set(member.head.own) for member in members))
    how = " + ".join(
        f"{member.teacher.uri} {member.head.how.removeprefix('teacher head: ')}" for member in members
    )
    weight = side_by_side([member.head.weight for member in members])
    assumed = any(member.head.assumed for member in members)
    return FittedHead(weight, f"teacher head: {how}", len(own), tuple(sorted(own)), assumed and bool(own))


def _baseline(run: Path, judge: Judge | None) -> Baseline:
    if judge is None:
        raise UserError("a baseline is compared by trials", got="none", remedy="give --trials too")
    return read_baseline(run, trial_list=judge.trials.name, trials=len(judge.trials.labels))


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    return (parts[0] if len(parts) == 1 else side_by_side(parts)).numpy()


def _labels(corpus: Corpus, config: ViewConfig, view: int, bank: Bank) -> Tensor:
    """Labels [U] of one view of the whole corpus, among `view_speakers`."""
    draws = draw(
        config, corpus.address(), corpus.samples, view,
        noises=len(bank.noises), rooms=len(bank.rooms), sample_rate=corpus.sample_rate,
    )  # fmt: skip
    return torch.tensor(view_labels(config, corpus.labels, draws, speakers=len(corpus.speakers)))
