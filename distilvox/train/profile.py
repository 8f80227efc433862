"""Where the time of a training step goes: each part timed alone, then whole steps as training takes them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from distilvox.corpus.labels import labelled
from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import training_part
from distilvox.errors import require
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.teachers.base import Teacher
from distilvox.teachers.taught import Taught
from distilvox.train.bottleneck import Profile
from distilvox.train.config import RunConfig, TargetConfig
from distilvox.train.distributed import World, computes_bf16
from distilvox.train.optimiser import make_optimiser
from distilvox.train.stages import stages
from distilvox.train.start import make_student
from distilvox.train.step import Learner, train_step
from distilvox.train.targets import view_of_epoch
from distilvox.views.augment import DeviceBank, augment_groups
from distilvox.views.bank import Bank
from distilvox.views.batches import Views, batches, draw_views, step_indices, steps_per_epoch
from distilvox.views.draws import view_labels, view_speakers
from distilvox.views.resident import read_groups, reside

WARM = 3
"""Steps before the timed ones."""

LIVE = 3
"""How often the teacher itself is timed: it may be slow."""


class Clock:
    """Seconds of named parts. A part ends when the device has done it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = {}

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds.setdefault(name, []).append(self.now() - start)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(times[WARM:]) for name, times in self.seconds.items()}


class Pace:
    """Times between marks: by the device's own clock where it has one, so that nobody waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stamps: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.events.append(event)
        else:
            self.stamps.append(time.perf_counter())

    def median(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            pairs = zip(self.events[WARM:], self.events[WARM + 1 :], strict=False)
            return statistics.median(a.elapsed_time(b) / 1000 for a, b in pairs)
        return float(np.median(np.diff(self.stamps[WARM:])))


def profile(
    config: RunConfig,
    *,
    corpus: Corpus,
    bank: Bank,
    device: torch.device,
    steps: int = 20,
    teacher: Teacher | None = None,
    cache: Path | None = None,
    world: World = World(),  # noqa: B008 (frozen)
) -> Profile:
    """Times `steps` training steps; nothing is learnt, and nothing is written.

    Where the teacher's cache is not there yet, made-up embeddings of its size are looked up instead, and class
    centres are made up in any case: their values cost nothing.

    Args:
        config: as for `fit`; its objective counts only with a teacher.
        bank: noises and rooms.
        teacher: on `device`.
        cache: folder of its embeddings; beside the corpus if None.

    Raises:
        UserError: a corpus of one speaker, a batch that does not fit; a cache of something else.
    """
    require(steps >= 1, "no step to time", got=steps, allowed="1 or more")
    corpus = labelled(training_part(corpus, config.subset), wanted="a profile")
    train, targets = (
        replace(config.train, learning_rate=1e-30),
        config.targets or TargetConfig(),
    )  # nothing is learnt
    if train.threads:
        torch.set_num_threads(train.threads)
    wanted = config.objective if teacher else replace(config.objective, objective="none")
    objective_config = wanted.ended(train.epochs)  # the weights of the end: warm-ups are over
    (stage, *_) = stages(replace(config, objective=objective_config, train=train), len(corpus), world.size)
    names = view_speakers(config.views, corpus.speakers)
    share = {"seed": train.seed, "batch_size": train.batch_size, "rank": world.rank, "world_size": world.size}
    placed = DeviceBank.place(bank, config.views.samples(corpus.sample_rate), device)
    resident, crops_from = reside(corpus, device)

    torch.manual_seed(train.seed)
    student, _ = make_student(config)
    taught = utterances = None
    if teacher:
        taught = Taught.rehearse(
            teacher, corpus, config=replace(targets, centre="no"), views=config.views, bank=bank, device=device,
            ranks=world, cache=cache,
        )  # fmt: skip
    if teacher and objective_config.over_utterances:
        utterances = torch.randn(len(corpus), teacher.embedding_dim, device=device)
    objective = Objective(
        objective_config,
        SpeakerHead(names, student.embedding_dim),
        teacher_centres=torch.randn(len(names), teacher.embedding_dim) if teacher else None,
        teacher_sizes=taught.sizes if taught else (),
        teacher_utterances=utterances,
    )
    bf16 = computes_bf16(train.precision, device)
    learner = Learner.of(student, objective, train=train, device=device, bf16=bf16, world=world)
    optimiser = make_optimiser(learner.module, train)
    parameters = list(learner.module.parameters())
    embed, teacher_from = (None, "") if taught is None else (taught.reader(), _source(taught))

    # ---- each part alone -------------------------------------------------------------------------------------
    clock = Clock(device)
    for step in range(WARM + steps):
        indices = step_indices(len(corpus), step, **share)
        with clock.part("reading"):
            draws = draw_views(corpus, indices, 0, config.views, placed)
            groups = (
                resident.read_groups(indices, draws)
                if resident
                else read_groups(corpus, indices, draws, device)
            )
        with clock.part("augmenting"):
            waves = augment_groups(groups, draws, placed)
        labels = view_labels(config.views, corpus.labels[indices], draws, speakers=len(corpus.speakers))
        views = Views(waves, torch.from_numpy(labels).to(device), indices)
        target = None
        if embed is not None:
            with clock.part("teacher"):
                target = embed(views, 0).to(device)
        with learner.autocast:
            with clock.part("front end"):
                features = student.frontend(views.waves)
            with clock.part("student forward"):
                embeddings = student.backbone(features)
            leaf = embeddings.detach().requires_grad_()
            optimiser.zero_grad(set_to_none=True)
            with clock.part("loss"):
                total, _ = objective(leaf, views.labels, target, learner.which(views), epoch=0.0)
                total.backward()
        with clock.part("student backward"):
            embeddings.backward(leaf.grad)
        if world.size > 1:
            with clock.part("communication"):
                dist.all_reduce(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        with clock.part("optimiser"):
            learner.share.clip(learner.module, train.max_grad_norm)
            optimiser.step()
    live_seconds = None if taught is None else _time_teacher(taught, views, clock)

    # ---- whole steps, as in training -------------------------------------------------------------------------
    first, count = WARM + steps, WARM + steps + 1
    stream = batches(
        corpus, config.views, bank, start_step=first, device=device, resident=resident, **share,
        epochs=-(-(first + count) // steps_per_epoch(len(corpus), train.batch_size, world.size)),
        view_of=lambda epoch: view_of_epoch(config.targets, epoch),
    )  # fmt: skip
    pace = Pace(device)
    with closing(stream):
        for batch in islice(stream, count):
            view = view_of_epoch(config.targets, batch.epoch)
            target = embed(batch.views, view).to(device) if embed else None
            train_step(learner, optimiser, stage, batch, target, max_grad_norm=train.max_grad_norm)
            pace.mark()
    return Profile(
        student=student.name, device=str(device), precision="bf16" if bf16 else "float32",
        objective=objective_config.objective, processes=world.size,
        batch_size=stage.batch_size, utterances=len(corpus),
        speakers=len(names), crops_from=crops_from, teacher_from=teacher_from, steps=steps,
        parts=clock.medians(), live_teacher=live_seconds, step=pace.median(),
    )  # fmt: skip


def _time_teacher(taught: Taught, views: Views, clock: Clock) -> float:
    """Median seconds in which the teacher itself embeds a batch, after one that is not timed."""
    times, embed = [], taught.reader(live=True)
    for _ in range(1 + LIVE):
        start = clock.now()
        embed(views, 0)
        times.append(clock.now() - start)
    return statistics.median(times[1:])


def _source(taught: Taught) -> str:
    if taught.config.live:
        return "the teacher itself (targets.live)"
    return "their cache" if taught.is_cached else "made-up numbers of their size (no cache yet)"
