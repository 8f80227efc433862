"""A recipe is plain values, and a typo fails before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distilvox.errors import UserError
from distilvox.study.recipe import Recipe, read_recipe
from distilvox.study.terms import is_studied

GOOD = """
teacher: "ge2e:"
base: {student: xvector-s, epochs: 3, views.seconds: 1, learning_rate: 1e-3, centre: no, speed_is_new_speaker: true}
methods:
  none: {objective: none}
  nskd: {objective: nskd, kd_scale: 32, train.epochs: 5}
seeds: [4, 1]
baseline: none
"""


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "toy.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def test_every_run_is_the_base_then_the_method_then_the_seed(tmp_path: Path) -> None:
    recipe = read(tmp_path, GOOD)
    assert recipe.title == "toy"
    assert recipe.runs() == [("none", 4), ("nskd", 4), ("none", 1), ("nskd", 1)]
    plain, taught = recipe.config("none", 4), recipe.config("nskd", 1)
    assert (plain.train.epochs, taught.train.epochs) == (3, 5)
    assert (plain.train.seed, taught.train.seed) == (4, 1)
    assert (plain.views, plain.views.seconds) == (taught.views, 1.0)
    assert plain.train.learning_rate == 1e-3  # YAML 1.1 would read text
    assert plain.targets is not None
    assert (plain.targets.centre, plain.views.speed_is_new_speaker) == ("no", True)
    assert type(taught.objective.kd_scale) is float


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("teacher:", "techer:", r"unknown key of a recipe[\s\S]*did you mean 'teacher'"),
        ("baseline: none", "", "lacks the key 'baseline'"),
        ("baseline: none", "baseline: nksd", r"unknown baseline[\s\S]*did you mean 'nskd'"),
        (
            "kd_scale: 32",
            "kd_scael: 32",
            r"method 'nskd' of the recipe: unknown field[\s\S]*did you mean 'kd_scale'",
        ),
        ("kd_scale: 32", "kd_scale: -1", r"method 'nskd' of the recipe: .*kd_scale"),
        (
            "kd_scale: 32",
            "kd_scale: much",
            r"method 'nskd'[\s\S]*'kd_scale' is of the wrong kind[\s\S]*'much'",
        ),
        ("kd_scale: 32", "train.seed: 3", r"method 'nskd'[\s\S]*seeds are the study's"),
        ("kd_scale: 32", "seed: 3", r"method 'nskd'[\s\S]*seeds are the study's"),
        ("kd_scale: 32", "targets: null", r"method 'nskd'[\s\S]*needs its targets"),
        ("kd_scale: 32", "epochs: 9", r"method 'nskd'[\s\S]*set twice[\s\S]*epochs and train.epochs"),
        ("epochs: 3", "train.seed: 3", r"base of the recipe[\s\S]*seeds are the study's"),
        ("epochs: 3", "seed: 3", r"base of the recipe[\s\S]*seeds are the study's"),
        ("epochs: 3", "epochs: 3, train.epochs: 4", r"base of the recipe: a field is set twice"),
        ("epochs: 3", "epochs: 3, epochs: 4", r"not YAML[\s\S]*'epochs' stands twice"),
        ("epochs: 3", "live: yes", r"'live' is of the wrong kind[\s\S]*'yes'"),
        ("epochs: 3", "epochs: 2.5", r"base of the recipe[\s\S]*'epochs' is of the wrong kind"),
        ("student: xvector-s", "student: xvectr-s", r"method 'none'[\s\S]*did you mean 'xvector-s'"),
        ("student: xvector-s", "student_options: {chanels: 3}", "unknown option"),
        ("  none: {objective: none}", "  none: {objective: none}\n  none: {}", "'none' stands twice"),
        ("  none: {objective: none}", "  none: {}\n  1: {}", r"becomes a folder's[\s\S]*got: +1"),
        ("  none: {objective: none}", "  none: {}\n  ../x: {}", "becomes a folder's"),
        ("  none: {objective: none}", "  none: {}\n  .x: {}", "becomes a folder's"),
        ("  none: {objective: none}", "  none: kld", "method 'none' is a table"),
        ("[4, 1]", "[]", "seeds is a list of numbers"),
        ("[4, 1]", "[true]", "seeds is a list of numbers"),
        ("[4, 1]", "[1, 1]", "a seed stands twice"),
        ("[4, 1]", "[-1]", "seed.* is out of range"),
        ("[4, 1]", "[4, 1", "is not YAML"),
        ("base: {", "base: [", "is not YAML"),
    ],
)
def test_a_typo_fails_at_the_door(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is a table of keys"),
        ("- teacher", "is a table of keys"),
        ("!!python/object:os.system {}", "is not YAML"),
        ("\x00", "is not YAML"),
        (re.sub("base: {.*}", "base: 3", GOOD), "base is a table"),
    ],
)  # fmt: skip
def test_what_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_recipe(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_recipe(tmp_path)


GRID = GOOD.replace("base: {student: xvector-s, ", "base: {").replace(
    "methods:",
    "grid: {student: [xvector-s, resnet-s], teacher: {one: 'ge2e:', two: 'run:a,run:b'}}\nmethods:",
)


def test_a_grid_holds_every_method_in_every_cell(tmp_path: Path) -> None:
    recipe = read(tmp_path, GRID)
    cells = [f"{student}.{teacher}" for student in ("xvector-s", "resnet-s") for teacher in ("one", "two")]
    assert list(recipe.methods) == [f"{cell}.{method}" for cell in cells for method in ("none", "nskd")]
    assert recipe.config("resnet-s.two.nskd", 4).student == "resnet-s"
    assert recipe.config("resnet-s.two.nskd", 4).objective.kd_scale == 32
    assert recipe.teacher_of("xvector-s.two.nskd") == "run:a,run:b"
    assert recipe.teacher_of("xvector-s.one.none") == "ge2e:"
    assert recipe.peers("resnet-s.one.nskd") == ["resnet-s.one.none"]
    assert {recipe.baselines[method] for method in recipe.methods} == {f"{cell}.none" for cell in cells}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("[student]", "grid is a table: field"),
        ("{student: xvector-s}", "the grid's 'student' is a list of values"),
        ("{student: []}", "the grid's 'student' is a list of values"),
        ("{student: [../up]}", "the grid's 'student' is a list of values"),
        ("{objective: [kld]}", "a field stands in the grid's 'objective' and in the method 'none'"),
        ("{epochz: [1]}", "unknown field of a run"),
        ("{train.epochs: [1]}", r"a field stands in the grid's 'train.epochs' and in the method 'nskd'"),
        ("{centre: [no], targets.centre: [yes]}", r"the grid's 'centre' and in the grid's 'targets.centre'"),
        ("{data: {a: {}}}", "'a' in the grid's 'data' sets no field"),
        ("{data: {a: {subset.speakers: 4}, b: 3}}", r"unknown field of a run[\s\S]*data"),
        (
            "{data: {a: {subset.speakers: 4}, b: {subset.speaker: 5}}}",
            r"'a' and 'b' .*the same fields[\s\S]*subset.speaker",
        ),
        ("{data: {a: {subset.speakrs: 4}}}", r"method 'a.none'[\s\S]*did you mean 'subset.speakers'"),
        (
            "{data: {a: {centre: no}, b: {targets.centre: no, gamma: 1}}}",
            r"same fields[\s\S]*objective.gamma",
        ),
        ("{data: {a: {objective: none}}}", "the grid's 'data' and in the method 'none'"),
        ("{one: {a: {gamma: 2}}, two: {b: {gamma: 3}}}", "the grid's 'one' and in the grid's 'two'"),
        ("{data: {a: {subset.speakers: 1}}}", r"method 'a.none'[\s\S]*trained on one speaker"),
    ],
)
def test_a_wrong_grid_is_refused(tmp_path: Path, grid: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, GOOD.replace("methods:", f"grid: {grid}\nmethods:"))


def test_an_axis_of_labels_sets_several_fields_at_once(tmp_path: Path) -> None:
    grid = "grid: {data: {K2: {subset.speakers: 2, warmup_epochs: 3}, K4: {warmup_epochs: 6, subset.speakers: 4}}}"
    recipe = read(tmp_path, GOOD.replace("methods:", f"{grid}\nmethods:"))
    assert list(recipe.methods) == ["K2.none", "K2.nskd", "K4.none", "K4.nskd"]
    assert recipe.baselines["K4.nskd"] == "K4.none"
    found = [recipe.config(method, 4) for method in recipe.methods]
    assert [c.subset.speakers for c in found] == [2, 2, 4, 4]
    assert [c.train.warmup_epochs for c in found] == [3, 3, 6, 6]
    assert [c.train.epochs for c in found] == [3, 5, 3, 5]


def test_a_table_may_be_the_value_of_a_field(tmp_path: Path) -> None:
    grid = "grid: {student_options: {narrow: {channels: 8}, wide: {channels: 16}}}"
    recipe = read(tmp_path, GOOD.replace("methods:", f"{grid}\nmethods:"))
    assert [recipe.config(m, 4).student_options for m in recipe.methods] == [{"channels": 8}] * 2 + [
        {"channels": 16}
    ] * 2


@pytest.mark.parametrize(
    ("name", "studied", "wanted"),
    [
        ("model.frontend.window", {"frontend"}, True),
        ("model.frontend.window", {"objective.kd_weight"}, False),
        ("model.config.channels", {"frontend"}, False),
        ("model.config.channels", {"student"}, True),
    ],
)
def test_a_front_end_may_differ_where_it_is_studied(name: str, studied: set[str], wanted: bool) -> None:
    assert is_studied(name, studied) == wanted
