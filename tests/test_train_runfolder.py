from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilvox import models
from distilvox.errors import UserError
from distilvox.files import write_json
from distilvox.models import Student
from distilvox.models.frontend import PRESETS
from distilvox.models.runfolder import (
    WEIGHTS,
    load_student,
    model_record,
    read_config,
    read_weights,
    save_tensors,
)
from tests.faults.table import fault

SMALL = {"channels": 16, "last_channels": 24, "hidden": 16, "embedding_dim": 12}
NAMES = ["zoe", "abe", "mia"]


def write_run(folder: Path) -> Student:
    """A run folder of a small model with random weights."""
    student = models.build("xvector-s", **SMALL).eval()
    config = {
        "version": 1,
        "model": model_record(student),
        "speakers": NAMES,
        "corpus": {"id": "c0ffee"},
    }
    folder.mkdir()
    write_json(folder / "config.json", config)
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors["head.weight"] = torch.randn(3, 12)
    save_file(tensors, folder / "model.safetensors")
    return student


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def change_config(run: Path, **changes: Any) -> None:
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(run: Path, **changes: torch.Tensor | None) -> None:
    tensors: dict[str, Any] = {**load_file(run / "model.safetensors"), **changes}
    save_file(
        {name: value for name, value in tensors.items() if value is not None}, run / "model.safetensors"
    )


def test_a_run_of_before_front_ends_were_recorded_has_wespeakers(run: Path) -> None:
    assert load_student(run).student.frontend.config == PRESETS["sherpa"]
    change_config(run, model={"name": "xvector-s", "config": SMALL})
    assert load_student(run).student.frontend.config == PRESETS["wespeaker"]


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run")
    student, config, head, names = load_student(tmp_path / "run")
    waves = torch.randn(2, 16_000) * 0.1
    assert torch.equal(student(waves), written(waves))
    assert not student.training
    assert config["corpus"] == {"id": "c0ffee"}
    assert names == tuple(NAMES)
    assert head.shape == (3, 12)
    assert torch.equal(head, load_file(tmp_path / "run" / "model.safetensors")["head.weight"])


def test_a_projection_beside_the_student_is_no_harm(run: Path) -> None:
    change_weights(run, **{"projection.weight": torch.zeros(4, 12)})
    assert load_student(run).names == tuple(NAMES)


def test_no_run_folder(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no run folder here.*nothing.*distilvox train"):
        load_student(tmp_path / "nothing")
    with pytest.raises(UserError, match="is a file"):
        load_student(run / "config.json")
    (run / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights here"):
        load_student(run)


def test_a_damaged_configuration(run: Path) -> None:
    (run / "config.json").write_text("[1]")
    with pytest.raises(UserError, match="holds no table"):
        read_config(run)
    (run / "config.json").write_text('{"version": 1')
    with pytest.raises(UserError, match="damaged"):
        read_config(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "another version"),
        ({"model": None}, "which model"),
        ({"model": {"name": "xvector-s"}}, "which model"),
        ({"model": {"name": 3, "config": {}}}, "which model"),
        ({"model": {"name": "xvectr", "config": {}}}, "did you mean 'xvector'"),
        ({"model": {"name": "xvector-s", "config": {"channel": 3}}}, "unknown option"),
        ({"speakers": []}, "training speakers"),
        ({"speakers": [1, 2, 3]}, "training speakers"),
        ({"speakers": ["zoe", "abe", "zoe"]}, "a speaker twice"),
        ({"speakers": ["zoe", "abe"]}, r"head\.weight has shape \[3, 12\], expected \[2, 12\]"),
    ],
)
def test_a_configuration_that_does_not_fit(run: Path, changes: dict[str, Any], message: str) -> None:
    change_config(run, **changes)
    with pytest.raises(UserError, match=message):
        load_student(run)


def test_damaged_weights(run: Path) -> None:
    path = run / "model.safetensors"
    whole = path.read_bytes()
    for broken in (b"", whole[:100], whole[:-7], b"\xff" * 50):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="weights are damaged"):
            load_student(run)


def test_tensors_that_do_not_fit_are_named(run: Path) -> None:
    name = next(name for name in load_file(run / "model.safetensors") if name.startswith("student."))
    change_weights(run, **{"head.weight": None, "student.extra": torch.zeros(2), name: torch.zeros(1, 1)})
    with pytest.raises(UserError) as caught:
        load_student(run)
    message = str(caught.value)
    assert "head.weight is missing" in message
    assert "student.extra is unexpected" in message
    assert f"{name} has shape [1, 1], expected" in message


def test_non_finite_tensors_are_named(run: Path) -> None:
    change_weights(run, **{"head.weight": torch.full((3, 12), float("nan"))})
    with pytest.raises(UserError, match=r"head\.weight holds NaN"):
        load_student(run)


def test_one_flipped_bit_of_the_weights_is_found(run: Path) -> None:
    """One that leaves every number finite; what others wrote has no checksum, and is read."""
    row = fault("a run's weights are damaged")
    path = run / WEIGHTS
    save_tensors(run, load_file(path))
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{row.sees}.*[\s\S]*stated in the file") as caught:
        load_student(run)
    assert caught.value.exit_code == row.exits
    data[-2] ^= 1
    path.write_bytes(data)
    tensors = read_weights(run)
    save_file(tensors, path)
    assert read_weights(run).keys() == tensors.keys()
