"""What a study found: mean and spread of every method, and paired intervals between them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from distilvox.errors import require
from distilvox.evaluation.confidence import paired_bootstrap
from distilvox.evaluation.judge import EVALUATION, load_scores
from distilvox.files import read_json
from distilvox.study.budget import check_budgets, crops
from distilvox.study.grid import run_folder
from distilvox.study.recipe import Recipe
from distilvox.study.terms import REMEDY, check_equal


def compare(recipe: Recipe, out: Path, *, replicates: int = 1000) -> dict[str, Any]:
    """Compares the finished runs of a study.

    Returns:
        JSON-ready: for every method the EER and minDCF of each seed, their mean and standard deviation
        (over seeds, n − 1), and against every other method of its cell the paired difference of mean EER with its
        interval over speakers and seeds (`evaluation.confidence.paired_bootstrap`). Rates are fractions.

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
    paired: dict[str, dict[str, Any]] = {m: {} for m in recipe.methods}
    for m in recipe.methods:
        for other in recipe.peers(m):
            found = paired_bootstrap(scores[other], scores[m], labels, *sides, replicates=replicates)
            paired[m][other] = asdict(found)
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
    }


def _crops(recipe: Recipe, method: str, record: dict[str, Any]) -> dict[str, Any]:
    return {**crops(recipe.config(method, recipe.seeds[0])), "bank": record["bank"]}


def _spread(values: list[float]) -> dict[str, Any]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": spread, "runs": values}


def _dcf(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"min_dcf_{p}": _spread([j["min_dcf"][p] for j in runs]) for p in runs[0]["min_dcf"]}


COLUMNS = (
    "method",
    "EER",
    "± over seeds",
    "minDCF 0.01",
    "minDCF 0.05",
    "against",
    "change (95 %)",
    "relative",
)


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table of a comparison, one row a method, percentages as people read them."""
    table = []
    for method, found in result["methods"].items():
        spread = found["eer"]["std"]
        cells = [method, f"{found['eer']['mean']:.2%}", "–" if spread is None else f"{spread:.2%}"]
        cells += [f"{found[f'min_dcf_{p}']['mean']:.3f}" for p in ("0.01", "0.05")]
        baseline = result["baselines"][method]
        if method == baseline:
            cells += ["–", "–", "–"]
        else:
            pair = result["paired"][method][baseline]
            change = f"{100 * pair['difference']:+.2f} ({100 * pair['low']:+.2f} … {100 * pair['high']:+.2f})"
            relative = "–" if pair["relative"] is None else f"{pair['relative']:+.1%}"
            cells += [baseline, change, relative]
        table.append(tuple(cells))
    return table


def heading(result: dict[str, Any]) -> str:
    return f"{result['title']}: {result['trial_list']}, {result['scores']}, {len(result['seeds'])} seeds"


def render(result: dict[str, Any]) -> Table:
    """For a terminal."""
    table = Table(title=escape(heading(result)), title_justify="left")
    for k, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if k == 0 else "right")
    for row in rows(result):
        table.add_row(*map(escape, row))
    return table


def markdown(result: dict[str, Any]) -> str:
    """For a page: the same table."""
    lines = [f"**{heading(result)}**", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows(result)]
    return "\n".join(lines) + "\n"
