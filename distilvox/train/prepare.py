"""All that stands before the first step: the door, the student, its folder, its teacher, its position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distilvox import models
from distilvox.console import say as tell
from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import training_part
from distilvox.errors import require
from distilvox.evaluation.judge import EVALUATION, Judge
from distilvox.files import write_json
from distilvox.losses.objective import Objective
from distilvox.losses.unlabelled import NoSpeakers
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import WEIGHTS
from distilvox.teachers.base import Teacher
from distilvox.teachers.inspect import inspect
from distilvox.teachers.preflight import refuse
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.distributed import World, computes_bf16
from distilvox.train.folder import machine_of, open_run, run_record
from distilvox.train.seen import refuse_seen
from distilvox.train.stages import Stage, stage_targets, stages, taught_stages
from distilvox.train.start import Init, make_student
from distilvox.train.step import Learner
from distilvox.train.targets import Targets
from distilvox.train.unlabelled import learnt_from, recordings_of
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.draws import view_speakers


@dataclass(frozen=True)
class Run:
    """What the loop needs of a run.

    Attributes:
        corpus: what is trained on: the chosen part.
        plan: its stages.
        targets: of each stage, what the teacher gives; empty without one.
        done: steps done before.
        state: of the checkpoint that it goes on from, None where it begins.
        say: takes lines for people; in one process of all.
    """

    config: RunConfig
    corpus: Corpus
    out: Path
    judge: Judge | None
    bank: Bank
    plan: tuple[Stage, ...]
    student: models.Student
    head: SpeakerHead
    objective: Objective
    learner: Learner
    targets: list[Targets]
    done: int
    state: dict[str, Any] | None
    say: Callable[[Any], None]


def prepare(
    config: RunConfig,
    corpus: Corpus,
    out: Path,
    *,
    teacher: Teacher | None,
    judge: Judge | None,
    bank: Bank | None,
    device: torch.device,
    cache: Path | None,
    resume: bool,
    force: bool,
    world: World,
) -> Run | None:
    """Arguments and errors of `fit`; None where the run is finished already."""
    train, say = config.train, tell if world.is_main else _silent
    if train.threads:
        torch.set_num_threads(train.threads)

    # ---- the door --------------------------------------------------------------------------------------------
    corpus = training_part(corpus, config.subset)
    corpus = learnt_from(corpus, config.objective, say)
    names = view_speakers(config.views, corpus.speakers)
    require(
        len(corpus.speakers) != 1,
        "a speaker verifier cannot be trained on one speaker",
        got=f"{len(corpus.speakers)} in {corpus.path}",
        allowed="2 or more, better thousands",
    )
    if config.objective.objective == "none":
        teacher = None
    else:
        require(teacher is not None, f"the objective {config.objective.objective!r} needs a teacher")
        require(config.targets is not None, "a distillation needs the targets' configuration")
    bank = synthetic_bank(0) if bank is None else bank
    plan = stages(config, len(corpus), world.size)
    bf16 = computes_bf16(train.precision, device)

    # ---- student and head, from the seed or a run; then the folder, the teacher, the objective ---------------
    torch.manual_seed(train.seed)
    student, init = make_student(config)
    refuse_seen(None if force else judge, corpus.speakers, teacher, init)
    head = SpeakerHead(names, student.embedding_dim) if names else NoSpeakers(student.embedding_dim)
    copied = init.copy_centres(head) if init else 0
    if world.is_main:
        record = run_record(
            config, student=student, init=init, corpus=corpus, bank=bank, teacher=teacher, judge=judge,
            speakers=names, machine=machine_of(device, bf16, world.size),
        )  # fmt: skip
        open_run(out, record, resume, say)
    if world.said((out / (EVALUATION if judge else WEIGHTS)).exists()):
        say(f"{out} is finished already: nothing to do")
        return None
    targets: list[Targets] = []
    if teacher is not None:
        taught = taught_stages(
            plan, teacher.to(device), corpus, config=config, bank=bank, device=device, cache=cache, world=world,
        )  # fmt: skip
        targets = stage_targets(taught, world, judge)
        looked = inspect(taught[0], scale=config.objective.kd_scale, judge=judge)
        if not taught[
            0
        ].config.live:  # its embeddings are in their cache: its room on the device is the student's
            teacher.to("cpu")
        if looked is None:
            say(_unlooked(targets[0], judge))
        elif world.is_main:
            say(looked.render())
            write_json(out / "preflight.json", looked.to_json())
        for warning in () if looked is None else refuse(looked, force):
            say(f"teacher: {warning}")
    torch.manual_seed(train.seed + 1)  # the objective's own weights do not move the student's
    objective = Objective(
        plan[0].objective, head,
        teacher_centres=targets[0].head.weight if targets else None, teacher_sizes=targets[0].sizes if targets else (),
        teacher_utterances=targets[0].utterances().to(device) if config.objective.over_utterances else None,
        recordings=recordings_of(corpus, config.objective, device),
    )  # fmt: skip
    learner = Learner.of(student, objective, train=train, device=device, bf16=bf16, world=world)

    # ---- position --------------------------------------------------------------------------------------------
    state = checkpoint.load(out, device=device, world=world)
    if state is not None:
        learner.share.load(learner.module, state["model"])
        torch.set_rng_state(state["rng"].cpu())
        say(f"resumed at step {state['step']}")
    elif init:
        say(_start(init, copied, len(names)))
    say(
        f"{student.name}: {models.parameters_count(student):,} parameters, {len(names):,} speakers, "
        f"{len(corpus):,} utterances, {plan[0].epoch_steps} steps an epoch, "
        f"{device.type} {'bf16' if bf16 else 'float32'}"
    )
    done = int(state["step"]) if state else 0
    return Run(
        config, corpus, out, judge, bank, plan, student, head, objective, learner, targets, done, state, say
    )


def _unlooked(targets: Targets, judge: Judge | None) -> str:
    """What stands in the place of a pre-flight where no utterance has a speaker."""
    rate = "not known, without trials"
    if judge is not None and targets.trials is not None:
        rate = f"{judge.eer(targets.trials):.2%} on {judge.trials.name}"
    return f"no pre-flight of the teacher, for no utterance has a speaker; its EER is {rate}"


def _start(init: Init, copied: int, speakers: int) -> str:
    return (
        f"starts from {init.uri}: its weights, and its class centres of {copied:,} of {speakers:,} speakers, "
        "matched by name"
    )


def _silent(_: Any) -> None:
    """What the other ranks say."""
