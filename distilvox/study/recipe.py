"""A study as plain values: what all runs share, what the methods change, and which seeds repeat them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from distilvox.errors import UserError, require, unknown
from distilvox.limits import check_limit
from distilvox.train.config import RunConfig, full_name, replace_fields
from distilvox.train.start import make_student

BOOL = "tag:yaml.org,2002:bool"
KEYS = ("title", "teacher", "base", "grid", "methods", "seeds", "baseline")
NAME = r"\w[\w.+=-]*"


@dataclass(frozen=True)
class Recipe:
    """One study.

    Attributes:
        title: one line for tables and reports.
        teacher: URI of the teacher that a method learns from, unless it names its own.
        base: field → value, shared by every run; any field of `RunConfig`, by name or `part.name`.
        methods: method → the fields in which it differs from the base. All methods differ in these alone.
            A method may also set `teacher`.
        seeds: training seeds; every method runs with each, so that runs pair up.
        baselines: method → the method that it is compared with; its own name for a baseline itself. With a
            grid, methods are compared within their cell alone.
    """

    title: str
    teacher: str
    base: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    baselines: dict[str, str]

    def config(self, method: str, seed: int) -> RunConfig:
        """The configuration of one run: the base, then what the method changes, then the seed."""
        changes = {name: value for name, value in self.methods[method].items() if name != "teacher"}
        config = replace_fields(replace_fields(RunConfig(), self.base), changes)
        return replace_fields(config, {"train.seed": seed})

    def teacher_of(self, method: str) -> str:
        """The URI of the teacher that a method learns from."""
        return self.methods[method].get("teacher", self.teacher)

    def peers(self, method: str) -> list[str]:
        """The other methods of its cell: those compared with the same baseline."""
        cell = self.baselines[method]
        return [other for other, held in self.baselines.items() if held == cell and other != method]

    def runs(self) -> list[tuple[str, int]]:
        """(method, seed) of every run, seeds outermost: an interrupted study has whole pairs."""
        return [(method, seed) for seed in self.seeds for method in self.methods]


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a YAML recipe: every run's configuration is built once, so that a typo fails here.

    Raises:
        UserError: unreadable, a key twice, an unknown key or field (names it), a value of the wrong kind, no
            seeds, an unknown baseline, a base or method that sets the seed.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"no recipe here: {path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"no recipe here: {path} is a folder") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"this recipe is not YAML: {path}", got=str(error)) from None
    require(isinstance(values, dict), f"a recipe is a table of keys: {path}", allowed=", ".join(KEYS))
    for key in values:
        if key not in KEYS:
            raise unknown("key of a recipe", str(key), KEYS)
    for key in ("teacher", "methods", "seeds", "baseline"):
        require(key in values, f"the recipe {path} lacks the key {key!r}", allowed=", ".join(KEYS))
    base, methods, seeds = values.get("base") or {}, values["methods"], values["seeds"]
    require(isinstance(base, dict), "base is a table: field → value", got=base)
    require(isinstance(methods, dict) and bool(methods), "methods is a table: name → fields", got=methods)
    require(
        isinstance(seeds, list) and bool(seeds) and all(type(seed) is int for seed in seeds),
        "seeds is a list of numbers",
        got=seeds,
        allowed="[0, 1, 2]",
    )
    require(len(set(seeds)) == len(seeds), "a seed stands twice", got=seeds)
    if not isinstance(values["baseline"], str) or values["baseline"] not in methods:
        raise unknown("baseline", str(values["baseline"]), map(str, methods))
    for name, fields in methods.items():
        require(
            isinstance(name, str) and re.fullmatch(NAME, name) is not None,
            "a method's name becomes a folder's",
            got=repr(name),
            allowed="letters, digits, _ and, after the first, also . + = -; quote names such as no or 1",
        )
        require(
            fields is None or isinstance(fields, dict),
            f"the method {name!r} is a table: field → value",
            got=fields,
        )
    plain = {name: dict(fields or {}) for name, fields in methods.items()}
    axes = (values.get("grid") or {}).values() if isinstance(values.get("grid"), dict) else ()
    cells = math.prod(len(axis) for axis in axes if isinstance(axis, list | dict))
    check_limit("study_runs", cells * len(methods) * len(seeds), what=f"the number of runs of {path}")
    expanded, baselines = _cells(values.get("grid") or {}, plain, values["baseline"])
    recipe = Recipe(
        title=str(values.get("title", path.stem)),
        teacher=str(values["teacher"]),
        base=dict(base),
        methods=expanded,
        seeds=tuple(seeds),
        baselines=baselines,
    )
    _try_out(recipe)
    return recipe


def _cells(
    grid: Any, methods: dict[str, dict[str, Any]], baseline: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Every method in every cell of the grid, named `<cell>.<method>`, and the baseline that each has.

    >>> _cells({"student": ["xvector-s"]}, {"none": {}}, "none")
    ({'xvector-s.none': {'student': 'xvector-s'}}, {'xvector-s.none': 'xvector-s.none'})
    >>> list(_cells({"length": {"short": {"epochs": 2, "warmup_epochs": 1}}}, {"none": {}}, "none")[0].items())
    [('short.none', {'epochs': 2, 'warmup_epochs': 1})]
    """
    require(isinstance(grid, dict), "grid is a table: field → list of values", got=grid)
    axes = [_axis(str(name), values) for name, values in grid.items()]
    holders = [
        (f"the grid's {name!r}", _fields(axis.values())) for name, axis in zip(grid, axes, strict=True)
    ]
    holders += [(f"the method {name!r}", _fields([fields])) for name, fields in methods.items()]
    for place, (holder, held) in enumerate(holders[: len(axes)]):
        for other, others in holders[place + 1 :]:
            both = sorted(held & others)
            require(not both, f"a field stands in {holder} and in {other}", got=", ".join(both))
    expanded, baselines = {}, {}
    for cell in product(*(axis.items() for axis in axes)):
        prefix = "".join(f"{short}." for short, _ in cell)
        changes = {field: value for _, change in cell for field, value in change.items()}
        for name, fields in methods.items():
            expanded[prefix + name] = {**changes, **fields}
            baselines[prefix + name] = prefix + baseline
    return expanded, baselines


def _axis(name: str, values: Any) -> dict[str, dict[str, Any]]:
    """One axis of a grid: short name → the fields that it sets.

    The axis of a field has the field's name, and a list of values or a table of short names → values. Under any other
    name stands a table of short names → tables of fields, the same fields in each.
    """
    named = {str(value): value for value in values} if isinstance(values, list) else values
    require(
        isinstance(named, dict)
        and bool(named)
        and all(isinstance(k, str) and re.fullmatch(NAME, k) for k in named),
        f"the grid's {name!r} is a list of values, or a table: short name → value",
        got=values,
        allowed="student: [xvector-s, resnet-s]",
    )
    labelled = _full(name) is None and "." not in name and all(isinstance(v, dict) for v in named.values())
    if not labelled:
        return {short: {name: value} for short, value in named.items()}
    first, *others = named
    for short in named:
        require(bool(named[short]), f"{short!r} in the grid's {name!r} sets no field")
    for short in others:
        odd = _fields([named[first]]) ^ _fields([named[short]])
        require(
            not odd,
            f"{first!r} and {short!r} in the grid's {name!r} do not set the same fields",
            got="only one sets " + ", ".join(sorted(odd)),
            remedy="set every field of this axis in each of its cells",
        )
    return named


def _fields(tables: Iterable[Mapping[Any, Any]]) -> set[str]:
    """The full names of what the tables set; unknown names as they stand, to be refused where the run is built."""
    return {_full(str(name)) or str(name) for fields in tables for name in fields}


def _full(name: str) -> str | None:
    """The field's full name; None if there is no such field."""
    try:
        return name if name == "teacher" else full_name(RunConfig(), name)
    except UserError:
        return None


def _try_out(recipe: Recipe) -> None:
    """Builds every run's configuration and student once; an error says which part of the recipe it is in."""
    where = "base"
    try:
        _refuse_seed(recipe.base)
        replace_fields(RunConfig(), recipe.base)
        for method, seed in recipe.runs():
            where = f"the method {method!r}"
            _refuse_seed(recipe.methods[method])
            require(isinstance(recipe.teacher_of(method), str), "a teacher is given by its URI")
            config = recipe.config(method, seed)
            make_student(config)
            _ = config.stages
            require(
                config.targets is not None or config.objective.objective == "none",
                "a distillation needs its targets",
                got="targets: null",
            )
    except UserError as error:
        raise UserError(f"in {where} of the recipe: {error}") from error


def _refuse_seed(fields: dict[str, Any]) -> None:
    seeded = {"seed", "train.seed"} & set(fields)
    require(not seeded, "the training seed is set, but seeds are the study's", got=fields)


class _Loader(yaml.SafeLoader):
    """Plain values as YAML 1.2 reads them: 1e-3 is a number, yes and no are words; a key twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a table",
                    node.start_mark,
                    f"the key {key.value!r} stands twice",
                    key.start_mark,
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in kinds if tag != BOOL]
    for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(BOOL, re.compile(r"(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
