"""Where a study's numbers come from: what was typed, on which code; nothing of it is compared between two studies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from distilvox import __version__
from distilvox.models.runfolder import read_config
from distilvox.study.grid import run_folder
from distilvox.study.recipe import Recipe
from distilvox.train.origin import code_commit, typed_command


def origin(recipe: Recipe, out: Path, path: Path) -> dict[str, Any]:
    """The command and commit of the comparison and of every run, the version, and the recipe's file as it is written.

    Args:
        out: the folder of the finished runs.
        path: of the recipe.
    """
    runs = {folder.name: read_config(folder) for folder in (run_folder(out, *run) for run in recipe.runs())}
    return {
        "command": typed_command(sys.argv),
        "commit": code_commit(),
        "distilvox": __version__,
        "recipe": {"file": path.name, "text": path.read_text(encoding="utf-8")},
        "runs": {name: {key: held.get(key) for key in ("command", "commit")} for name, held in runs.items()},
    }
