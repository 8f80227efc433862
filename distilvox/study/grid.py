"""Runs every cell of a recipe on equal terms: one corpus, one budget, the same crops, the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape

from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import SubsetConfig, training_part
from distilvox.errors import UserError, require
from distilvox.evaluation.judge import Judge, SavedScores, load_scores
from distilvox.interrupts import Terminated, leave_work
from distilvox.limits import check_limit
from distilvox.study.budget import check_budgets
from distilvox.study.recipe import Recipe
from distilvox.study.terms import REMEDY, check_run, is_finished, settings
from distilvox.study.workers import at_once
from distilvox.teachers import load
from distilvox.teachers.places import cache_name
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.distributed import pick_device
from distilvox.train.loop import fit
from distilvox.train.stages import stages, taught_stages
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig


def run_folder(out: Path, method: str, seed: int) -> Path:
    return out / f"{method}-seed{seed}"


class Opened(NamedTuple):
    """What the runs of a study share: opened once in a process."""

    corpus: Corpus
    judge: Judge
    bank: Bank


@dataclass(frozen=True)
class Task:
    """One run, in terms that travel to another process."""

    config: RunConfig
    out: Path
    corpus: Path
    trials: Path
    trials_corpus: Path
    teacher: str
    bank: Callable[[], Bank]
    device: str
    cache: Path | None

    @property
    def distils(self) -> bool:
        return self.config.objective.objective != "none"


def run_grid(
    recipe: Recipe,
    out: Path,
    *,
    corpus: Path,
    trials: Path,
    trials_corpus: Path,
    bank: Callable[[], Bank],
    device: str = "auto",
    cache: Path | None = None,
    jobs: int = 1,
    say: Callable[[str], None],
) -> list[Path]:
    """Trains what is not finished yet, and returns all run folders.

    The teacher's embeddings are cached before the first run, so that processes share them. Where every
    run is finished, no teacher is loaded.

    Args:
        out: a folder; each run gets `<method>-seed<seed>` in it. Finished runs are skipped, but a folder
            that was trained otherwise than the recipe says is an error that names the field.
        bank: opens the noises and rooms; every process does, so that paths travel and no sound.
        cache: a folder in which each setting of the teacher has its own; beside the corpus if None.
        jobs: processes at a time, one CPU thread each where there are several; they spread over the GPUs.
        say: takes lines for people, in rich's markup.

    Raises:
        UserError: see above; or runs failed: the others are finished, then the first failure is raised.
    """
    require(jobs >= 1, "a study needs at least one job", got=jobs, allowed="1 or more")
    check_limit("jobs", jobs, what="--jobs")
    opened = Opened(Corpus.open(corpus), Judge.open(trials_corpus, trials), bank())
    held = opened.corpus
    tasks = [
        Task(
            recipe.config(*run), run_folder(out, *run), corpus, trials, trials_corpus,
            recipe.teacher_of(run[0]), bank, device, cache,
        )
        for run in recipe.runs()
    ]  # fmt: skip
    parts = {choice: training_part(held, choice) for choice in {task.config.subset for task in tasks}}
    check_budgets(recipe, {m: len(parts[recipe.config(m, recipe.seeds[0]).subset]) for m in recipe.methods})
    finished = {task.out: _taught_by(task, opened) for task in tasks if is_finished(task.out)}
    left = [task for task in tasks if task.out not in finished]
    if finished:
        say(f"{len(finished)} of {len(tasks)} runs are finished already")
    known: dict[str, set[str]] = {}
    for task in tasks:
        if who := finished.get(task.out):
            known.setdefault(task.teacher, set()).add(who)
    if jobs > 1:
        left = [replace(task, config=replace_fields(task.config, {"threads": 1})) for task in left]
    left = [
        task
        for uri in {t.teacher: None for t in left}
        for task in _prepare(uri, left, parts, known, opened.bank)
    ]
    order = {task.out: place for place, task in enumerate(tasks)}
    left.sort(key=lambda task: order[task.out])
    failed: list[UserError] = []
    for done, (task, error) in enumerate(
        _in_turn(left, opened) if jobs == 1 else at_once(_run, left, jobs, device), 1
    ):
        name = f"{done} of {len(left)}: {task.out.name}"
        if error is None:
            say(f"{name} is finished")
        else:
            failed.append(error)
            say(f"[red]{name} failed:[/] {escape(error.what.splitlines()[0])}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(left)} runs failed; the first: {failed[0]}",
            remedy="the same command trains what is left",
            exit_code=failed[0].exit_code,
        )
    return [task.out for task in tasks]


def _taught_by(task: Task, opened: Opened) -> str | None:
    """The id of a finished run's teacher, None if it has none; refuses a run that is not the recipe's."""
    judge = opened.judge
    parts = {"corpus": {"id": opened.corpus.id}, "bank": opened.bank.id, "trials_id": judge.trials.id}
    record = check_run(task.out, {**settings(task.config), **parts})
    found = load_scores(task.out)
    wanted = SavedScores(found.scores, judge.trials.labels, judge.enrol_speaker, judge.test_speaker)
    require(
        found.same_trials(wanted),
        f"{task.out} was judged by other trials than {judge.trials.name} holds now",
        remedy=REMEDY,
    )
    teacher = record.get("teacher")
    return teacher["id"] if teacher else None


def _prepare(
    uri: str,
    left: list[Task],
    parts: Mapping[SubsetConfig, Corpus],
    known: Mapping[str, set[str]],
    bank: Bank,
) -> list[Task]:
    """The tasks that this teacher teaches: fills every cache that they will read, and gives each its own.

    Args:
        parts: what is trained on, for every task's choice.
        known: URI → ids of the teachers of finished runs.

    Raises:
        UserError: the teacher is not the one that finished runs of this study learned from.
    """
    left, ids = [task for task in left if task.teacher == uri], known.get(uri, set())
    require(
        len(ids) <= 1, "finished runs of this study had different teachers", got=sorted(ids), remedy=REMEDY
    )
    if not any(task.distils for task in left):
        return left
    where = pick_device(left[0].device)
    teacher = load(uri, device=where)
    require(
        ids <= {teacher.id},
        f"{uri} is not the teacher that the finished runs learned from",
        got=f"id {teacher.id}",
        allowed=", ".join(ids),
        remedy="restore that teacher, or give the study another folder",
    )
    ready: set[tuple[str, ViewConfig]] = set()
    placed = []
    for task in left:
        targets = task.config.targets
        if task.distils and targets is not None:
            heard = parts[task.config.subset]
            plan = stages(task.config, len(heard))
            name = cache_name(teacher, targets, task.config.views, bank)
            folder = None if task.cache is None else task.cache / name
            task = replace(task, cache=folder)
            shown = (name, plan[-1].views)
            if shown not in ready:
                taught_stages(plan, teacher, heard, config=task.config, bank=bank, device=where, cache=folder)
                ready.add(shown)
        placed.append(task)
    return placed


def _in_turn(tasks: list[Task], opened: Opened) -> Iterator[tuple[Task, UserError | None]]:
    for task in tasks:
        try:
            _run(task, task.device, opened)
        except UserError as error:
            yield task, error
        else:
            yield task, None


def _run(task: Task, device: str, opened: Opened | None = None) -> None:
    """One run, in this process; resumes what was begun. Its differences from what stands there are an error."""
    try:
        held = opened or Opened(
            Corpus.open(task.corpus), Judge.open(task.trials_corpus, task.trials), task.bank()
        )
        fit(
            task.config,
            corpus=held.corpus,
            out=task.out,
            teacher=load(task.teacher, device=pick_device(device)) if task.distils else None,
            judge=held.judge,
            bank=held.bank,
            device=device,
            cache=task.cache,
            resume=True,
        )
    except Terminated as end:
        leave_work(end)
    except UserError as error:
        raise UserError(f"{task.out.name}: {error}", exit_code=error.exit_code) from error
