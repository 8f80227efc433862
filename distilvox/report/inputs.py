"""What a report is asked to show: run folders, a study's folder, or the JSON of a study alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilvox.errors import require
from distilvox.models.runfolder import CONFIG
from distilvox.study.result import read_study

STUDY = "study.json"


def gather(paths: Sequence[Path]) -> tuple[list[Path], dict[str, Any] | None]:
    """(run folders, a study's result or None) that the paths stand for.

    A study's folder stands for its result and all runs in it; a `.json` file for a result. Runs that all lie in
    one study's folder bring its result with them.

    Raises:
        UserError: several studies, a file that is no study's, or has a field of the wrong type (named).
    """
    runs: list[Path] = []
    named: list[Path] = []
    for path in paths:
        if path.suffix == ".json" and not path.is_dir():
            named.append(path)
        elif path.is_dir() and not (path / CONFIG).exists() and (path / STUDY).exists():
            named.append(path / STUDY)
            runs += sorted(child for child in path.iterdir() if (child / CONFIG).exists())
        else:
            runs.append(path)
    require(
        len(named) <= 1,
        "a report shows one study",
        got=", ".join(map(str, named)),
        remedy="make a report of each",
    )
    if not named:
        beside = {run.resolve().parent / STUDY for run in runs}
        named = [path for path in beside if path.exists()] if len(beside) == 1 else []
    if not named:
        return runs, None
    return runs, read_study(named[0])
