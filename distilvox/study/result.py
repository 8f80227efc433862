"""The result of a study as a file must hold it: what a report and a table of it rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from distilvox.errors import require
from distilvox.files import read_json
from distilvox.schemas import Count, Finite, fitting

NOUN = "result of a study"
REMEDY = "run the study again: finished runs are kept"


class Spread(Struct):
    """A figure of every seed, their mean and standard deviation."""

    mean: Finite
    std: Finite | None
    runs: list[Finite]


class Rates(Struct):
    """The error rates of one method."""

    eer: Spread
    dcf_1: Spread = field(name="min_dcf_0.01")
    dcf_5: Spread = field(name="min_dcf_0.05")


class Pair(Struct):
    """One method against another, with its interval."""

    difference: Finite
    low: Finite
    high: Finite
    relative: Finite | None


class Alike(Struct):
    """Agreement with the teacher."""

    teacher: str
    rank_correlation: Spread
    cosine: Spread | None = None


Paired = dict[str, dict[str, Pair]]


class Normed(Struct):
    """The second judgement: AS-norm."""

    scores: str
    trial_list: str
    methods: dict[str, Rates]
    paired: Paired


class Centred(Struct):
    """The judgement with the training mean removed."""

    scores: str
    trial_list: str
    methods: dict[str, Rates]


class Crops(Struct):
    """What a method saw."""

    bank: str | None = None


class Study(Struct):
    """study.json; fields of `distilvox.study.compare`."""

    title: str
    teacher: str
    seeds: list[int]
    baselines: dict[str, str]
    trial_list: str
    trials: Count
    scores: str
    methods: dict[str, Rates]
    paired: Paired
    base: dict[str, Any] = {}
    fields: dict[str, dict[str, Any]] = {}
    crops: dict[str, Crops] = {}
    budget: Any = None
    asnorm: Normed | UnsetType = UNSET
    centred: Centred | UnsetType = UNSET
    agreement: dict[str, Alike] = {}
    cohort: dict[str, Any] = {}
    origin: dict[str, Any] = {}


def read_study(path: Path) -> dict[str, Any]:
    """The content of a study.json, whole and of the right types.

    Raises:
        UserError: no such file, a field that is missing or of the wrong type (named), methods that do not agree.
    """
    value = read_json(path, noun=NOUN, remedy=REMEDY)
    check_study(value, path)
    return value


def check_study(value: Any, where: Path | str) -> None:
    """The checks of `read_study`."""
    study = fitting(Study, value, noun=NOUN, path=where, remedy=REMEDY)
    judged = [("", study.methods, study.paired)]
    if isinstance(study.asnorm, Normed):
        judged.append(("asnorm.", study.asnorm.methods, study.asnorm.paired))
        _same(where, "agreement", study.agreement, study.methods)
        _same(where, "asnorm.methods", study.asnorm.methods, study.methods)
    if isinstance(study.centred, Centred):
        _same(where, "centred.methods", study.centred.methods, study.methods)
    _same(where, "baselines", study.baselines, study.methods)
    for method, baseline in study.baselines.items():
        _require(where, baseline in study.methods, f"baselines.{method}", f"{baseline!r}, which is no method")
        for prefix, _, paired in judged:
            there = method == baseline or baseline in paired.get(method, ())
            _require(where, there, f"{prefix}paired.{method}", f"nothing against {baseline!r}")


def _same(where: Path | str, field: str, found: dict[str, Any], methods: dict[str, Rates]) -> None:
    odd = sorted(found.keys() ^ methods.keys())
    _require(where, not odd, field, f"other methods than methods has: {', '.join(odd[:4])}")


def _require(where: Path | str, condition: bool, field: str, got: str) -> None:
    require(condition, f"this {NOUN} is damaged: {where}, at {field}", got=got, remedy=REMEDY)
