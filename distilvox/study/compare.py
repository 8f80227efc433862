"""What a study found: mean and spread of every method, and paired intervals between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from distilvox.errors import require
from distilvox.evaluation.confidence import paired_bootstraps
from distilvox.evaluation.judge import EVALUATION, load_scores
from distilvox.files import read_json
from distilvox.study.budget import check_budgets, crops
from distilvox.study.grid import run_folder
from distilvox.study.judging import NORMED, load_normed
from distilvox.study.recipe import Recipe
from distilvox.study.terms import REMEDY, check_equal


def compare(recipe: Recipe, out: Path, *, replicates: int = 1000) -> dict[str, Any]:
    """Compares the finished runs of a study.

    Returns:
        JSON-ready: for every method the EER and minDCF of each seed, their mean and standard deviation
        (over seeds, n − 1), and against every other method of its cell the paired difference of mean EER with its
        interval over speakers and seeds (`evaluation.confidence.paired_bootstrap`). Rates are fractions.
        `methods` and `paired` are of raw scores; `asnorm` holds both of AS-norm scores, `centred` the rates with the
        training mean removed, `agreement` that with the teacher: where `judging.judge_grid` judged the runs.
        Nothing in it depends on where or when the study ran.

    Raises:
        UserError: a run is missing, or they are not on equal terms (`study.terms.check_equal`), or they
            were judged by different trials.
    """
    folders = {m: [run_folder(out, m, seed) for seed in recipe.seeds] for m in recipe.methods}
    records = check_equal(recipe, folders)
    budgets = check_budgets(recipe, {m: runs[0]["corpus"]["utterances"] for m, runs in records.items()})
    judged = {
        m: [read_json(f / EVALUATION, noun="finished run") for f in runs] for m, runs in folders.items()
    }
    lists = {(j["trial_list"], j["trials"], j["scores"]) for runs in judged.values() for j in runs}
    require(len(lists) == 1, "the runs were judged by different trials", got=sorted(lists))
    trial_list, trials, scoring = lists.pop()
    methods = {m: {"eer": _spread([j["eer"] for j in runs]), **_dcf(runs)} for m, runs in judged.items()}
    saved = {m: [load_scores(folder) for folder in runs] for m, runs in folders.items()}
    first_method = next(iter(recipe.methods))
    _, labels, *sides = first = saved[first_method][0]
    for m, runs in saved.items():
        for folder, held in zip(folders[m], runs, strict=True):
            require(
                held.same_trials(first),
                f"{folder.name} was judged by other trials than {folders[first_method][0].name}",
                got=f"two lists named {trial_list}",
                remedy=REMEDY,
            )
    scores = {m: [held.scores for held in runs] for m, runs in saved.items()}
    paired = _paired(recipe, scores, labels, sides, replicates)
    return {
        "title": recipe.title,
        "teacher": recipe.teacher,
        "base": recipe.base,
        "fields": recipe.methods,
        "seeds": list(recipe.seeds),
        "baselines": recipe.baselines,
        "budget": budgets,
        "crops": {m: _crops(recipe, m, records[m][0]) for m in recipe.methods},
        "trial_list": trial_list,
        "trials": trials,
        "scores": scoring,
        "methods": methods,
        "paired": paired,
        **_judged_again(recipe, folders, labels, sides, replicates),
    }


def _paired(
    recipe: Recipe,
    scores: dict[str, list[np.ndarray]],
    labels: np.ndarray,
    sides: Sequence[np.ndarray],
    replicates: int,
) -> dict[str, dict[str, Any]]:
    pairs = [(other, m) for m in recipe.methods for other in recipe.peers(m)]
    found = paired_bootstraps(scores, pairs, labels, *sides, replicates=replicates)
    return {m: {other: asdict(found[other, m]) for other in recipe.peers(m)} for m in recipe.methods}


def _judged_again(
    recipe: Recipe,
    folders: dict[str, list[Path]],
    labels: np.ndarray,
    sides: Sequence[np.ndarray],
    replicates: int,
) -> dict[str, Any]:
    """What the second judgement of every run says; nothing where a run has none."""
    if not all((folder / NORMED).exists() for runs in folders.values() for folder in runs):
        return {}
    found = {m: [load_normed(folder) for folder in runs] for m, runs in folders.items()}
    keys = {
        m: {k: v for k, v in runs[0][0]["key"].items() if k not in OF_METHOD} for m, runs in found.items()
    }
    first, *others = keys.values()
    require(
        all(key == first for key in others)
        and all(held["key"] == runs[0][0]["key"] for runs in found.values() for held, _ in runs),
        "the runs were judged again in different ways",
        got=", ".join(sorted({str(held["key"]) for runs in found.values() for held, _ in runs})[:2]),
        remedy="run the study again: it judges every run in one way",
    )

    def rates(kind: str) -> dict[str, Any]:
        judged = {m: [held[kind] for held, _ in runs] for m, runs in found.items()}
        methods = {m: {"eer": _spread([j["eer"] for j in runs]), **_dcf(runs)} for m, runs in judged.items()}
        one = next(iter(judged.values()))[0]
        return {"scores": one["scores"], "trial_list": one["trial_list"], "methods": methods}

    agreement = {
        m: {"teacher": recipe.teacher_of(m)}
        | {name: _spread([held["agreement"][name] for held, _ in runs]) for name in runs[0][0]["agreement"]}
        for m, runs in found.items()
    }
    scores = {m: [normed for _, normed in runs] for m, runs in found.items()}
    return {
        "asnorm": {**rates("asnorm"), "paired": _paired(recipe, scores, labels, sides, replicates)},
        "centred": rates("centred"),
        "agreement": agreement,
        "cohort": first["cohort"],
    }


def _crops(recipe: Recipe, method: str, record: dict[str, Any]) -> dict[str, Any]:
    return {**crops(recipe.config(method, recipe.seeds[0])), "bank": record["bank"]}


def _spread(values: list[float]) -> dict[str, Any]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread, "runs": values}


def _dcf(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"min_dcf_{p}": _spread([j["min_dcf"][p] for j in runs]) for p in runs[0]["min_dcf"]}


OF_METHOD = ("teacher", "teacher_id", "hears")
"""What of a second judgement a method brings along: its teacher."""

COLUMNS = (
    "method",
    "EER",
    "± over seeds",
    "minDCF 0.01",
    "minDCF 0.05",
    "against",
    "change (95 %)",
    "relative",
    "AS-norm EER",
    "± over seeds",
    "minDCF 0.01",
    "minDCF 0.05",
    "change (95 %)",
    "relative",
    "agreement",
)

FIT = (0, 1, 2, 6, 7, 8, 13, 14)
"""Columns that a terminal has room for; study.md and study.json have all."""


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table of a comparison, one row a method, percentages as people read them."""
    table = []
    for method in result["methods"]:
        baseline = result["baselines"][method]
        raw, against = _rates(result, method), "–" if method == baseline else baseline
        cells = [method, *raw[:4], against, *raw[4:]]
        if "asnorm" in result:
            cells += _rates(result["asnorm"] | {"baselines": result["baselines"]}, method)
            cells.append(f"{result['agreement'][method]['rank_correlation']['mean']:.2f}")
        table.append(tuple(cells) + ("–",) * (len(COLUMNS) - len(cells)))
    return table


def _rates(result: dict[str, Any], method: str) -> list[str]:
    """EER, its spread, both minDCF, and the change and relative change against the baseline."""
    found, baseline = result["methods"][method], result["baselines"][method]
    spread = found["eer"]["std"]
    cells = [f"{found['eer']['mean']:.2%}", "–" if spread is None else f"{spread:.2%}"]
    cells += [f"{found[f'min_dcf_{p}']['mean']:.3f}" for p in ("0.01", "0.05")]
    if method == baseline:
        return [*cells, "–", "–"]
    pair = result["paired"][method][baseline]
    change = f"{100 * pair['difference']:+.2f} ({100 * pair['low']:+.2f} … {100 * pair['high']:+.2f})"
    return [*cells, change, "–" if pair["relative"] is None else f"{pair['relative']:+.1%}"]


def heading(result: dict[str, Any]) -> str:
    """Says what every number of the table rests on: the trials, and the kinds of score."""
    text = f"{result['title']}: {result['trial_list']}, {result['scores']}, {len(result['seeds'])} seeds"
    if "asnorm" not in result:
        return text
    return f"{text}; on the right {result['asnorm']['scores']}, and the rank correlation with the teacher's scores"


def render(result: dict[str, Any]) -> Table:
    """For a terminal."""
    table = Table(title=escape(heading(result)), title_justify="left")
    for k in FIT:
        table.add_column(COLUMNS[k], justify="left" if k == 0 else "right", no_wrap=True)
    for row in rows(result):
        table.add_row(*(escape(row[k]) for k in FIT))
    return table


def markdown(result: dict[str, Any]) -> str:
    """For a page: the same table."""
    lines = [f"**{heading(result)}**", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows(result)]
    return "\n".join(lines) + "\n"
