"""The training loop, top to bottom: one function, no hooks. To do something else, copy it."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilvox import models
from distilvox.console import progress
from distilvox.console import say as tell
from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import training_part
from distilvox.errors import UserError, require
from distilvox.evaluation.judge import EVALUATION, Judge, save_evaluation
from distilvox.files import write_json
from distilvox.locks import alone
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import WEIGHTS, save_model
from distilvox.teachers.base import Teacher
from distilvox.teachers.preflight import refuse
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.distributed import World, computes_bf16, join, pick_device
from distilvox.train.folder import open_run, run_record
from distilvox.train.optimiser import make_optimiser
from distilvox.train.runlog import RunLog, read_log
from distilvox.train.sharing import HeadShare
from distilvox.train.stages import Stage, stage_targets, stages
from distilvox.train.start import make_student
from distilvox.train.targets import Targets, view_of_epoch
from distilvox.views.bank import Bank, synthetic_bank
from distilvox.views.batches import batches
from distilvox.views.draws import view_speakers
from distilvox.views.resident import reside

FLUSH_STEPS = 20
"""Losses are looked at, logged and checked for NaN every so many steps: the only time the host waits."""


class Distiller(nn.Module):
    """Student and objective in one module, so that data parallelism wraps everything that learns."""

    def __init__(self, student: models.Student, objective: Objective) -> None:
        super().__init__()
        self.student = student
        self.objective = objective

    def forward(
        self,
        waves: Tensor,
        labels: Tensor,
        teacher: Tensor | None,
        epoch: float,
        utterances: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(self.student(waves), labels, teacher, utterances, epoch=epoch)


def fit(
    config: RunConfig,
    *,
    corpus: Corpus,
    out: Path,
    teacher: Teacher | None = None,
    judge: Judge | None = None,
    bank: Bank | None = None,
    device: str = "auto",
    cache: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Path:
    """Trains one student and writes its run folder. Under torchrun, every process calls this.

    Args:
        config: everything that decides the result.
        corpus: the training speakers, at least two; `config.subset` may choose among them.
        out: the run folder.
        teacher: needed by every objective but `none`.
        judge: dev trials, judged every `evaluate_epochs` and at the end.
        bank: noises and rooms; synthetic ones if None.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        cache: folder of the teacher's embeddings; beside the corpus if None.
        resume: go on from the last checkpoint of `out`.
        force: train although the teacher is of no use, or speakers of the trials are trained on.

    Returns:
        The run folder.

    Raises:
        UserError: unusable input, a run folder in the way, a non-finite loss (names the step), a full disk.
    """
    where = pick_device(device)
    with join(where) as world, alone(out, inside=True) if world.is_main else nullcontext():
        return _fit(config, corpus, Path(out), teacher, judge, bank, where, cache, resume, force, world)


def _fit(
    config: RunConfig,
    corpus: Corpus,
    out: Path,
    teacher: Teacher | None,
    judge: Judge | None,
    bank: Bank | None,
    device: torch.device,
    cache: Path | None,
    resume: bool,
    force: bool,
    world: World,
) -> Path:
    train, say = config.train, tell if world.is_main else _silent
    if train.threads:
        torch.set_num_threads(train.threads)

    # ---- the door --------------------------------------------------------------------------------------------
    corpus = training_part(corpus, config.subset)
    names = view_speakers(config.views, corpus.speakers)
    require(
        len(corpus.speakers) >= 2,
        "a speaker verifier cannot be trained on one speaker",
        got=f"{len(corpus.speakers)} in {corpus.path}",
        allowed="2 or more, better thousands",
    )
    if config.objective.objective == "none":
        teacher = None
    else:
        require(teacher is not None, f"the objective {config.objective.objective!r} needs a teacher")
        require(config.targets is not None, "a distillation needs the targets' configuration")
    if judge is not None and not force:
        judge.refuse_training_speakers(corpus.speakers)
    bank = synthetic_bank(0) if bank is None else bank
    plan = stages(config, len(corpus), world.size)

    # ---- student and head, from the seed or a run; then the folder, the teacher, the objective ---------------
    torch.manual_seed(train.seed)
    student, init = make_student(config)
    head = SpeakerHead(names, student.embedding_dim)
    copied = init.copy_centres(head) if init else 0
    record = run_record(
        config, student=student, init=init, corpus=corpus, bank=bank, teacher=teacher, judge=judge, speakers=names
    )  # fmt: skip
    if world.is_main:
        open_run(out, record, resume)
    world.barrier()
    if (out / (EVALUATION if judge else WEIGHTS)).exists():
        say(f"{out} is finished already: nothing to do")
        return out
    taught: list[Targets] = []
    if teacher is not None:
        taught = stage_targets(
            plan, teacher.to(device), corpus,
            config=config, bank=bank, device=device, cache=cache, judge=judge, world=world,
        )  # fmt: skip
        looked = taught[0].preflight
        if world.is_main:
            say(looked.render())
            write_json(out / "preflight.json", looked.to_json())
        for warning in refuse(looked, force):
            say(f"teacher: {warning}")
    by_utterance = config.objective.over_utterances
    torch.manual_seed(train.seed + 1)  # the objective's own weights do not move the student's
    objective = Objective(
        plan[0].objective, head,
        teacher_centres=taught[0].head.weight if taught else None, teacher_sizes=taught[0].sizes if taught else (),
        teacher_utterances=taught[0].utterances.to(device) if by_utterance else None,
    )  # fmt: skip
    share = HeadShare(objective, world, train.shard_head)
    module = Distiller(student, objective).to(device).train()
    model = share.parallel(module)

    # ---- position --------------------------------------------------------------------------------------------
    done = 0  # steps
    if (state := checkpoint.load(out, device=device)) is not None:
        share.load(module, state["model"])
        torch.set_rng_state(state["rng"].cpu())
        done = int(state["step"])
        say(f"resumed at step {done}")
    elif init:
        say(
            f"starts from {init.uri}: its weights, and its class centres of {copied:,} of {len(names):,} speakers, "
            "matched by name"
        )
    total_steps = plan[-1].end_step
    bf16 = computes_bf16(train.precision, device)
    say(
        f"{student.name}: {models.parameters_count(student):,} parameters, {len(names):,} speakers, "
        f"{len(corpus):,} utterances, {plan[0].epoch_steps} steps an epoch, "
        f"{device.type} {'bf16' if bf16 else 'float32'}"
    )

    resident, source = reside(corpus, device)
    say(source)

    # ---- the loop --------------------------------------------------------------------------------------------
    with ExitStack() as stack:
        bar = stack.enter_context(progress(enabled=world.is_main))
        log = stack.enter_context(closing(RunLog(out, step=done))) if world.is_main else None
        task = bar.add_task(f"training {out.name}", total=total_steps, completed=done, note="")
        for number, stage in enumerate(plan):
            if done >= stage.end_step:
                continue
            if number:
                say(f"{stage.name}: {stage.epoch_steps} steps an epoch on crops of {stage.views.seconds:g} s, "
                    f"margin {stage.objective.margin:g}")  # fmt: skip
            objective.config = stage.objective
            targets = taught[number] if taught else None
            if targets is not None and objective.teacher_centres is not None:
                objective.teacher_centres.copy_(targets.head.weight[share.held])
                if by_utterance:
                    objective.teacher_utterances = targets.utterances.to(device)
            # A new optimiser for each stage: the moments of the last one are those of other gradients.
            optimiser = make_optimiser(module, train)
            if state is not None and done > stage.first_step:
                share.load_optimiser(optimiser, state["optimiser"])
            stream = batches(
                corpus, stage.views, bank, epochs=stage.epochs, first_epoch=stage.first_epoch,
                start_step=done - stage.first_step, batch_size=stage.batch_size, seed=train.seed,
                rank=world.rank, world_size=world.size, device=device,
                view_of=lambda epoch: view_of_epoch(config.targets, epoch), resident=resident,
            )  # fmt: skip
            for place, epoch, views in stack.enter_context(closing(stream)):
                step, position = stage.first_step + place, stage.first_epoch + place / stage.epoch_steps
                rate = stage.rate(place)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                target = targets.embed(views, view_of_epoch(config.targets, epoch)) if targets else None
                which = torch.tensor(views.utterances, device=device) if by_utterance else None
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                    total, parts = model(views.waves, views.labels, target, position, which)
                optimiser.zero_grad(set_to_none=True)
                total.backward()
                norm = share.clip(module, train.max_grad_norm)
                optimiser.step()

                done = step + 1
                epoch_done = (place + 1) % stage.epoch_steps == 0
                due = epoch_done or done % train.checkpoint_steps == 0
                whole = share.states(module, optimiser) if due else None
                if log is None:
                    continue
                log.step(step, position, rate, {"total": total, **parts, "grad_norm": norm})
                if due or done % FLUSH_STEPS == 0:
                    loss = _finite(log.flush(), stage.option)
                    bar.update(task, completed=done, note=f"loss {loss:.3f}")
                look = (epoch + 1) % train.evaluate_epochs == 0 or done == stage.end_step
                if judge is not None and epoch_done and look and done < total_steps:
                    rate_now = judge.eer(judge.embed(module.eval().student, device=device))
                    module.train()
                    log.evaluation(step, float(epoch + 1), {"eer": rate_now})
                    say(f"epoch {epoch + 1}: EER {rate_now:.2%} on {judge.trials.name}, raw cosine")
                if whole is not None:
                    checkpoint.save(out, step=done, model=whole[0], optimiser=whole[1])

        # ---- what is left behind -----------------------------------------------------------------------------
        share.restore()
        if log is not None:
            save_model(out, student=student, head=head, projection=objective.projection)
            if judge is not None:
                embeddings = judge.embed(module.eval().student, device=device)
                evaluation = judge.judge(embeddings, teacher=taught[-1].trials if taught else None)
                log.evaluation(total_steps - 1, float(plan[-1].end_epoch), {"eer": evaluation.eer})
                save_evaluation(out, evaluation, judge, embeddings)
                low, high = evaluation.eer_ci
                before = "".join(f"; {_eer_after(out, s):.2%} after {s.name}" for s in plan[:-1])
                say(
                    f"{out}: EER {evaluation.eer:.2%} ({low:.2%} – {high:.2%}) on {judge.trials.name}, "
                    f"raw cosine{before}"
                )
                if evaluation.agreement is not None:
                    say(f"{out}: agreement with the teacher: {evaluation.agreement.render()}")
    world.barrier()
    return out


def _silent(*_: Any) -> None:
    """What the other ranks say."""


def _eer_after(out: Path, stage: Stage) -> float:
    """The EER at the end of a stage, as it was logged; perhaps by a session that was killed later."""
    lines = [line for line in read_log(out) if line["step"] == stage.end_step - 1]
    return next((line["evaluation"]["eer"] for line in lines if "evaluation" in line), math.nan)


def _finite(lines: list[dict[str, float]], option: str) -> float:
    """The last loss; raises a UserError that names the first step whose loss or gradient is not finite."""
    for line in lines:
        if not (math.isfinite(line["total"]) and math.isfinite(line["grad_norm"])):
            raise UserError(
                f"the loss is not finite at step {int(line['step'])}",
                got=", ".join(f"{name} {value:g}" for name, value in line.items()),
                remedy=f"lower {option}; the last checkpoint is from before this step",
                exit_code=1,
            )
    return lines[-1]["total"] if lines else math.nan
