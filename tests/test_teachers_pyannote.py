"""`pyannote:`: a checkpoint of pyannote.audio teaches, and what it carries besides is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.teachers import load
from tests.lightning_making import save_as_lightning


def test_a_folder_teaches_as_the_file_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = build("resnet34", blocks=(1, 1, 1, 1), channels=4, embedding_dim=6).backbone
    state = {f"resnet.{name}": value for name, value in backbone.state_dict().items()}
    path = save_as_lightning(tmp_path / "pytorch_model.bin", state, {})
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    teacher, same = load(f"pyannote:{tmp_path}"), load(f"pyannote:{path}")
    assert (
        "skipped what is pickled beside the tensors: omegaconf.dictconfig.DictConfig"
        in capsys.readouterr().err
    )
    waves = torch.randn(2, 16_000) * 0.1
    assert torch.equal(teacher.embed(waves), same.embed(waves))
    assert teacher.id == same.id
    assert (teacher.embedding_dim, teacher.sample_rate, teacher.licence) == (6, 16_000, "cc-by-4.0")
    assert teacher.head() is None
    assert teacher.unnamed_head() is None


def test_nothing_behind_the_colon_and_no_such_path() -> None:
    with pytest.raises(UserError, match="a pyannote teacher needs its file or folder"):
        load("pyannote:")
    with pytest.raises(UserError, match=r"(?s)no such file or folder for pyannote:.*/nowhere"):
        load("pyannote:/nowhere")
