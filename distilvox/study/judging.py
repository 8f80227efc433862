"""Every finished run judged a second time: AS-norm, the training mean removed, agreement with the teacher.

The cohort is one utterance of each of up to 1,000 speakers of the training corpus, its first seconds: the same for
every run of a study, whatever part of the corpus a run was trained on. What was found lies in the run folder; a run
that was trained before is judged as well, and one that was judged so is not judged again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distilvox.corpus.labels import labelled
from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import SubsetConfig, part, training_part
from distilvox.evaluation.embed import embed_corpus
from distilvox.evaluation.judge import Judge, load_embeddings
from distilvox.evaluation.norm import TOP
from distilvox.evaluation.score import unit_rows
from distilvox.files import atomic_file, read_json, write_json
from distilvox.models.runfolder import load_student, read_config
from distilvox.study.grid import run_folder
from distilvox.study.recipe import Recipe
from distilvox.study.workers import at_once
from distilvox.teachers import load
from distilvox.teachers.places import cache_name
from distilvox.train.config import RunConfig, TargetConfig, to_json
from distilvox.train.distributed import pick_device
from distilvox.train.stages import stages, taught_stages
from distilvox.views.bank import Bank

NORMED = "normed.json"
SCORES = "normed.npz"
SECONDS = 3.0
"""Of each cohort utterance."""

COHORT = 1000
"""Speakers of the cohort at most: they cost xvector-s some five seconds on one core."""

VERSION = 3


@dataclass(frozen=True)
class Judging:
    """One second judgement, in terms that travel to another process; arguments of `judge_run`."""

    folder: Path
    key: dict[str, Any]
    corpus: Path
    trials: Path
    trials_corpus: Path
    taught: np.ndarray
    threads: int


def judge_grid(
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
) -> None:
    """Judges every finished run of a study that was not judged so yet; arguments of `run_grid`.

    Where all were, no teacher is loaded.
    """
    held, judge, where = Corpus.open(corpus), Judge.open(trials_corpus, trials), pick_device(device)
    left, sounds = list[Judging](), bank()
    taught: dict[tuple[str, str], np.ndarray] = {}
    ids = teacher_ids(recipe, out)
    for method, seed in recipe.runs():
        folder, uri = run_folder(out, method, seed), recipe.teacher_of(method)
        config = recipe.config(method, seed)
        key = judging_key(held, judge, uri, ids.get(uri), config, sounds)
        if is_judged(folder, key):
            continue
        shown = (uri, str(key["hears"]))
        if shown not in taught:
            taught[shown] = taught_trials(
                uri, held, config, judge, bank=sounds, device=where, cache=cache
            )  # fmt: skip
        threads = 1 if jobs > 1 else config.train.threads
        left.append(Judging(folder, key, corpus, trials, trials_corpus, taught[shown], threads))
    if left:
        say(f"{len(left)} runs are judged again: AS-norm, training mean removed, agreement with the teacher")
    if jobs == 1:
        for one in left:
            _judge(one, device)
        return
    errors = [error for _, error in at_once(_judge, left, jobs, device) if error is not None]
    if errors:
        raise errors[0]


def _judge(one: Judging, device: str) -> None:
    if one.threads:
        torch.set_num_threads(one.threads)
    judge = Judge.open(one.trials_corpus, one.trials)
    judge_run(one.folder, one.key, Corpus.open(one.corpus), judge, one.taught, pick_device(device))


def teacher_ids(recipe: Recipe, out: Path) -> dict[str, str]:
    """URI → id of the teacher behind it, as the finished runs of a study say it."""
    found = {}
    for method, seed in recipe.runs():
        teacher = read_config(run_folder(out, method, seed)).get("teacher")
        if teacher:
            found[recipe.teacher_of(method)] = teacher["id"]
    return found


def cohort_of(corpus: Corpus, judge: Judge) -> Corpus:
    """The training speakers from whom a cohort is drawn: none of them speaks in the trials."""
    corpus = labelled(corpus, wanted="a cohort")
    strangers = ~np.isin(np.asarray(corpus.speakers), judge.speakers)[corpus.labels]
    return corpus if strangers.all() else part(corpus, np.flatnonzero(strangers))


def judging_key(
    corpus: Corpus, judge: Judge, teacher: str, teacher_id: str | None, config: RunConfig, bank: Bank
) -> dict[str, Any]:
    """What a second judgement depends on, besides the run: trials and teacher by their content, and what it hears."""
    speakers = min(COHORT, len(cohort_of(corpus, judge).speakers))
    targets = config.targets or TargetConfig()
    views = config.stages[-1].views
    crops = {"views": targets.views, "of": to_json(views), "bank": bank.id} if targets.sees == "view" else {}
    return {
        "version": VERSION,
        "trial_list": judge.trials.name,
        "trials_id": judge.trials.id,
        "teacher": teacher,
        "teacher_id": teacher_id,
        "hears": {
            "sees": targets.sees,
            "centre": targets.centre,
            "head": targets.head,
            "ensemble": targets.ensemble,
            "subset": to_json(config.subset),
            **crops,
        },
        "cohort": {
            "corpus": corpus.id,
            "speakers": speakers,
            "seconds": SECONDS,
            "top": min(TOP, max(2, speakers // 2)),
        },
    }


def is_judged(folder: Path, key: dict[str, Any]) -> bool:
    """Whether this judgement of the run is there already."""
    path = folder / NORMED
    return path.exists() and read_json(path, noun="judgement of a run").get("key") == key


def judge_run(
    folder: Path, key: dict[str, Any], corpus: Corpus, judge: Judge, taught: np.ndarray, device: torch.device
) -> None:
    """Writes `normed.npz` (the AS-norm scores), then `normed.json`.

    Args:
        folder: a finished run.
        key: of `judging_key`.
        corpus: the whole training corpus.
        taught: the teacher's embeddings [U, D_t] of the trials' utterances.
    """
    embeddings = load_embeddings(folder)
    strangers = cohort_of(corpus, judge)
    cohort = training_part(strangers, SubsetConfig(speakers=key["cohort"]["speakers"], per_speaker=1))
    student = load_student(folder, device).student
    others = embed_corpus(student, cohort, np.arange(len(cohort)), device=device, max_seconds=SECONDS)
    others = others.astype(np.float64)
    normed = judge.judge(embeddings, cohort=others, top=key["cohort"]["top"])
    without_mean = judge.judge(embeddings, centre=unit_rows(others).mean(axis=0))
    with atomic_file(folder / SCORES) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, scores=normed.scores.astype(np.float32))
    write_json(
        folder / NORMED,
        {
            "key": key,
            "asnorm": normed.to_json(),
            "centred": without_mean.to_json(),
            "agreement": judge.agreement(embeddings, taught).to_json(),
        },
    )


def load_normed(folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What `judge_run` wrote: the JSON, and the AS-norm scores [n] as float64."""
    with open(folder / SCORES, "rb") as file, np.load(file, allow_pickle=False) as held:
        return read_json(folder / NORMED, noun="judgement of a run"), held["scores"].astype(np.float64)


def taught_trials(
    uri: str, corpus: Corpus, config: RunConfig, judge: Judge, *, bank: Bank, device: torch.device, cache: Path | None
) -> np.ndarray:  # fmt: skip
    """A teacher's embeddings [U, D_t] of the trials' utterances, as a run of this configuration is compared with them.

    Args:
        corpus: the whole one.
        cache: the study's folder of caches; beside the corpus if None.
    """
    heard = training_part(corpus, config.subset)
    teacher, targets = load(uri, device=device).to(device), config.targets or TargetConfig()
    place = None if cache is None else cache / cache_name(teacher, targets, config.views, bank)
    plan = stages(config, len(heard))
    return taught_stages(plan, teacher, heard, config=config, bank=bank, device=device, cache=place)[
        -1
    ].trials(judge)
