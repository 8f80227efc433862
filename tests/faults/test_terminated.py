"""SIGTERM while a model trains: no step is lost, and people are told how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distilvox.train import checkpoint
from tests.faults.place import Place, placed
from tests.faults.table import fault
from tests.running import TINY, refused, succeed

TRAIN = ["--corpus", "{corpus}", "--out", "{out}", *TINY, "--checkpoint-steps", "4", "--epochs", "8"]
STEPS = 48


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return placed(tmp_path_factory)


def steps_done(out: Path) -> int:
    state = checkpoint.load(out, device=torch.device("cpu"))
    return int(state["step"]) if state else 0


def terminate_once_begun(out: Path, process: int) -> None:
    """Sends SIGTERM when the first checkpoint is there."""
    end = time.monotonic() + 120
    while not (out / checkpoint.NAME).exists() and time.monotonic() < end:
        time.sleep(0.001)
    os.kill(process, signal.SIGTERM)


def test_a_terminated_training_goes_on_to_the_same_bits(place: Place, tmp_path: Path) -> None:
    row = fault("a scheduler ends a training")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    succeed("train", *place.words(TRAIN, out=whole))
    thread = threading.Thread(target=terminate_once_begun, args=(stopped, os.getpid()))
    thread.start()
    message = refused(143, "train", *place.words(TRAIN, out=stopped))
    thread.join()
    done = steps_done(stopped)
    assert 4 <= done < STEPS
    assert f"{stopped} keeps all {done} steps that are done: {row.sees}" in message
    succeed("train", *place.words(TRAIN, out=stopped), "--resume")
    one, other = (load_file(path / "model.safetensors") for path in (whole, stopped))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_all_processes_of_a_group_stop_after_one_step(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "distilvox.train.torchrun", "--nproc-per-node", "2", "--master-port", "0"]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "distilvox", "train"]
    words += [*place.words(TRAIN, out=out), "--epochs", "4000"]
    home = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as group:
        terminate_once_begun(out, group.pid)
        _, said = group.communicate(timeout=120)
    row = fault("a scheduler ends a group of processes")
    assert group.returncode == 143 == row.exits
    assert said.count(row.sees) == 1
    assert f"keeps all {steps_done(out)} steps that are done" in said
    assert "Traceback" not in said
