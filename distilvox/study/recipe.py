"""A study as plain values: what all runs share, what the methods change, and which seeds repeat them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distilvox.errors import UserError, require, unknown
from distilvox.train.config import RunConfig, replace_fields

KEYS = ("title", "teacher", "base", "methods", "seeds", "baseline")


@dataclass(frozen=True)
class Recipe:
    """One study.

    Attributes:
        title: one line for tables and reports.
        teacher: URI of the teacher that every method learns from.
        base: field → value, shared by every run; any field of `RunConfig`, by name or `part.name`.
        methods: method → the fields in which it differs from the base. All methods differ in these alone.
        seeds: training seeds; every method runs with each, so that runs pair up.
        baseline: the method that the others are compared with.
    """

    title: str
    teacher: str
    base: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    baseline: str

    def config(self, method: str, seed: int) -> RunConfig:
        """The configuration of one run, from the base, the method and the seed."""
        return replace_fields(RunConfig(), {**self.base, **self.methods[method], "train.seed": seed})

    def runs(self) -> list[tuple[str, int]]:
        """(method, seed) of every run, seeds outermost: an interrupted study has whole pairs."""
        return [(method, seed) for seed in self.seeds for method in self.methods]


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a YAML recipe: every run's configuration is built once, so that a typo fails here.

    Raises:
        UserError: unreadable, an unknown key or field (names it), no seeds, an unknown baseline, a method
            that sets the seed.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe here: {path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"this recipe is not YAML: {path}", got=str(error)) from None
    require(isinstance(values, dict), f"a recipe is a table of keys: {path}", allowed=", ".join(KEYS))
    for key in values:
        if key not in KEYS:
            raise unknown("key of a recipe", str(key), KEYS)
    for key in ("teacher", "methods", "seeds", "baseline"):
        require(key in values, f"the recipe {path} lacks the key {key!r}", allowed=", ".join(KEYS))
    methods, seeds = values["methods"], values["seeds"]
    require(isinstance(methods, dict) and bool(methods), "methods is a table: name → fields", got=methods)
    require(
        isinstance(seeds, list) and bool(seeds) and all(isinstance(seed, int) for seed in seeds),
        "seeds is a list of numbers",
        got=seeds,
        allowed="[0, 1, 2]",
    )
    require(len(set(seeds)) == len(seeds), "a seed stands twice", got=seeds)
    if values["baseline"] not in methods:
        raise unknown("baseline", str(values["baseline"]), methods)
    for name, fields in methods.items():
        require(
            bool(name) and not set(name) & set("/\\") and not name.startswith("."),
            "a method's name becomes a folder's",
            got=name,
            allowed="letters, digits, - and _",
        )
        seeded = {"seed", "train.seed"} & set(fields or {})
        require(not seeded, f"the method {name!r} sets the seed: seeds are the study's", got=fields)
    recipe = Recipe(
        title=str(values.get("title", path.stem)),
        teacher=str(values["teacher"]),
        base=dict(values.get("base") or {}),
        methods={name: dict(fields or {}) for name, fields in methods.items()},
        seeds=tuple(seeds),
        baseline=str(values["baseline"]),
    )
    for method, seed in recipe.runs():
        recipe.config(method, seed)
    return recipe
