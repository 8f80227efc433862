"""The loop: it learns, resumes to the bit, survives kills and full disks, and refuses what it cannot use."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json
from distilvox.losses.config import KINDS, ObjectiveConfig
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.loop import fit
from distilvox.train.runlog import read_log
from tests.making import make_corpus, make_trials, tiny_config

PLAIN = {"targets": None, "objective": "none"}
"""Training without a teacher."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("dev")
    dev = make_corpus(folder / "dev", speakers=4, seed=1, prefix="d")
    return Judge.open(dev, make_trials(dev, folder / "trials.txt"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    """A run folder that can teach: trained on the same speakers."""
    config = tiny_config(**PLAIN, **{"epochs": 20, "learning_rate": 1e-2})
    return fit(config, corpus=corpus, out=tmp_path_factory.mktemp("teacher") / "run", device="cpu")


@pytest.fixture
def teacher(taught: Path) -> Teacher:
    return load(f"run:{taught}")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def assert_same_bits(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_training_lowers_the_loss_and_writes_a_whole_run_folder(taught: Path) -> None:
    lines = read_log(taught)
    assert [line["step"] for line in lines] == list(range(120))
    assert np.mean([line["ce"] for line in lines[-6:]]) < 0.7 * np.mean([line["ce"] for line in lines[6:12]])
    assert read_json(taught / "config.json", noun="run")["speakers"] == [f"s{k}" for k in range(6)]
    assert list((taught / "tensorboard").glob("events*"))


@pytest.mark.parametrize("objective", [*(name for name in KINDS if name != "none"), "nskd+ukld"])
def test_every_objective_trains_and_logs_its_parts(
    objective: str, corpus: Corpus, judge: Judge, teacher: Teacher, tmp_path: Path
) -> None:
    config = tiny_config(objective=objective)
    out = fit(
        config, corpus=corpus, out=tmp_path / "run", teacher=teacher, judge=judge, device="cpu", force=True
    )
    lines = [line for line in read_log(out) if "evaluation" not in line]
    assert set(ObjectiveConfig(objective).parts) <= set(lines[0])
    assert all(math.isfinite(value) for line in lines for value in line.values())
    judged = read_json(out / "evaluation.json", noun="evaluation")
    assert judged["trial_list"] == "trials.txt"
    assert judged["trials"] == len(judge.trials)
    assert 0 <= judged["eer"] <= 1
    assert judged["scores"] == "raw cosine"


def test_the_same_seed_gives_the_same_bits_and_another_does_not(corpus: Corpus, tmp_path: Path) -> None:
    config = tiny_config(**PLAIN)
    a, b = (fit(config, corpus=corpus, out=tmp_path / name, device="cpu") for name in "ab")
    assert_same_bits(a, b)
    other = tiny_config(**PLAIN, **{"train.seed": 1})
    c = fit(other, corpus=corpus, out=tmp_path / "c", device="cpu")
    assert not torch.equal(weights(a)["head.weight"], weights(c)["head.weight"])


KILLED = """
import sys
from pathlib import Path
from typing import Any
from distilvox.corpus.store import Corpus
from distilvox.teachers import load
from distilvox.train.loop import fit
from tests.making import tiny_config
corpus, teacher, out = map(Path, sys.argv[1:])
config = tiny_config(epochs=40, **{"objective.kd_centres": "teacher"})
fit(config, corpus=Corpus.open(corpus), out=out, teacher=load(f"run:{teacher}"), device="cpu", resume=True, force=True)
"""


def test_a_run_killed_at_random_and_resumed_equals_an_uninterrupted_one_to_the_bit(
    corpus: Corpus, taught: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    def start(out: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", KILLED, str(corpus.path), str(taught), str(out)]
        return subprocess.Popen(
            command, env=environment, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE
        )

    whole = start(tmp_path / "whole")
    killed = tmp_path / "killed"
    for _ in range(2):
        steps_before = _steps(killed)
        process = start(killed)
        while process.poll() is None and _steps(killed) <= steps_before + 20:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.3)))  # anywhere: in a step, in a checkpoint, in an evaluation
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was finished before it could be killed"
        process.communicate()
    assert not (killed / "model.safetensors").exists()
    last = start(killed)
    errors = [process.communicate()[1].decode() for process in (whole, last)]
    assert [whole.returncode, last.returncode] == [0, 0], errors
    assert "resumed at step" in errors[1]
    assert_same_bits(tmp_path / "whole", killed)
    steps = [line["step"] for line in read_log(killed)]
    assert steps == list(range(240))


def _steps(run: Path) -> int:
    return len(read_log(run))


def test_resuming_with_other_settings_names_them(corpus: Corpus, tmp_path: Path) -> None:
    out = fit(tiny_config(**PLAIN), corpus=corpus, out=tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="holds a run already"):
        fit(tiny_config(**PLAIN), corpus=corpus, out=out, device="cpu")
    changed = tiny_config(**PLAIN, learning_rate=0.1)
    with pytest.raises(UserError, match=r"changed: train\.learning_rate"):
        fit(changed, corpus=corpus, out=out, device="cpu", resume=True)
    before = weights(out)
    fit(tiny_config(**PLAIN), corpus=corpus, out=out, device="cpu", resume=True)
    assert torch.equal(before["head.weight"], weights(out)["head.weight"])


def test_a_folder_that_is_no_run_is_left_alone(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no run folder: it is left alone"):
        fit(tiny_config(**PLAIN), corpus=corpus, out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_one_speaker_is_refused(tmp_path: Path) -> None:
    alone = make_corpus(tmp_path / "one", speakers=1)
    with pytest.raises(UserError, match="cannot be trained on one speaker"):
        fit(tiny_config(**PLAIN), corpus=alone, out=tmp_path / "run")


def test_speakers_of_the_trials_must_not_be_trained_on(corpus: Corpus, tmp_path: Path) -> None:
    judge = Judge.open(corpus, make_trials(corpus, tmp_path / "trials.txt"))
    with pytest.raises(UserError, match="also in the training corpus: its EER would flatter"):
        fit(
            tiny_config(**PLAIN),
            corpus=corpus,
            out=tmp_path / "run",
            judge=judge,
        )


def test_a_distillation_without_a_teacher_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'nskd' needs a teacher"):
        fit(tiny_config(), corpus=corpus, out=tmp_path / "run", device="cpu")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distilvox.losses.objective import Objective

    true = Objective.forward

    def poisoned(
        self: Objective, *args: torch.Tensor, epoch: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        total, parts = true(self, *args, epoch=epoch)
        return (total * math.nan if epoch > 0.6 else total), parts

    monkeypatch.setattr(Objective, "forward", poisoned)
    with pytest.raises(UserError, match="the loss is not finite at step 4") as caught:
        fit(tiny_config(**PLAIN), corpus=corpus, out=tmp_path / "run", device="cpu")
    assert caught.value.exit_code == 1
    state = checkpoint.load(tmp_path / "run", device=torch.device("cpu"))
    assert state is not None
    assert state["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_live_and_cached_targets_train_alike(corpus: Corpus, teacher: Teacher, tmp_path: Path) -> None:
    lines = []
    for live in (False, True):
        config = tiny_config(
            **{"targets.sees": "view", "targets.views": 2, "targets.live": live, "learning_rate": 1e-4}
        )
        out = fit(config, corpus=corpus, out=tmp_path / f"{live}", teacher=teacher, device="cpu", force=True)
        lines.append([line["total"] for line in read_log(out)])
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-3)


RANKS = """
import sys
from pathlib import Path
from typing import Any
from distilvox.corpus.store import Corpus
from distilvox.teachers import load
from distilvox.train.loop import fit
from tests.making import tiny_config
corpus, teacher, out = map(Path, sys.argv[1:])
taught = load(f"run:{teacher}")
config = tiny_config(epochs=1, **{"finetune.epochs": 1, "finetune.seconds": 0.6})
fit(config, corpus=Corpus.open(corpus), out=out, teacher=taught, device="cpu", force=True)
"""


def test_two_processes_train_one_model(corpus: Corpus, taught: Path, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    root = Path(__file__).parents[1]
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
        [*command, str(corpus.path), str(taught), str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(12))
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs a small tmpfs, which root can mount"
)
def test_a_full_disk_during_a_checkpoint_is_named_and_loses_nothing(corpus: Corpus, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        config = tiny_config(**PLAIN, **{"epochs": 30})
        run = small / "run"
        filler = small / "filler"
        with pytest.raises(UserError, match="the disk is full") as caught:
            _fill_after_first_checkpoint(config, corpus, run, filler)
        assert caught.value.exit_code == 1
        state = checkpoint.load(run, device=torch.device("cpu"))
        assert state is not None
        assert state["step"] >= 2
        filler.unlink()
        assert not list(run.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        fit(config, corpus=corpus, out=run, device="cpu", resume=True)
        whole = fit(config, corpus=corpus, out=tmp_path / "whole", device="cpu")
        assert_same_bits(run, whole)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _fill_after_first_checkpoint(config: RunConfig, corpus: Corpus, run: Path, filler: Path) -> None:
    """Trains; once a checkpoint is there, what is left of the disk is filled but for a few bytes."""
    true = checkpoint.save

    def save(folder: Path, *, step: int, model: Mapping[str, Any], optimiser: Mapping[str, Any]) -> None:
        true(folder, step=step, model=model, optimiser=optimiser)
        if not filler.exists():
            with open(filler, "wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0" * 4096)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        fit(config, corpus=corpus, out=run, device="cpu")
