"""Checkpoints of Lightning: tensors come out whole, and whatever else a file asks for does nothing."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models.foreign import read_torch
from distilvox.models.lightning import Lightning, read_lightning
from tests.lightning_making import ASKED, save_as_lightning

STATE = {"resnet.a": torch.randn(3, 2), "resnet.b": torch.arange(4)}


def test_tensors_and_plain_settings_come_out_and_the_rest_is_named(tmp_path: Path) -> None:
    settings = {"sample_rate": 16_000, "window_type": "hamming", "dither": 0.0, "use_energy": False}
    path = save_as_lightning(tmp_path / "w.bin", STATE, settings)
    with pytest.raises(UserError, match="which is code"):
        read_torch(path, "it")
    found = read_lightning(path, "the checkpoint")
    assert list(found.tensors) == list(STATE)
    assert all(torch.equal(found.tensors[name], value) for name, value in STATE.items())
    assert found.settings == settings
    assert set(ASKED) <= set(found.skipped)
    assert not [name for name in sys.modules if name.startswith(("omegaconf", "pyannote"))]


class Call:
    """Unpickles into a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def attempt(path: Path) -> Lightning | str:
    """What is read, or the refusal."""
    try:
        return read_lightning(path, "the checkpoint")
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("place", ["beside", "inside", "settings"])
@pytest.mark.parametrize(
    "payload",
    [
        lambda mark: Call(os.system, f"mkdir '{mark}'"),
        lambda mark: Call(os.mkdir, mark),
        lambda mark: Call(builtins.exec, f"import os; os.mkdir({mark!r})"),
        lambda mark: Call(builtins.eval, f"__import__('os').mkdir({mark!r})"),
        lambda mark: Call(subprocess.check_call, ["mkdir", mark]),
        lambda mark: Call(Path.touch, Path(mark)),
        lambda mark: Call(builtins.getattr, Call(builtins.__import__, "os"), "mkdir"),
    ],
    ids=["system", "mkdir", "exec", "eval", "popen", "touch", "getattr"],
)
def test_hostile_files_execute_nothing(payload: Callable[[str], object], place: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    bad = payload(str(mark))
    content: dict[str, Any] = {"state_dict": dict(STATE), "hyper_parameters": {}}
    if place == "beside":
        content["callbacks"] = bad
    else:
        content["state_dict" if place == "inside" else "hyper_parameters"]["x"] = bad
    torch.save(content, tmp_path / "w.bin")
    assert not mark.exists()
    outcome = attempt(tmp_path / "w.bin")
    if isinstance(outcome, str):
        assert "cannot read the checkpoint" in outcome or "has no state_dict of tensors" in outcome
    else:
        assert place != "inside"
        assert outcome.skipped
        assert outcome.settings == {}
    assert not mark.exists()
    with pytest.raises(UserError):  # what was let through for one file is not let through for the next
        read_torch(tmp_path / "w.bin", "it")


def test_what_the_system_is_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "x": Call(os.system, "true")}, tmp_path / "w.bin")
    with pytest.raises(UserError, match=rf"it asks for {os.name}\.system, which is code"):
        read_lightning(tmp_path / "w.bin", "the checkpoint")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive at all"])
def test_damage_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the checkpoint: .*w\.bin"):
        read_lightning(tmp_path / "w.bin", "the checkpoint")


def test_an_archive_of_something_else_or_without_tensors_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.bin", "w") as archive:
        archive.writestr("a/data.txt", "x")
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        read_lightning(tmp_path / "z.bin", "the checkpoint")
    with pytest.raises(UserError, match="no such file"):
        read_lightning(tmp_path / "nowhere.bin", "the checkpoint")
    contents: list[Any] = [[1], {"state_dict": {}}, {"state_dict": {"a": 1}}, {"weights": STATE}]
    for content in contents:
        torch.save(content, tmp_path / "w.bin")
        with pytest.raises(UserError, match="has no state_dict of tensors"):
            read_lightning(tmp_path / "w.bin", "the checkpoint")
