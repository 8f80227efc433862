"""Fields are set by name, checked for kind and range, and never ambiguous."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import jaxtyping
import pytest

from distilvox.errors import UserError
from distilvox.train.config import (
    FineTuneConfig,
    RunConfig,
    TargetConfig,
    TrainConfig,
    differences,
    full_name,
    replace_fields,
    to_json,
)
from distilvox.train.fields import QUALIFIED

LEAVES = [
    f"{part.name}.{leaf.name}"
    for part in dataclasses.fields(RunConfig)
    if dataclasses.is_dataclass(getattr(RunConfig(), part.name))
    for leaf in dataclasses.fields(getattr(RunConfig(), part.name))
]


def at(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("name", LEAVES)
def test_every_field_is_reached_by_its_full_name_and_takes_its_json(name: str) -> None:
    config = RunConfig()
    part, leaf = name.split(".")
    as_json = json.loads(json.dumps(to_json(config)))[part][leaf]
    assert full_name(config, name) == name
    assert replace_fields(config, {name: as_json}) == config
    assert type(at(replace_fields(config, {name: as_json}), name)) is type(at(config, name))
    if leaf != "seed" and part not in QUALIFIED:
        assert full_name(config, leaf) == name
    for wrong in (object(), {"a": 1}, "nonsense", math.nan, math.inf, b"x"):
        with pytest.raises(UserError):
            replace_fields(config, {name: wrong})


def test_replacing_moves_nothing_else_and_leaves_the_original_alone() -> None:
    config = RunConfig()
    changed = replace_fields(
        config, {"epochs": 3, "objective": "kld", "speeds": [1, 1.5], "student": "xvector"}
    )
    moved = differences(to_json(config), to_json(changed))
    assert moved == ["objective.objective", "student", "train.epochs", "views.speeds"]
    assert config == RunConfig()
    assert changed.views.speeds == (1.0, 1.5)
    assert replace_fields(config, {}) == config
    assert replace_fields(config, {"targets": None}).targets is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 1}, r"'seed' stands in 2 places[\s\S]*views\.seed, train\.seed"),
        ({"epcohs": 1}, r"unknown field of a run[\s\S]*did you mean 'epochs'"),
        ({"train.epcohs": 1}, "unknown field of a run"),
        ({"trian.epochs": 1}, "unknown field of a run"),
        ({"finetune.epcohs": 1}, r"unknown field of a run[\s\S]*did you mean 'finetune\.epochs'"),
        ({"finetune": 1}, "'finetune' is a table of fields"),
        ({"init": 1}, "'init' is of the wrong kind"),
        ({"epochs": 1, "train.epochs": 2}, r"set twice[\s\S]*epochs and train\.epochs"),
        ({"epochs": 2.5}, "'epochs' is of the wrong kind"),
        ({"epochs": True}, "'epochs' is of the wrong kind"),
        ({"learning_rate": "1e-3"}, "'learning_rate' is of the wrong kind"),
        ({"live": 1}, "'live' is of the wrong kind"),
        ({"live": "no"}, "'live' is of the wrong kind"),
        ({"snr_db": [1]}, "'snr_db' is of the wrong kind"),
        ({"targets": {"views": 2}}, "'targets' is a table of fields"),
        ({"targets": None, "views": 3}, "'views' is a table of fields"),
        ({"student": 3}, "'student' is of the wrong kind"),
        ({"student_options": [3]}, "'student_options' is of the wrong kind"),
        ({"precision": "fp16"}, r"unknown precision[\s\S]*auto, bf16, float32"),
        ({"sees": "vew"}, r"unknown sees[\s\S]*did you mean 'view'"),
        ({"objective": "nksd"}, r"unknown objective[\s\S]*did you mean 'nskd'"),
    ],
)
def test_what_cannot_be_set_says_why(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace_fields(RunConfig(), values)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TrainConfig, {"epochs": 0}, "at least one epoch"),
        (TrainConfig, {"batch_size": 1}, "needs a batch"),
        (TrainConfig, {"learning_rate": 0.0}, "must be positive"),
        (TrainConfig, {"learning_rate": math.nan}, "must be positive"),
        (TrainConfig, {"learning_rate": math.inf}, "learning_rate must be finite"),
        (TrainConfig, {"max_grad_norm": math.inf}, "max_grad_norm must be finite"),
        (TrainConfig, {"final_rate": 1.5}, "fraction of the peak"),
        (TrainConfig, {"warmup_epochs": -1.0}, "cannot be negative"),
        (TrainConfig, {"weight_decay": -1.0}, "cannot be negative"),
        (TrainConfig, {"seed": -1}, "out of range"),
        (TrainConfig, {"evaluate_epochs": 0}, "evaluate every"),
        (TrainConfig, {"checkpoint_steps": 0}, "checkpoint every"),
        (TrainConfig, {"threads": -1}, "cannot be negative"),
        (TrainConfig, {"precision": "fp16"}, "unknown precision"),
        (FineTuneConfig, {"epochs": -1}, "cannot be negative"),
        (FineTuneConfig, {"seconds": 0.0}, r"finetune\.seconds is out of range"),
        (FineTuneConfig, {"seconds": math.nan}, r"finetune\.seconds is out of range"),
        (FineTuneConfig, {"margin": 1.6}, r"finetune\.margin is out of range"),
        (FineTuneConfig, {"margin": -0.1}, r"finetune\.margin is out of range"),
        (FineTuneConfig, {"learning_rate": 0.0}, r"finetune\.learning_rate is out of range"),
        (FineTuneConfig, {"batch_size": 1}, "needs a batch, in fine-tuning too"),
        (TargetConfig, {"views": 0}, "at least one view"),
        (TargetConfig, {"sees": "views"}, "unknown sees"),
        (TargetConfig, {"head": "mean"}, r"unknown head[\s\S]*did you mean 'means'"),
    ],
)
def test_a_config_out_of_range_is_never_made(
    kind: type, values: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user: no checks but our own
    with pytest.raises(UserError, match=message):
        kind(**values)


def test_differences_laws() -> None:
    a = {"x": 1, "y": {"z": [1, 2], "w": None}, "n": None}
    b = {"x": 1, "y": {"z": [1, 3]}, "m": 0}
    assert differences(a, a) == []
    assert differences(a, b) == differences(b, a) == ["m", "y.z"]
    assert differences({"t": None}, {"t": {"id": 1}}) == ["t"]
    assert differences({}, {}) == []


def test_a_config_is_json_and_back() -> None:
    config = replace_fields(RunConfig(), {"student_options": {"channels": 3}, "targets": None})
    assert json.loads(json.dumps(to_json(config), allow_nan=False)) == to_json(config)
