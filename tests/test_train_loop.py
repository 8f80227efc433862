"""The loop: it learns, resumes to the bit, survives kills and full disks, and refuses what it cannot use."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json, write_json
from distilvox.losses.config import KINDS, ObjectiveConfig
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.loop import fit
from distilvox.train.runlog import read_log
from distilvox.train.step import train_step
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


def test_a_run_says_what_computed_it_and_goes_on_in_no_other_precision(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = fit(tiny_config(**PLAIN), corpus=corpus, out=tmp_path / "run", device="cpu")
    record = read_json(out / "config.json", noun="run")
    assert record["machine"] == {"device": "cpu", "precision": "float32", "processes": 1}
    with pytest.raises(UserError, match=r"another precision[\s\S]*got: +bf16[\s\S]*--precision float32"):
        fit(tiny_config(**PLAIN, precision="bf16"), corpus=corpus, out=out, device="cpu", resume=True)
    record["machine"] |= {"processes": 4, "device": "cuda"}
    write_json(out / "config.json", record)
    fit(tiny_config(**PLAIN), corpus=corpus, out=out, device="cpu", resume=True)
    said = capfd.readouterr().err
    assert "begun with processes 4, goes on with 1" in said
    assert "begun with device cuda, goes on with cpu" in said
    for late in ("machine", "stages", "trials_id"):  # as a run of an earlier version says
        del record[late]
    write_json(out / "config.json", record)
    fit(tiny_config(**PLAIN), corpus=corpus, out=out, device="cpu", resume=True)


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


FIFTY: dict[str, Any] = {
    "epochs": 12, "batch_size": 10, "checkpoint_steps": 7, "finetune.epochs": 7, "finetune.seconds": 0.6,
    "finetune.batch_size": 18, "learning_rate": 1e-6, "finetune.learning_rate": 1e-6,
}  # fmt: skip
"""50 steps in two stages, of batches that 4 processes cannot share evenly.

The rate is low because training is chaotic: at 3e-4, one process whose first weights are moved by 1e-7 of themselves is
1.5e-2 off within these 50 steps. Adam moves every weight by about the rate, and gradients are some 1,000 long: 50 such
steps still tell one gradient from another.
"""

ON = {"2": 2, "4": 4, "from 1 to 4": 4, "from 2 to 1": 2}
"""Run → on how many processes it is trained, or taken up, or begun."""


def ranks(rank: int, name: str, corpus: str, taught: str, out: str) -> None:
    """One of several processes that train one run; "from 2 to 1" ends in its middle."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ON[name])}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}.meet", rank=rank, world_size=ON[name])
    with pytest.MonkeyPatch.context() as patch, suppress(Stopped):
        if name == "from 2 to 1":
            patch.setattr("distilvox.train.loop.train_step", stopping(25))
        fit_fifty(Corpus.open(corpus), taught, out if rank == 0 else f"{out}-of-{rank}")  # no disk is shared
    dist.destroy_process_group()


class Stopped(Exception):
    """A kill, as far as a test is concerned."""


def stopping(after: int) -> Callable[..., Any]:
    steps = 0

    def step(*args: Any, **more: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > after:
            raise Stopped
        return train_step(*args, **more)

    return step


def fit_fifty(corpus: Corpus, taught: str | Path, out: str | Path) -> Path:
    config, teacher = tiny_config(**FIFTY), load(f"run:{taught}")
    return fit(config, corpus=corpus, out=Path(out), teacher=teacher, device="cpu", force=True, resume=True)


def test_any_number_of_processes_trains_the_same_model(corpus: Corpus, taught: Path, tmp_path: Path) -> None:
    alone = read_log(fit_fifty(corpus, taught, tmp_path / "alone"))
    assert [line["step"] for line in alone] == list(range(50))
    with pytest.MonkeyPatch.context() as patch, suppress(Stopped):
        patch.setattr("distilvox.train.loop.train_step", stopping(25))
        fit_fifty(corpus, taught, tmp_path / "from 1 to 4")
    get_context("forkserver").set_forkserver_preload([__name__])
    for name, count in ON.items():
        args = (name, str(corpus.path), str(taught), str(tmp_path / name))
        mp.start_processes(ranks, args=args, nprocs=count, start_method="forkserver")
    fit_fifty(corpus, taught, tmp_path / "from 2 to 1")
    for name in ON:
        lines = read_log(tmp_path / name)
        assert [line["step"] for line in lines] == list(range(50)), name
        for part in ("total", "ce", "nskd", "accuracy"):
            ours, truth = ([line[part] for line in log] for log in (lines, alone))
            np.testing.assert_allclose(ours, truth, rtol=1e-4, atol=1e-4, err_msg=f"{name} {part}")
        assert (tmp_path / name / "model.safetensors").exists()
        others = list(tmp_path.glob(f"{name}-of-*/*"))
        assert not [path for path in others if path.name != "tensorboard"], "the others write nothing"


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
