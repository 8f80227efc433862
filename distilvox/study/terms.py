"""Equal terms: what a run folder says it was trained with, held against the recipe and against the other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from distilvox.errors import UserError
from distilvox.evaluation.judge import EVALUATION
from distilvox.files import read_json
from distilvox.models.runfolder import read_config
from distilvox.study.budget import studied_fields
from distilvox.study.recipe import Recipe
from distilvox.train import folder as run
from distilvox.train.config import RunConfig, differences
from distilvox.train.start import make_student

FREE = frozenset(
    {
        "corpus.path",
        "teacher.uri",
        "teacher.licence",
        "corpus.licence",
        "init.uri",
        "command",
        "commit",
        "train.threads",
        "stages",
        "machine.device",
        "machine.processes",
    }
)
"""Where things lie, what was typed, and how fast it is computed, may differ between the runs of a study."""

REMEDY = "remove that folder and run the study again, or give the study another one"


def is_finished(folder: Path) -> bool:
    """Whether the run was trained and judged to its end."""
    return (folder / EVALUATION).is_file()


def settings(config: RunConfig) -> dict[str, Any]:
    """What `config.json` of a run with this configuration says about it, every default resolved."""
    student, init = make_student(config)
    return run.settings(config, student, init)


def check_run(folder: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the run folder says, if it agrees with `expected` as far as that goes.

    Raises:
        UserError: no run here, or trained otherwise (names the first fields that differ, with both values).
    """
    record = read_config(folder)
    known, _ = run.alike(record, expected)
    held = {
        part: {k: v for k, v in (known.get(part) or {}).items() if k in value}
        if part == "corpus"
        else known.get(part)
        for part, value in expected.items()
    }
    changed = [name for name in differences(held, dict(expected)) if name not in FREE]
    if changed:
        shown = [f"{n}: {_at(held, n)!r}, not {_at(expected, n)!r}" for n in changed[:6]]
        raise UserError(
            f"{folder} was trained otherwise than the recipe says", got="; ".join(shown), remedy=REMEDY
        )
    return record


def check_equal(recipe: Recipe, folders: Mapping[str, Sequence[Path]]) -> dict[str, list[dict[str, Any]]]:
    """Refuses to compare runs that differ in anything but the fields that the recipe studies.

    Args:
        folders: method → its finished runs, in the order of the recipe's seeds.

    Returns:
        What each run folder says about its run, ordered as `folders`.

    Raises:
        UserError: a run is missing or unfinished, or differs from the recipe or another run (names the fields).
    """
    records = []
    for method, runs in folders.items():
        for seed, folder in zip(recipe.seeds, runs, strict=True):
            read_json(folder / EVALUATION, noun="finished run", remedy="run the study again: it resumes")
            records.append((folder, check_run(folder, settings(recipe.config(method, seed)))))
    studied = studied_fields(recipe)
    for (one, a), (other, b) in combinations(records, 2):
        unequal = [
            name
            for name in differences(*run.alike(a, b))
            if name not in FREE and not is_studied(name, studied)
        ]
        if unequal:
            shown = [f"{n}: {_at(a, n)!r} and {_at(b, n)!r}" if n != "speakers" else n for n in unequal[:6]]
            raise UserError(
                f"{one.name} and {other.name} were not trained on equal terms",
                got="; ".join(shown),
                allowed="differences in " + ", ".join(sorted(studied | {"train.seed"})),
                remedy=REMEDY,
            )
    held = dict(records)
    return {method: [held[folder] for folder in runs] for method, runs in folders.items()}


def is_studied(name: str, studied: set[str]) -> bool:
    """Whether a difference of two run folders is one that the recipe asks for, or follows from it."""
    chosen = {field for field in studied if field.startswith("subset.")}
    follows = {
        "model": {"student", "student_options", "init"},
        "finetune": {
            field for field in studied if field.startswith("finetune.")
        },  # it is null without epochs
        "teacher": {"objective.objective"},  # a method without KD has none; two teachers are teacher.id
        "machine": {"train.precision"},
        "subset": chosen,  # it is null where it is all
        "speakers": chosen | {field for field in studied if field.startswith("views.")},
    }
    if name in ("corpus.utterances", "corpus.hours"):
        return bool(chosen)
    if name.startswith("model.frontend") and "frontend" in studied:
        return True
    part = name if name in follows else name.partition(".")[0]
    if part == "teacher" and name != "teacher" and "teacher" not in studied:
        return False
    return (
        name == "train.seed" or name in studied or part in studied or bool(follows.get(part, set()) & studied)
    )


def _at(record: Any, name: str) -> Any:
    for key in name.split("."):
        record = record.get(key) if isinstance(record, Mapping) else None
    return record
