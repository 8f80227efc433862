"""A study trains each run once, on equal terms, and says so where it cannot."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.files import read_json, write_json
from distilvox.locks import alone
from distilvox.study import grid
from distilvox.study.compare import compare
from distilvox.study.grid import run_folder, run_grid
from distilvox.study.recipe import Recipe
from distilvox.teachers import load
from distilvox.teachers.places import cache_name
from distilvox.train.config import TargetConfig, to_json
from distilvox.train.loop import fit
from distilvox.views.bank import synthetic_bank
from tests.making import TINY, make_corpus, make_trials, tiny_config

BANK = synthetic_bank(0, seconds=0.5)
BASE = {
    name: value
    for part in ("train", "views")
    for name, value in ((f"{part}.{k}", v) for k, v in to_json(getattr(tiny_config(epochs=1), part)).items())
    if name != "train.seed"
}


class World(NamedTuple):
    root: Path
    recipe: Recipe

    def run(self, out: Path, recipe: Recipe | None = None, **options: Any) -> list[Path]:
        given: dict[str, Any] = {
            "corpus": self.root / "train",
            "trials": self.root / "trials.txt",
            "trials_corpus": self.root / "dev",
            "bank": partial(synthetic_bank, 0, seconds=0.5),
            "device": "cpu",
            "cache": self.root / "cache",
            "say": lambda line: None,
            **options,
        }
        return run_grid(recipe or self.recipe, out, **given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("study")
    train = make_corpus(root / "train")
    dev = make_corpus(root / "dev", speakers=4, seed=1, prefix="d")
    make_trials(dev, root / "trials.txt")
    taught = tiny_config(targets=None, objective="none", epochs=20, learning_rate=1e-2)
    fit(taught, corpus=train, out=root / "teacher", device="cpu", bank=BANK)
    recipe = Recipe(
        title="toy",
        teacher=f"run:{root / 'teacher'}",
        base={**BASE, "student_options": TINY},
        methods={"none": {"objective": "none"}, "kld": {"objective": "kld"}},
        seeds=(0,),
        baselines=dict.fromkeys(("none", "kld"), "none"),
    )
    return World(root, recipe)


@pytest.fixture(scope="module")
def done(world: World) -> Path:
    """A finished study; tests that change it work on a copy."""
    world.run(world.root / "done")
    return world.root / "done"


def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "study"))


def change(path: Path, value: Any, *names: str) -> None:
    content = read_json(path, noun="file")
    inside = content
    for name in names[:-1]:
        inside = inside[name]
    inside[names[-1]] = value
    write_json(path, content)


def test_the_same_study_twice_is_the_same_to_the_letter(world: World, done: Path, tmp_path: Path) -> None:
    world.run(tmp_path / "again", cache=tmp_path / "cache")
    first, second = (
        json.dumps(compare(world.recipe, out, replicates=50)) for out in (done, tmp_path / "again")
    )
    assert first == second
    for method in world.recipe.methods:
        a, b = (
            load_file(run_folder(out, method, 0) / "model.safetensors") for out in (done, tmp_path / "again")
        )
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_finished_runs_are_skipped_without_a_teacher(
    world: World, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished study loads and trains nothing")

    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    for name in ("load", "fit", "taught_stages"):
        monkeypatch.setattr(grid, name, never)
    said: list[str] = []
    folders = world.run(done, say=said.append)
    assert folders == [run_folder(done, method, 0) for method in ("none", "kld")]
    assert said == ["2 of 2 runs are finished already"]
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            {"learning_rate": 0.5},
            r"none-seed0 was trained otherwise[\s\S]*train\.learning_rate: [0-9.]+, not 0\.5",
        ),
        ({"views.seed": 9}, r"views\.seed: 0, not 9"),
        ({"student_options": {**TINY, "hidden": 16}}, r"model\.config\.hidden: 8, not 16"),
    ],
)
def test_a_finished_run_of_other_settings_is_refused(
    base: dict[str, Any], message: str, world: World, done: Path, tmp_path: Path
) -> None:
    renamed = {
        f"train.{name}" if f"train.{name}" in world.recipe.base else name: v for name, v in base.items()
    }
    other = replace(world.recipe, base={**world.recipe.base, **renamed})
    with pytest.raises(UserError, match=message):
        world.run(done, other)
    with pytest.raises(UserError, match=message):
        compare(other, done)


def test_another_corpus_bank_or_trial_list_is_refused(world: World, done: Path, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", seed=7)
    with pytest.raises(UserError, match=r"trained otherwise[\s\S]*corpus\.id"):
        world.run(done, corpus=other.path)
    with pytest.raises(UserError, match=r"trained otherwise[\s\S]*bank"):
        world.run(done, bank=partial(synthetic_bank, 5, seconds=0.5))
    lines = (world.root / "trials.txt").read_text().splitlines(keepends=True)
    (tmp_path / "trials.txt").write_text("".join(lines[::-1]))
    with pytest.raises(UserError, match=r"trained otherwise[\s\S]*trials_id"):
        world.run(done, trials=tmp_path / "trials.txt")


def test_another_teacher_under_the_same_name_is_refused(world: World, done: Path, tmp_path: Path) -> None:
    study = copy(done, tmp_path)
    change(run_folder(study, "kld", 0) / "config.json", "0" * 16, "teacher", "id")
    more = replace(world.recipe, seeds=(0, 1))
    with pytest.raises(UserError, match="is not the teacher that the finished runs learned from"):
        world.run(study, more)


def test_jobs_only_divide_the_work_and_a_failing_run_stops_no_other(
    world: World, done: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    broken = run_folder(study, "none", 0)
    broken.mkdir(parents=True)
    (broken / "thesis.txt").write_text("years of work")
    said: list[str] = []
    with pytest.raises(
        UserError, match=r"1 of 2 runs failed; the first: none-seed0: .*is no run folder"
    ) as caught:
        world.run(study, jobs=2, say=said.append)
    assert caught.value.exit_code == 2
    assert sorted("failed" in line for line in said) == [False, True]
    finished = run_folder(study, "kld", 0)
    alone = load_file(run_folder(done, "kld", 0) / "model.safetensors")
    beside = load_file(finished / "model.safetensors")
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    shutil.rmtree(broken)
    assert world.run(study) == [broken, finished]
    assert compare(world.recipe, study, replicates=50) == compare(world.recipe, done, replicates=50)


def test_in_turn_too_a_failing_run_stops_no_other(world: World, done: Path, tmp_path: Path) -> None:
    study = copy(done, tmp_path)
    shutil.rmtree(run_folder(study, "kld", 0))
    none = run_folder(study, "none", 0)
    (none / "evaluation.json").unlink()
    change(none / "config.json", 0.1, "train", "learning_rate")
    with pytest.raises(
        UserError, match=r"none-seed0: .*begun with other settings[\s\S]*train\.learning_rate"
    ):
        world.run(study)
    assert (run_folder(study, "kld", 0) / "evaluation.json").exists()


def test_two_processes_never_train_one_run(world: World, done: Path, tmp_path: Path) -> None:
    study = copy(done, tmp_path)
    none = run_folder(study, "none", 0)
    (none / "evaluation.json").unlink()
    with (
        alone(none, inside=True),
        pytest.raises(UserError, match=r"another process writes here: .*none-seed0"),
    ):
        world.run(study)
    world.run(study)
    assert (none / "evaluation.json").exists()


def test_every_setting_of_the_teacher_gets_its_own_cache(world: World, tmp_path: Path) -> None:
    views = {"targets.sees": "view", "targets.views": 1}
    methods: dict[str, dict[str, Any]] = {
        "clean": {"objective": "kld"},
        "view": {"objective": "kld", **views},
        "quiet": {"objective": "kld", **views, "noise_probability": 0.0},
    }
    recipe = replace(world.recipe, methods=methods, baselines=dict.fromkeys(methods, "clean"))
    world.run(tmp_path / "study", recipe, cache=tmp_path / "cache")
    teacher = load(recipe.teacher)
    names = {
        cache_name(teacher, c.targets, c.views, BANK)
        for c in (recipe.config(m, 0) for m in methods)
        if isinstance(c.targets, TargetConfig)
    }
    assert len(names) == 3
    assert {path.name for path in (tmp_path / "cache").iterdir()} == names


def test_methods_may_learn_from_different_teachers(world: World, tmp_path: Path) -> None:
    taught = tiny_config(targets=None, objective="none", epochs=20, learning_rate=1e-2, **{"train.seed": 7})
    fit(taught, corpus=Corpus.open(world.root / "train"), out=tmp_path / "other", device="cpu", bank=BANK)
    methods: dict[str, dict[str, Any]] = {
        "one": {"objective": "kld"},
        "two": {"objective": "kld", "teacher": f"run:{tmp_path / 'other'}"},
    }
    recipe = replace(world.recipe, methods=methods, baselines=dict.fromkeys(methods, "one"))
    world.run(tmp_path / "study", recipe)
    result = compare(recipe, tmp_path / "study")
    assert set(result["paired"]["two"]) == {"one"}
    ids = {
        read_json(tmp_path / "study" / f"{m}-seed0" / "config.json", noun="run")["teacher"]["id"]
        for m in methods
    }
    assert len(ids) == 2
    world.run(tmp_path / "study", recipe)  # finished runs of two teachers are no contradiction


def die(task: grid.Task, device: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_of_the_pool_is_an_error_that_can_be_read(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "_run", die)
    with pytest.raises(UserError, match=r"2 of 2 runs failed[\s\S]*was killed[\s\S]*fewer --jobs") as caught:
        world.run(tmp_path / "study", jobs=2)
    assert caught.value.exit_code == 1


def test_bad_jobs_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one job"):
        world.run(tmp_path / "study", jobs=0)
    assert not (tmp_path / "study").exists()
