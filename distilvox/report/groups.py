"""Which runs repeat each other, and what sets the others apart: student, objective, number of speakers.

A group is one method: runs that differ in their seed alone, or a row of a study. Groups that differ only in the
student or in the number of training speakers share a variant, and with it their colour.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distilvox.report.read import Run, number, table
from distilvox.report.style import COLOURS
from distilvox.train.config import RunConfig

NOT_SETTINGS = {
    "": ("version", "distilvox", "command", "commit", "model", "speakers"),
    "train": ("seed", "threads", "shard_head"),
    "corpus": ("path", "hours", "utterances"),
    "teacher": ("uri",),
    "init": ("uri",),
    "subset": ("seed", "speakers"),
}
"""Fields of a run's configuration that make no variant of their own."""

COUNTS = ("subset.speakers", "speakers")
STUDENTS = ("student", "student_options")


@dataclass(frozen=True)
class Group:
    """One method, as the figures show it.

    Args:
        name: unique; a study's method, or that of its runs.
        variant: what is left of the name without student and number of speakers.
        tint: the number of its line: its colour is that of its variant, its dash tells students and numbers apart.
        speakers: trained on; None where nobody knows.
        runs: with folders; none where a study's JSON is all there is.
        rates: EER of every seed.
        low, high: ends of the error bar; `spread` says whether they are one standard deviation over seeds, or
            the 95 % interval over speakers of a single run.
        extra: more means over seeds by name: minDCF, AS-norm, agreement.
    """

    name: str
    student: str
    objective: str
    variant: str
    tint: int
    speakers: int | None
    runs: tuple[Run, ...]
    rates: tuple[float, ...]
    low: float
    high: float
    spread: bool
    extra: Mapping[str, float]

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.rates)) if self.rates else None

    @property
    def middle(self) -> Run | None:
        """The run whose EER is the median of its seeds; of an even number the lower of both."""
        judged = sorted((run for run in self.runs if run.eer is not None), key=lambda run: run.eer or 0.0)
        return judged[(len(judged) - 1) // 2] if judged else None


def settings(run: Run) -> str:
    """What was asked for, besides the student, its speakers and the seed; equal for equal runs."""
    kept: dict[str, Any] = {key: value for key, value in run.config.items() if key not in NOT_SETTINGS[""]}
    for part, free in NOT_SETTINGS.items():
        if part and isinstance(kept.get(part), dict):
            kept[part] = {key: value for key, value in kept[part].items() if key not in free}
    return json.dumps(kept, sort_keys=True)


def speakers_of(run: Run) -> int | None:
    """People that a run was trained on; a voice at another speed is the same person."""
    asked = number(table(run.config, "subset").get("speakers"))
    if asked:
        return int(asked)
    names = run.config.get("speakers")
    if not isinstance(names, list):
        return None
    return len({re.sub(r"@[\d.]+$", "", name) for name in names})


def named_by_settings(runs: Sequence[Run]) -> list[Run]:
    """The same runs, each with the name of its method: runs that only the seed tells apart share one.

    Folders named `<method>-seed<seed>` give the name; runs of one such name that differ in more keep their own.
    """
    alike: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        model = json.dumps(run.config["model"], sort_keys=True)
        alike[(settings(run), model, str(speakers_of(run)), str(run.trials))].append(run)
    method: dict[str, str] = {}
    for bucket in alike.values():
        seeds = {table(run.config, "train").get("seed") for run in bucket}
        repeats = len(seeds) == len(bucket)
        first = bucket[0].method
        same = {run.method for run in bucket} == {first}
        for run in bucket:
            method[run.name] = (first if same or len(bucket) > 1 else run.method) if repeats else run.name
    owners: dict[str, set[int]] = defaultdict(set)
    for place, bucket in enumerate(alike.values()):
        for run in bucket:
            owners[method[run.name]].add(place)
    return [
        replace(run, method=method[run.name] if len(owners[method[run.name]]) == 1 else run.name)
        for run in runs
    ]


def groups(runs: Sequence[Run], study: Mapping[str, Any] | None) -> list[Group]:
    """One group for every method of the study, then for every method of the other runs, in their order."""
    own: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        own[run.method].append(run)
    held = dict(study or {})
    names = list(dict.fromkeys([*table(held, "methods"), *own]))
    facts = {name: _facts(name, own.get(name, []), held) for name in names}
    variant = _variants(facts)
    tint = {label: k for k, label in enumerate(dict.fromkeys(variant.values()))}
    cells = list(dict.fromkeys((fact[0], fact[1]) for fact in facts.values()))
    made = []
    for name in names:
        student, count, objective, _ = facts[name]
        line = tint[variant[name]] + COLOURS * cells.index((student, count))
        rates, low, high, spread, extra = _rates(own.get(name, []), name, held)
        made.append(
            Group(
                name, student, objective, variant[name], line, count, tuple(own.get(name, [])),
                rates, low, high, spread, extra,
            )
        )  # fmt: skip
    return made


Facts = tuple[str, int | None, str, str]
"""Student, speakers, objective, the other settings."""


def _facts(name: str, runs: Sequence[Run], study: Mapping[str, Any]) -> Facts:
    held = dict(study)
    if runs:
        run = runs[0]
        return str(run.config["model"]["name"]), speakers_of(run), run.objective, settings(run)
    fields = table(held, "base") | table(table(held, "fields"), name)
    default = RunConfig()
    student = str(fields.get("student", default.student))
    objective = str(fields.get("objective", fields.get("objective.objective", default.objective.objective)))
    count = next((int(fields[key]) for key in COUNTS if number(fields.get(key))), None)
    rest = {key: value for key, value in fields.items() if key not in COUNTS + STUDENTS}
    return student, count, objective, json.dumps(rest, sort_keys=True)


def _variants(facts: Mapping[str, Facts]) -> dict[str, str]:
    """Name → variant: its objective where that says it all, else the name without student and speakers."""
    if len({fact[0] for fact in facts.values()}) == len({fact[1] for fact in facts.values()}) == 1:
        return {name: name for name in facts}
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, _, objective, rest in facts.values():
        kinds[objective].add(rest)
    places = Counter((student, count, objective) for student, count, objective, _ in facts.values())
    clear = all(len(rests) == 1 for rests in kinds.values()) and max(places.values(), default=0) <= 1
    return {
        name: objective if clear else (trimmed(name, student, count) or name)
        for name, (student, count, objective, _) in facts.items()
    }


def trimmed(name: str, student: str, speakers: int | None) -> str:
    """A method's name without its student and its number of speakers.

    >>> trimmed("resnet-s.nskd-4", "resnet-s", 1809), trimmed("nskd-k50", "xvector-s", 50)
    ('nskd-4', 'nskd')
    """
    for word in (re.escape(student), rf"(?:k|K|speakers)?[=-]?{speakers}"):
        name = re.sub(rf"(?:(?<=^)|[.\-_+ ]){word}(?=$|[.\-_+ ])", "", name)
    return name.strip(".-_+ ")


def _rates(
    runs: Sequence[Run], name: str, study: dict[str, Any]
) -> tuple[tuple[float, ...], float, float, bool, dict[str, float]]:
    """(EER of every seed, the error bar's ends, whether it is a spread over seeds, other means)."""
    found = table(table(study, "methods"), name)
    if found:
        rates = [rate for rate in map(number, table(found, "eer").get("runs", [])) if rate is not None]
        again = table(table(table(study, "asnorm"), "methods"), name)
        extra = {key: number(table(found, key).get("mean")) for key in found if key != "eer"}
        extra |= {f"asnorm_{key}": number(table(again, key).get("mean")) for key in again}
        agreed = table(table(study, "agreement"), name)
        extra |= {f"agreement_{key}": number(table(agreed, key).get("mean")) for key in agreed}
    else:
        rates = [run.eer for run in runs if run.eer is not None]
        several: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            for key, value in run.more.items():
                several[key].append(value)
        extra = {key: float(np.mean(values)) for key, values in several.items()}
    known = {key: value for key, value in extra.items() if value is not None}
    if not rates:
        return (), 0.0, 0.0, False, known
    mean = float(np.mean(rates))
    if len(rates) > 1:
        std = float(np.std(rates, ddof=1))
        return tuple(rates), mean - std, mean + std, True, known
    one = next((run.interval for run in runs if run.interval), None)
    low, high = one or (mean, mean)
    return tuple(rates), low, high, False, known
