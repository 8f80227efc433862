"""`distilvox models`: every student with what it costs, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from distilvox.models import MODELS, build, macs, parameters_count
from distilvox.ship.speed import LEAST_RUNS, MOST_RUNS
from distilvox.ship.students import render
from tests.running import refused, said, succeed

TINY = (
    "--names",
    "xvector-s",
    "--student-options",
    "channels=8",
    "last_channels=12",
    "hidden=8",
    "embedding_dim=8",
)


@pytest.fixture(scope="module")
def everyone() -> dict:
    """All students, not timed."""
    ran = succeed("models", "--no-speed", "--json")
    assert ran.err == ""
    return json.loads(ran.out)


@pytest.fixture(scope="module")
def timed() -> dict:
    """A tiny student, timed."""
    return json.loads(succeed("models", *TINY, "--json").out)


def test_all_students_are_there_with_exact_numbers(everyone: dict) -> None:
    assert everyone["seconds"] == 2.0
    assert [student["name"] for student in everyone["students"]] == list(MODELS)
    for line in everyone["students"]:
        assert line["speed"] is None
        assert line["about"] == MODELS[line["name"]].about
        assert build_config(line) == MODELS[line["name"]]
        if line["name"].endswith("-s"):
            student = build(line["name"])
            assert line["parameters"] == parameters_count(student)
            assert line["macs"] == macs(student)
            assert line["embedding_dim"] == student.embedding_dim


def build_config(line: dict) -> object:
    """The configuration that a line of JSON tells."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in line["config"].items()
    }
    return dataclasses.replace(MODELS[line["name"]], **values)


def test_the_table_shows_every_student_and_says_what_each_architecture_is_for(everyone: dict) -> None:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as capture:
        console.print(render(everyone))
    shown = capture.get()
    rows = [line.split() for line in shown.split("\n\n")[0].splitlines()]
    assert sorted(row[0] for row in rows[1:]) == sorted(MODELS)
    assert ["resnet34", "6.63", "M", "4,528", "M", "256"] in rows
    assert "real-time factor" not in shown
    for config in MODELS.values():
        assert shown.count(config.about) == 1


def test_a_variant_is_costed_before_it_is_trained() -> None:
    full, half = (
        json.loads(succeed("models", "--names", "resnet34", *options, "--no-speed", "--json").out)["students"]
        for options in ([], ["--student-options", "channels=16"])
    )
    assert half[0]["config"]["channels"] == 16
    assert full[0]["parameters"] == 6_634_336 > 3 * half[0]["parameters"]


def test_speed_is_measured_and_says_where(timed: dict) -> None:
    (student,) = timed["students"]
    speed = student["speed"]
    assert 0 < speed["fastest"] <= speed["median"]
    assert speed["utterance"] == timed["seconds"]
    assert speed["real_time_factor"] == speed["median"] / speed["utterance"]
    assert LEAST_RUNS <= speed["runs"] <= MOST_RUNS
    machine = timed["machine"]
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert set(machine) == {"cpu", "cores", "system", "distilvox", "python", "torch", "onnxruntime"}


def test_the_table_names_the_processor(timed: dict) -> None:
    shown = said(succeed("models", *TINY).out)
    assert "real-time factor" in shown
    assert f"on one core of {timed['machine']['cpu']}" in shown


def test_a_name_or_an_option_that_does_not_exist_is_refused() -> None:
    assert "did you mean 'resnet34'?" in refused(2, "models", "--names", "resnet43")
    message = refused(2, "models", "--names", "xvector", "resnet34", "--student-options", "blocks=[1,1,1,1]")
    assert "unknown option of model 'xvector'" in message
    assert "field=value" in refused(2, "models", "--student-options", "channels")
