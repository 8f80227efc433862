"""The training loop, top to bottom: one function, no hooks. To do something else, copy it."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from distilvox.console import progress
from distilvox.corpus.store import Corpus
from distilvox.evaluation.judge import Judge, save_evaluation
from distilvox.interrupts import Terminated, at_once
from distilvox.locks import alone
from distilvox.models.runfolder import save_model
from distilvox.teachers.base import Teacher
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.distributed import join, pick_device
from distilvox.train.finite import finite_loss
from distilvox.train.optimiser import make_optimiser
from distilvox.train.prepare import Run, prepare
from distilvox.train.runlog import RunLog, evaluations
from distilvox.train.stages import Stage
from distilvox.train.step import train_step
from distilvox.train.stop import stop_signal
from distilvox.train.targets import view_of_epoch
from distilvox.views.bank import Bank
from distilvox.views.batches import batches
from distilvox.views.resident import reside

FLUSH_STEPS = 20
"""Losses are looked at, logged and checked for NaN every so many steps: the only time the host waits."""


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
    where, out = pick_device(device), Path(out)
    with join(where) as world, alone(out, inside=True) if world.is_main else nullcontext():
        run = prepare(
            config, corpus, out, teacher=teacher, judge=judge, bank=bank, device=where, cache=cache,
            resume=resume, force=force, world=world,
        )  # fmt: skip
        if run is not None:
            with closing(RunLog(out, step=run.done, world=world)) as log:
                loop(run, log)
                finish(run, log)
        world.barrier()
    return out


def loop(run: Run, log: RunLog) -> None:
    """Every step that is left, through all stages."""
    train, learner, done = run.config.train, run.learner, run.done
    world, device = learner.world, learner.device
    resident, source = reside(run.corpus, device)
    run.say(source)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_signal(world))
        bar = stack.enter_context(progress(enabled=world.is_main))
        total_steps = run.plan[-1].end_step
        task = bar.add_task(f"training {run.out.name}", total=total_steps, completed=done, note="")
        for number, stage in enumerate(run.plan):
            if done >= stage.end_step:
                continue
            if number:
                run.say(f"{stage.name}: {stage.epoch_steps} steps an epoch on crops of {stage.views.seconds:g} s, "
                    f"margin {stage.objective.margin:g}")  # fmt: skip
            targets = run.targets[number] if run.targets else None
            learner.enter(stage, targets)
            # A new optimiser for each stage: the moments of the last one are those of other gradients.
            optimiser = make_optimiser(learner.module, train)
            if run.state is not None and done > stage.first_step:
                learner.share.load_optimiser(optimiser, run.state["optimiser"])

            def view_of(epoch: int) -> int:
                return view_of_epoch(run.config.targets, epoch)

            stream = batches(
                run.corpus, stage.views, run.bank, epochs=stage.epochs, first_epoch=stage.first_epoch,
                start_step=done - stage.first_step, batch_size=stage.batch_size, seed=train.seed,
                rank=world.rank, world_size=world.size, device=device, view_of=view_of, resident=resident,
            )  # fmt: skip
            for batch in stack.enter_context(closing(stream)):
                target = targets.embed(batch.views, view_of(batch.epoch)) if targets else None
                parts = train_step(
                    learner, optimiser, stage, batch, target, max_grad_norm=train.max_grad_norm
                )
                step = stage.first_step + batch.step
                log.step(step, stage.position(batch.step), stage.rate(batch.step), parts)

                done = step + 1
                epoch_done = (batch.step + 1) % stage.epoch_steps == 0
                stops = stop()
                due = stops or epoch_done or done % train.checkpoint_steps == 0
                if epoch_done:
                    run.corpus.check()
                if due or done % FLUSH_STEPS == 0:
                    loss = finite_loss(log.flush(), stage.config.option)
                    bar.update(task, completed=done, note=f"loss {loss:.3f}")
                look = (batch.epoch + 1) % train.evaluate_epochs == 0 or done == stage.end_step
                if epoch_done and look and done < total_steps:
                    with at_once():
                        _look(run, log, step, batch.epoch + 1)
                if due:
                    model, adam = learner.share.states(learner.module, optimiser)
                    if world.is_main:
                        checkpoint.save(run.out, step=done, model=model, optimiser=adam)
                if stops:
                    kept = f"{run.out} keeps all {done:,} steps that are done: go on with --resume"
                    raise Terminated(kept if world.is_main else "")


def finish(run: Run, log: RunLog) -> None:
    """What is left behind: the model, and what the trials say of it."""
    learner, out, judge, last = run.learner, run.out, run.judge, run.plan[-1]
    learner.share.restore()
    if not learner.world.is_main:
        return
    save_model(out, student=run.student, head=run.head, projection=run.objective.projection)
    if judge is None:
        return
    embeddings = judge.embed(learner.module.eval().student, device=learner.device)
    evaluation = judge.judge(embeddings, teacher=run.targets[-1].trials if run.targets else None)
    log.evaluation(last.end_step - 1, float(last.end_epoch), {"eer": evaluation.eer})
    save_evaluation(out, evaluation, judge, embeddings)
    low, high = evaluation.eer_ci
    before = "".join(f"; {_eer_after(out, s):.2%} after {s.name}" for s in run.plan[:-1])
    run.say(
        f"{out}: EER {evaluation.eer:.2%} ({low:.2%} – {high:.2%}) on {judge.trials.name}, raw cosine{before}"
    )
    if evaluation.agreement is not None:
        run.say(f"{out}: agreement with the teacher: {evaluation.agreement.render()}")


def _look(run: Run, log: RunLog, step: int, epoch: int) -> None:
    """The main process judges the student as it is; the others wait at their next step."""
    judge, module = run.judge, run.learner.module
    if judge is None or not run.learner.world.is_main:
        return
    rate = judge.eer(judge.embed(module.eval().student, device=run.learner.device))
    module.train()
    log.evaluation(step, float(epoch), {"eer": rate})
    run.say(f"epoch {epoch}: EER {rate:.2%} on {judge.trials.name}, raw cosine")


def _eer_after(out: Path, stage: Stage) -> float:
    """The EER at the end of a stage, as it was logged; perhaps by a session that was killed later."""
    found = (line["evaluation"]["eer"] for line in evaluations(out) if line["step"] == stage.end_step - 1)
    return next(found, math.nan)
