"""A checkpoint comes back to the bit, or says that it is damaged; it is never half there."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distilvox import files
from distilvox.errors import UserError
from distilvox.train import checkpoint

CPU = torch.device("cpu")


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    step(model, optimiser)
    return model, optimiser


def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    model(torch.randn(8, 20)).square().mean().backward()
    optimiser.step()


def test_going_on_from_a_checkpoint_is_going_on(tmp_path: Path) -> None:
    model, optimiser = trained()
    checkpoint.save(tmp_path, step=7, model=model.state_dict(), optimiser=optimiser.state_dict())
    for _ in range(3):
        step(model, optimiser)
    again, its_optimiser = trained()
    state = checkpoint.load(tmp_path, device=CPU)
    assert state is not None
    assert state["step"] == 7
    again.load_state_dict(state["model"])
    its_optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    for _ in range(3):
        step(again, its_optimiser)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "absent", device=CPU) is None


def test_the_newest_replaces_the_one_before(tmp_path: Path) -> None:
    model, optimiser = trained()
    for number in (1, 2):
        checkpoint.save(tmp_path, step=number, model=model.state_dict(), optimiser=optimiser.state_dict())
    state = checkpoint.load(tmp_path, device=CPU)
    assert state is not None
    assert state["step"] == 2
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["state.pt"]


def test_a_cut_or_flipped_checkpoint_is_never_taken_for_a_whole_one(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    model, optimiser = trained()
    checkpoint.save(tmp_path, step=7, model=model.state_dict(), optimiser=optimiser.state_dict())
    path = tmp_path / checkpoint.NAME
    whole = path.read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"this checkpoint is damaged: .*state\.pt[\s\S]*train again"):
            checkpoint.load(tmp_path, device=CPU)
    weight = model.state_dict()["0.weight"].numpy().tobytes()
    inside = whole.index(weight)
    for _ in range(20):
        flipped = bytearray(whole)
        flipped[inside + int(rng.integers(len(weight)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"damaged[\s\S]*checksum"):
            checkpoint.load(tmp_path, device=CPU)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return shutil.rmtree, (str(tmp_path),)

    (tmp_path / "checkpoint").mkdir()
    torch.save({"step": Harm()}, tmp_path / checkpoint.NAME)
    with pytest.raises(UserError, match="this checkpoint is damaged"):
        checkpoint.load(tmp_path, device=CPU)
    assert (tmp_path / checkpoint.NAME).exists()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimiser = trained()
    checkpoint.save(tmp_path, step=1, model=model.state_dict(), optimiser=optimiser.state_dict())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        checkpoint.save(tmp_path, step=2, model=model.state_dict(), optimiser=optimiser.state_dict())
    state = checkpoint.load(tmp_path, device=CPU)
    assert state is not None
    assert state["step"] == 1
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["state.pt"]
