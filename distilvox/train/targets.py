"""What the teacher gives a training step: its embedding of each utterance, and its class centres.

The embeddings come from the cache, or from the teacher itself on every step (`live`), the reference that the
cache is tested against.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distilvox.console import progress
from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher
from distilvox.teachers.cache import TeacherCache
from distilvox.teachers.heads import FittedHead, centred, fit_head, training_mean
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.preflight import Preflight, preflight
from distilvox.train.config import TargetConfig, to_json
from distilvox.train.distributed import World
from distilvox.views.bank import Bank
from distilvox.views.batches import Views
from distilvox.views.draws import ViewConfig, check_same_speakers, draw, view_labels, view_speakers


@dataclass(frozen=True)
class Targets:
    """The teacher's side of a distillation, ready for the loop.

    Attributes:
        embed: (views, number of the view) → the teacher's embeddings [B, D_t], centred if so configured.
        head: class centres over the training speakers.
        preflight: how good the teacher is on this data.
    """

    embed: Callable[[Views, int], Tensor]
    head: FittedHead
    preflight: Preflight


def view_of_epoch(targets: TargetConfig | None, epoch: int) -> int:
    """Which view of every utterance an epoch shows: a cache of V views of crops is gone through in turns."""
    if targets is None or targets.live or targets.sees == "utterance":
        return epoch
    return epoch % targets.views


def default_cache(
    corpus: Corpus, teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank
) -> Path:
    """Where a cache lies unless the user says otherwise: beside the corpus, a folder a teacher and setting."""
    return corpus.path.with_name(corpus.path.name + ".cache") / cache_name(teacher, config, views, bank)


def cache_name(teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank) -> str:
    """A folder's name that differs wherever the embeddings do: two settings never claim one cache."""
    name = f"{teacher.id}-{config.sees}"
    if config.sees == "view":
        settings = hashlib.sha256(f"{to_json(views)} {bank.id}".encode()).hexdigest()[:8]
        name += f"{config.views}-{views.seconds:g}s-seed{views.seed}-{settings}"
    return name


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
    world: World = World(),  # noqa: B008 (frozen)
) -> Targets:
    """Embeds the corpus with the teacher, fits its head over the training speakers, and looks at both.

    Args:
        teacher: on `device`.
        scale: of the cosines, for the teacher's probabilities in the pre-flight.
        cache: a folder; `default_cache` if None.
        judge: dev trials for the teacher's own EER, if any.
        world: the processes that share the building of the cache.

    Raises:
        UserError: a change of speed makes new speakers at one end only (the teacher that sees the whole utterance
            never hears one); a stale cache.
    """
    whole = config.sees == "utterance"
    if teacher.views is not None and views.speeds != (1.0,):
        check_same_speakers(views, teacher.views)
    require(
        not (whole and views.speed_is_new_speaker and len(views.speeds) > 1),
        "a teacher that sees the whole clean utterance cannot know the speakers that a speed change makes",
        got="targets.sees = utterance with views.speed_is_new_speaker",
        remedy="use --targets.sees view, or keep the speaker under speed change",
    )
    count = 1 if whole else config.views
    with progress(enabled=world.is_main) as bar:
        task = bar.add_task(f"teacher {teacher.uri} embeds", total=len(corpus) * count, note="")
        held = TeacherCache.open_or_build(
            cache or default_cache(corpus, teacher, config, views, bank),
            teacher,
            corpus,
            view_config=views,
            bank=bank,
            views=count,
            sees=config.sees,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            rank=world.rank,
            world_size=world.size,
            barrier=world.barrier,
        )
    embeddings = torch.cat([held.all(view) for view in range(count)])
    labels = torch.cat([_labels(corpus, views, view, bank) for view in range(count)])
    names = view_speakers(views, corpus.speakers)
    own = teacher.head()
    wanted = config.centre == "yes" or (config.centre == "auto" and own is None)
    centre = training_mean(embeddings) if wanted else None
    head = fit_head(own, embeddings, labels, names, how=config.head, centre=centre)

    def cached(batch: Views, view: int) -> Tensor:
        return centred(held.get(0 if whole else view, batch.utterances), centre).to(device)

    live_teacher = LiveTeacher(teacher, corpus, views, bank, config.sees, device)

    def live(batch: Views, view: int) -> Tensor:
        seen = live_teacher.embed(view, batch.utterances) if whole else teacher.embed(batch.waves).cpu()
        return centred(seen, centre).to(device)

    return Targets(
        embed=live if config.live else cached,
        head=head,
        preflight=_look(teacher, head, embeddings, labels, names, count, scale, centre, judge, device),
    )


def _labels(corpus: Corpus, config: ViewConfig, view: int, bank: Bank) -> Tensor:
    """Labels [U] of one view of the whole corpus, among `view_speakers`."""
    draws = draw(
        config, corpus.address(), corpus.samples, view,
        noises=len(bank.noises), rooms=len(bank.rooms), sample_rate=corpus.sample_rate,
    )  # fmt: skip
    return torch.tensor(view_labels(config, corpus.labels, draws, speakers=len(corpus.speakers)))


def _look(
    teacher: Teacher,
    head: FittedHead,
    embeddings: Tensor,
    labels: Tensor,
    names: list[str],
    views: int,
    scale: float,
    centre: Tensor | None,
    judge: Judge | None,
    device: torch.device,
) -> Preflight:
    raw = at_mean = None
    if judge is not None:
        dev = judge.embed(teacher.embed, device=device)
        raw = judge.eer(dev)
        at_mean = judge.eer(centred(torch.from_numpy(dev), training_mean(embeddings)).numpy())
    return preflight(
        teacher.uri,
        head,
        embeddings,
        labels,
        names,
        scale=scale,
        utterances=torch.arange(len(labels) // views).repeat(views),
        centre=centre,
        dev_eer=raw,
        dev_eer_centred=at_mean,
        trial_list=judge.trials.name if judge else None,
    )
