"""What other libraries raise comes out in our words, without their advice and without a traceback."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch

from distilvox import cli
from distilvox.errors import UserError
from distilvox.files import sha256_file, write_text
from distilvox.seal import sealed
from distilvox.ship.runtime import Verifier
from distilvox.train import checkpoint
from tests.faults.table import fault
from tests.faults.test_cards import CARD
from tests.running import run


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nmore"),
    ],
)
def test_memory_that_cannot_be_had(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    row = fault("memory that cannot be had")
    monkeypatch.setattr(cli, "_print_verbs", fail)
    ran = run()
    assert ran.code == row.exits
    assert row.sees in ran.err
    assert "--batch-size" in ran.err
    assert "more" not in ran.err.partition("remedy")[0]


def test_other_errors_of_torch_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "_print_verbs", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run()


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run!",)


NONE = {"step": 1.0, "model": {}, "optimiser": {}, "rng": 0}


@pytest.mark.parametrize("content", [Code(), [1, 2], {"step": "3"}, NONE])
def test_a_checkpoint_that_asks_for_code(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = fault("a checkpoint that is none")
    (tmp_path / "checkpoint").mkdir()
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_module=pickle)
    (tmp_path / checkpoint.NAME).write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=row.sees) as caught:
        checkpoint.load(tmp_path, device=torch.device("cpu"))
    assert "weights_only" not in str(caught.value)
    assert caught.value.exit_code == row.exits
    assert capsys.readouterr().out == ""


def test_a_model_that_onnxruntime_refuses(tmp_path: Path) -> None:
    row = fault("a bundle that onnxruntime refuses")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    card = {**CARD, "files": {"model.onnx": {"sha256": sha256_file(tmp_path / "model.onnx")}}}
    (tmp_path / "card.json").write_text(json.dumps(sealed(card)))
    with pytest.raises(UserError, match=rf"onnxruntime [\d.]+ {row.sees}.*model\.onnx") as caught:
        Verifier.load(tmp_path)
    assert caught.value.exit_code == row.exits


def test_names_that_are_not_utf_8_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = b"a\xff.wav".decode("utf-8", "surrogateescape")
    write_text(tmp_path / "list.tsv", odd)
    assert (tmp_path / "list.tsv").read_text() == r"a\udcff.wav"
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(cli, "_print_verbs", lambda: print(odd, file=stream))
    monkeypatch.setattr(sys, "stdout", stream)
    cli.main([])
    stream.flush()
    assert stream.buffer.getvalue().strip() == rb"a\udcff.wav"
