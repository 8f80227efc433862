"""Foreign weights files: every kind of damage is named, and nothing in a file is ever run."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distilvox.errors import UserError
from distilvox.models.foreign import read_torch, shared_prefix

STATE = OrderedDict(b=torch.randn(3, 2), a=torch.tensor(7), half=torch.zeros(0, dtype=torch.float16))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_torch(path, "the test weights", remedy="fetch it again")
    message = str(caught.value)
    assert "the test weights" in message
    assert str(path) in message
    assert "fetch it again" in message
    return message


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state"])
def test_tensors_come_back_by_name_in_order(tmp_path: Path, nest: str | None, new_format: bool) -> None:
    content = STATE if nest is None else {"epoch": 3, "cfg": {"lr": 0.1}, nest: STATE}
    path = tmp_path / "w.pt"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    found = read_torch(path, "the test weights")
    assert list(found) == list(STATE)
    assert all(found[name].dtype == value.dtype for name, value in STATE.items())
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_parameters_come_back_without_a_graph(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"weight": nn.Parameter(torch.ones(2))}, path)
    assert not read_torch(path, "the test weights")["weight"].requires_grad


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["module.a.w", "module.b.w"], "module."),
        (["module._orig_mod.a.w", "module._orig_mod.a.b"], "module._orig_mod.a."),
        (["module.a", "b"], ""),
        (["module.a"], ""),
        (["a.w", "ab.w"], ""),
        (["a", "a.b"], ""),
        ([], ""),
    ],
)
def test_a_shared_prefix_ends_at_a_dot_and_leaves_every_name_a_part(names: list[str], prefix: str) -> None:
    assert shared_prefix(names) == prefix


class Mischief:
    """Unpickles into a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("new_format", [True, False])
def test_code_is_named_and_not_run(tmp_path: Path, new_format: bool) -> None:
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    content = {"a": torch.zeros(2), "b": Mischief(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert f"it asks for {os.name}.mkdir, which is code" in refusal(path)
    assert not mark.exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, new_format: bool, kept: float) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(10_000)}, path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "the file is cut short" in refusal(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"not a checkpoint at all", "not a file that torch.save wrote"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a file that torch.save wrote"),
        (b"\x80\x02}q\x00.", "not a file that torch.save wrote"),
        (b"\x80\x04K\x01.", "not a file that torch.save wrote"),
        ("é".encode() * 50, "not a file that torch.save wrote"),
        (bytes(range(256)) * 4, "not a file that torch.save wrote"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    assert why in refusal(path)


def test_an_archive_of_another_kind_a_folder_and_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("a/b.txt", "text")
    assert "not a file that torch.save wrote" in refusal(tmp_path / "w.pt")
    assert "it is a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (torch.zeros(3), "a Tensor"),
        ([1, 2], "a list"),
        ({}, "a table of nothing"),
        ({"epoch": 3, "model": {"lr": 0.1}}, "'epoch' (int), 'model' (dict)"),
        ({3: torch.zeros(1)}, "3 (Tensor)"),
        ({"a": torch.zeros(1), "epoch": 3}, "'epoch' (int)"),
    ],
)
def test_a_file_without_tensors_by_name_shows_what_it_holds(
    tmp_path: Path, content: object, shown: str
) -> None:
    torch.save(content, tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert "holds no tensors by name" in message
    assert shown in message
