from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distilvox.errors import UserError
from distilvox.teachers import load
from distilvox.teachers.heads import fit_head
from tests.test_train_runfolder import NAMES, change_weights, write_run


def test_a_run_teaches_with_its_own_weights_and_rows(tmp_path: Path) -> None:
    student = write_run(tmp_path / "run")
    teacher = load(f"run:{tmp_path / 'run'}")
    waves = torch.randn(2, 16_000) * 0.1
    with torch.no_grad():
        assert torch.equal(teacher.embed(waves), student(waves))
    assert (teacher.embedding_dim, teacher.sample_rate) == (12, 16_000)
    assert not any(parameter.requires_grad for parameter in teacher.train().parameters())
    assert not teacher.training
    head = teacher.head()
    assert head is not None
    assert head.names == tuple(NAMES)
    assert torch.equal(head.weight, load_file(tmp_path / "run" / "model.safetensors")["head.weight"])


def test_its_rows_go_by_name_to_another_corpus(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    teacher = load(f"run:{tmp_path / 'run'}")
    head = teacher.head()
    assert head is not None
    embeddings, labels = torch.randn(9, 12), torch.arange(3).repeat(3)
    found = fit_head(head, embeddings, labels, sorted(NAMES))
    expected = torch.nn.functional.normalize(head.weight, dim=-1)[[1, 2, 0]]
    torch.testing.assert_close(found.weight, expected)


def test_the_id_follows_the_student_not_the_head(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    uri = f"run:{tmp_path / 'run'}"
    first = load(uri).id
    change_weights(tmp_path / "run", **{"head.weight": torch.randn(3, 12)})
    assert load(uri).id == first
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    name = next(name for name in tensors if name.startswith("student.") and tensors[name].ndim > 1)
    change_weights(tmp_path / "run", **{name: tensors[name] + 1e-3})
    assert load(uri).id != first


def test_no_folder_is_named() -> None:
    with pytest.raises(UserError, match="needs its folder"):
        load("run:")
    with pytest.raises(UserError, match=r"(?s)no run folder here.*nowhere"):
        load("run:/nowhere")
