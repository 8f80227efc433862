"""Class centres shared out over two processes: the training is that of whole heads, and what it leaves is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.objective import Objective
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import WEIGHTS
from distilvox.teachers import load
from distilvox.train import checkpoint
from distilvox.train.distributed import World
from distilvox.train.loop import fit
from distilvox.train.runlog import read_log
from distilvox.train.sharing import HeadShare
from tests.making import make_corpus, tiny_config

RANKS = """
import sys
from pathlib import Path
import torch.distributed as dist
from distilvox.corpus.store import Corpus
from distilvox.teachers import load
from distilvox.train import sharing
from distilvox.train.loop import fit
from tests.making import tiny_config
from tests.test_train_sharing import LONG
sharing.PIECE = 9  # one row at a time
corpus, teacher, root = map(Path, sys.argv[1:])
def run(name, shard, resume=False):
    config, speech, taught = tiny_config(**LONG, shard_head=shard), Corpus.open(corpus), load(f"run:{teacher}")
    fit(config, corpus=speech, out=root / name, teacher=taught, device="cpu", force=True, resume=resume)
dist.init_process_group("gloo")  # once for all three runs
run("whole", False)
run("sharded", True)
run("taken up", True, resume=True)
dist.destroy_process_group()
"""

LONG: dict[str, Any] = {
    "epochs": 1, "finetune.epochs": 1, "finetune.seconds": 0.6, "learning_rate": 1e-5, "finetune.learning_rate": 1e-5,
    "max_grad_norm": 0.5,
}  # fmt: skip
"""Five speakers for two processes, two stages, and gradients long enough to be clipped.

Slow: at 1e-3 ten steps make a difference of two per cent out of rounding, on some processors.
"""


def tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, by a path of names."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and name != "rng":
            found[name] = value
        elif isinstance(value, dict):
            found |= {f"{name}.{k}": v for k, v in tensors({str(k): v for k, v in value.items()}).items()}
    return found


def close(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Ten steps of AdamW make much of rounding where a gradient is all but zero: a bias before a batch norm."""
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].shape == value.shape, name
        within = (1e-4 if "head" in name else 1e-2) * float(value.abs().max())
        assert float((got[name] - value).abs().max()) <= within, name


def test_two_processes_share_out_the_centres(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", speakers=5)
    plain = tiny_config(epochs=1, objective="none", targets=None)
    teacher = fit(plain, corpus=corpus, out=tmp_path / "teacher", device="cpu")
    half = tmp_path / "taken up"
    taught = load(f"run:{teacher}")
    with pytest.MonkeyPatch.context() as patch:  # stops behind the third checkpoint, in the second stage
        patch.setattr("distilvox.train.loop.checkpoint.save", stopping(checkpoint.save, at=8))
        with pytest.raises(Stopped):
            fit(tiny_config(**LONG), corpus=corpus, out=half, teacher=taught, device="cpu", force=True)
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    done = subprocess.run(
        [*command, str(corpus.path), str(teacher), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    for one, other in zip(read_log(whole), read_log(sharded), strict=True):
        assert other["total"] == pytest.approx(one["total"], rel=1e-3)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-2)
        assert one["grad_norm"] > LONG["max_grad_norm"]
    close(load_file(sharded / WEIGHTS), load_file(whole / WEIGHTS))
    states = [checkpoint.load(folder, device=torch.device("cpu")) for folder in (sharded, whole)]
    assert states[0] is not None
    assert states[1] is not None
    close(tensors(states[0]), tensors(states[1]))

    # One process goes on with the checkpoint of two, at its end: it writes the same model again.
    before = load_file(sharded / WEIGHTS)
    (sharded / WEIGHTS).unlink()
    fit(
        tiny_config(**LONG), corpus=corpus, out=sharded, teacher=taught, device="cpu", force=True, resume=True
    )
    close(load_file(sharded / WEIGHTS), before)
    # Two went on with the checkpoint of one, and came to its end.
    assert [line["step"] for line in read_log(half)] == [line["step"] for line in read_log(whole)]
    assert load_file(half / WEIGHTS).keys() == before.keys()


class Stopped(Exception):
    """A kill, as far as a test is concerned."""


def stopping(save: Any, *, at: int) -> Any:
    def and_stop(folder: Path, **state: Any) -> None:
        save(folder, **state)
        if state["step"] == at:
            raise Stopped

    return and_stop


def test_alone_nothing_is_shared(tmp_path: Path) -> None:
    head = SpeakerHead(["a", "b", "c"], 4)
    objective = Objective(ObjectiveConfig("nskd"), head, teacher_centres=torch.randn(3, 5))
    weight = head.weight
    share = HeadShare(objective, World(), True)
    assert share.parallel(objective) is objective
    assert objective.head.weight is weight
    assert weight[share.held].shape == weight.shape
    optimiser = torch.optim.AdamW(objective.parameters())
    model, adam = share.states(objective, optimiser)
    assert model["head.weight"].data_ptr() == weight.data_ptr()
    share.load_optimiser(optimiser, adam)
    share.restore()
    assert objective.head.weight is weight


def test_an_objective_that_sorts_all_logits_is_refused() -> None:
    objective = Objective(
        ObjectiveConfig("trkd"), SpeakerHead(["a", "b"], 4), teacher_centres=torch.randn(2, 5)
    )
    with pytest.raises(UserError, match=r"cannot be shared out[\s\S]*masses[\s\S]*without --shard-head"):
        HeadShare(objective, World(0, 2), True)
