"""Runs every cell of a recipe on equal terms: one corpus, one budget, the same crops, the same seeds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.study.recipe import Recipe
from distilvox.teachers import load
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.distributed import pick_device
from distilvox.train.loop import fit
from distilvox.train.targets import prepare_targets
from distilvox.views.bank import Bank


def run_folder(out: Path, method: str, seed: int) -> Path:
    return out / f"{method}-seed{seed}"


def run_grid(
    recipe: Recipe,
    out: Path,
    *,
    corpus: Path,
    trials: Path,
    trials_corpus: Path,
    bank: Bank,
    device: str = "auto",
    cache: Path | None = None,
    jobs: int = 1,
    say: Callable[[str], None],
) -> list[Path]:
    """Trains what is not finished yet, and returns all run folders.

    The teacher's embeddings are cached before the first run, so that processes share them.

    Args:
        out: a folder; each run gets `<method>-seed<seed>` in it. Finished runs are skipped, but a folder
            that was trained otherwise than the recipe says is an error that names the field.
        jobs: processes at a time, one CPU thread each where there are several.

    Raises:
        UserError: see above; or a run failed (the first failure is raised, the others finish).
    """
    runs = recipe.runs()
    where = pick_device(device)
    first = recipe.config(*runs[0])
    distilled = [
        config for config in (recipe.config(*run) for run in runs) if config.objective.objective != "none"
    ]
    if distilled and first.targets is not None and not first.targets.live:
        prepare_targets(
            load(recipe.teacher, device=where),
            Corpus.open(corpus),
            config=first.targets,
            views=first.views,
            bank=bank,
            scale=first.objective.kd_scale,
            device=where,
            cache=cache,
        )

    def task(method: str, seed: int) -> Task:
        config = recipe.config(method, seed)
        if jobs > 1:
            config = replace_fields(config, {"threads": 1})
        return (
            config,
            run_folder(out, method, seed),
            corpus,
            trials,
            trials_corpus,
            recipe.teacher,
            bank,
            device,
            cache,
        )

    tasks = [task(*run) for run in runs]
    if jobs == 1:
        for each in tasks:
            say(f"{each[1].name}")
            _run(*each)
        return [each[1] for each in tasks]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_run, *each): each[1] for each in tasks}
        for done, (future, folder) in enumerate(futures.items(), 1):
            future.result()
            say(f"{done} of {len(tasks)}: {folder.name} is finished")
    return [each[1] for each in tasks]


Task = tuple[RunConfig, Path, Path, Path, Path, str, Bank, str, Path | None]


def _run(
    config: RunConfig,
    out: Path,
    corpus: Path,
    trials: Path,
    trials_corpus: Path,
    teacher: str,
    bank: Bank,
    device: str,
    cache: Path | None,
) -> None:
    """One run, in this process; resumes what was begun. Its differences from what stands there are an error."""
    try:
        fit(
            config,
            corpus=Corpus.open(corpus),
            out=out,
            teacher=load(teacher, device=pick_device(device))
            if config.objective.objective != "none"
            else None,
            judge=Judge.open(trials_corpus, trials),
            bank=bank,
            device=device,
            cache=cache,
            resume=out.exists(),
        )
    except UserError as error:
        raise UserError(f"{out.name}: {error}", exit_code=error.exit_code) from error
