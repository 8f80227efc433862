"""A recipe whose content is wrong: refused with a message that says where, however it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from distilvox.errors import UserError
from distilvox.study.recipe import Recipe, read_recipe
from tests.faults.mutations import mutations
from tests.faults.table import fault

RECIPE: dict[str, Any] = {
    "title": "t",
    "teacher": "ge2e:",
    "base": {
        "student_options": {"channels": 8, "last_channels": 12, "hidden": 8, "embedding_dim": 8},
        "epochs": 2, "views.seconds": 0.5, "speeds": [1.0, 1.1], "schedule": ["gamma=1:2@3"], "finetune.epochs": 0,
    },
    "grid": {"kd_scale": [8]},
    "methods": {"none": {"objective": "none"}, "nskd": {"objective": "nskd"}},
    "seeds": [0],
    "baseline": "none",
}  # fmt: skip


@pytest.fixture
def without_students(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every configuration is built, but not the network of each: that takes a while a thousand times."""
    monkeypatch.setattr("distilvox.study.recipe.make_student", lambda config: None)


def read(path: Path, text: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


@pytest.mark.usefixtures("without_students")
def test_a_wrong_type_is_an_error_that_says_where(tmp_path: Path) -> None:
    refused = 0
    for mutation in mutations(RECIPE):
        text = yaml.dump(mutation.value, Dumper=yaml.CSafeDumper)
        try:
            read(tmp_path / "recipe.yaml", text)
        except UserError as error:
            refused += 1
            assert error.exit_code == fault("a recipe of the wrong types").exits  # noqa: PT017
    assert refused > 400


REST = "teacher: x\nmethods: {a: {}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5_000 + "]" * 5_000, "this recipe is not YAML"),
        ("a: &a [*a]", "unknown key of a recipe"),
        (f"{REST}seeds: [0]\nbaseline: [a]", "unknown baseline"),
        (f"{REST}seeds: [99999999999999999999]\nbaseline: a", "'seed' is of the wrong kind"),
        (f"{REST}base: {{epochs: 1.0e+999}}\nseeds: [0]\nbaseline: a", "'epochs' is of the wrong kind"),
        (
            f"{REST}base: {{student_options: {{1: 2}}}}\nseeds: [0]\nbaseline: a",
            "'student_options' is of the wrong",
        ),
    ],
)
@pytest.mark.usefixtures("without_students")
def test_what_fell_once(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path / "recipe.yaml", text)
