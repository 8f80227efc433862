"""Large-margin fine-tuning: the second stage is longer crops, a larger margin, no speed; the run stays one run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json, write_json
from distilvox.losses.objective import Objective
from distilvox.study.grid import run_folder, run_grid
from distilvox.study.recipe import read_recipe
from distilvox.study.terms import check_equal
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from distilvox.train.config import FineTuneConfig, RunConfig, replace_fields
from distilvox.train.loop import fit
from distilvox.train.runlog import read_log
from distilvox.train.stages import stages
from distilvox.train.step import Distiller
from distilvox.views.bank import synthetic_bank
from distilvox.views.batches import epoch_order
from tests.making import TINY, make_corpus, make_trials, tiny_config
from tests.running import TINY as OPTIONS
from tests.running import run, succeed

BANK = synthetic_bank(0, seconds=0.5)
PLAIN = {"targets": None, "objective": "none"}
TUNED = {
    "finetune.epochs": 1,
    "finetune.seconds": 0.75,
    "finetune.margin": 0.4,
    "finetune.learning_rate": 1e-3,
    "finetune.batch_size": 8,
}
STEPS, MORE = 8, 3
"""Steps of the two stages on the 24 utterances: two epochs of batches of 6, one of batches of 8."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train", speakers=4, utterances=6)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("dev")
    dev = make_corpus(folder / "dev", speakers=4, utterances=3, seed=1, prefix="d")
    return Judge.open(dev, make_trials(dev, folder / "trials.txt"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    return fit(
        tiny_config(**PLAIN),
        corpus=corpus,
        out=tmp_path_factory.mktemp("teacher") / "run",
        device="cpu",
        bank=BANK,
    )


@pytest.fixture
def teacher(taught: Path) -> Teacher:
    return load(f"run:{taught}")


# ---- the plan ------------------------------------------------------------------------------------------------


def test_without_epochs_there_is_no_second_stage() -> None:
    config = tiny_config(**{"finetune.seconds": 0.1, "finetune.margin": 0.0})
    (only,) = stages(config, 24)
    assert (only.views, only.objective, only.end_step) == (config.views, config.objective, STEPS)
    assert stages(tiny_config(**TUNED), 24)[0] == only


def test_the_second_stage_differs_in_what_is_asked_for_and_in_nothing_else() -> None:
    config = tiny_config(**TUNED, speed_is_new_speaker=True)
    first, second = stages(config, 24)
    assert second.views == replace(config.views, seconds=0.75, speeds=(1.0,), speed_is_new_speaker=False)
    assert second.objective == replace(
        config.objective, margin=0.4, margin_warmup_epochs=0.0, kd_warmup_epochs=0.0
    )
    assert (second.batch_size, second.epoch_steps) == (8, MORE)
    assert (second.first_epoch, second.first_step) == (first.end_epoch, first.end_step) == (2, STEPS)
    assert (second.end_epoch, second.end_step) == (3, STEPS + MORE)
    same = stages(replace_fields(config, {"finetune.batch_size": 0}), 24)[1]
    assert (same.batch_size, same.epoch_steps) == (6, 4)


def test_its_schedule_rises_to_its_own_peak_and_falls_to_its_own_end() -> None:
    config = tiny_config(**TUNED | {"finetune.epochs": 10, "finetune.learning_rate": 0.5})
    second = stages(config, 24)[1]
    rates = [second.rate(place) for place in range(second.steps)]
    assert max(rates) == 0.5
    assert rates.index(0.5) == second.warmup_steps - 1 == 2
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.5 * config.train.final_rate)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"finetune.seconds": 0.4},
            r"longer crops[\s\S]*finetune\.seconds 0\.4[\s\S]*0\.5, that of training",
        ),
        ({"finetune.margin": 0.1}, r"larger margin[\s\S]*finetune\.margin 0\.1[\s\S]*0\.2, that of training"),
        (
            {"finetune.batch_size": 9, "shard_head": True},
            r"share every batch equally[\s\S]*batches of 9, 2 processes",
        ),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stages(tiny_config(**TUNED | fields), 24, 2)


# ---- the run -------------------------------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "none": PLAIN,
    "utterance": {"objective": "nskd"},
    "view": {
        "objective": "nskd",
        "sees": "view",
        "targets.views": 2,
        "targets.head": "means",
        "speed_is_new_speaker": True,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_both_stages_train_and_both_are_judged(
    case: str,
    corpus: Corpus,
    judge: Judge,
    teacher: Teacher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    seen: list[tuple[int, Any, float]] = []
    centres: list[torch.Tensor] = []
    true = Distiller.forward

    def spying(self: Distiller, waves: torch.Tensor, labels: torch.Tensor, *rest: Any) -> Any:
        seen.append((waves.shape[1], labels.tolist(), self.objective.config.margin))
        held = self.objective.teacher_centres
        centres.append(torch.zeros(0) if held is None else held.clone())
        return true(self, waves, labels, *rest)

    monkeypatch.setattr(Distiller, "forward", spying)
    teacher.views = None  # it would say that it knows no speakers of other speeds
    config = tiny_config(**CASES[case], **TUNED)
    out = fit(
        config, corpus=corpus, out=tmp_path / "run", teacher=teacher, judge=judge, device="cpu", bank=BANK,
        cache=tmp_path / "cache", force=True,
    )  # fmt: skip
    assert [(length, margin) for length, _, margin in seen] == [(8000, 0.2)] * STEPS + [(12000, 0.4)] * MORE
    order = epoch_order(24, seed=0, epoch=2)
    assert [label for _, labels, _ in seen[STEPS:] for label in labels] == corpus.labels[order].tolist()
    if case == "view":
        assert max(label for _, labels, _ in seen[:STEPS] for label in labels) >= 4
        assert not torch.equal(centres[0][:4], centres[-1][:4])  # made from the longer crops
        assert torch.equal(centres[0][4:], centres[-1][4:])
    else:
        assert torch.equal(centres[0], centres[-1])

    lines = read_log(out)
    steps = [line for line in lines if "evaluation" not in line]
    assert [line["step"] for line in steps] == list(range(STEPS + MORE))
    assert [line["epoch"] for line in steps[STEPS:]] == [2.0, 2.3333, 2.6667]
    assert all(math.isfinite(value) for line in steps for value in line.values())
    assert {line["kd_weight"] for line in steps[STEPS:]} == {0.0 if case == "none" else 4.0}
    judged = {line["epoch"]: line["evaluation"]["eer"] for line in lines if "evaluation" in line}
    assert list(judged) == [2.0, 3.0]
    assert judged[3.0] == read_json(out / "evaluation.json", noun="evaluation")["eer"]
    words = " ".join(capfd.readouterr().err.split())
    assert f"EER {judged[3.0]:.2%} (" in words
    assert f"raw cosine; {judged[2.0]:.2%} after training" in words
    assert "fine-tuning: 3 steps an epoch on crops of 0.75 s, margin 0.4" in words

    record = read_json(out / "config.json", noun="run")
    assert FineTuneConfig(**{**record["finetune"], "schedule": ()}) == config.finetune
    assert len(record["speakers"]) == len(load_file(out / "model.safetensors")["head.weight"])
    caches = sorted(path.name for path in tmp_path.glob("cache*"))
    assert caches == {"none": [], "utterance": ["cache"], "view": ["cache", "cache-0.75s"]}[case]


def test_the_run_before_fine_tuning_is_the_run_without_it(corpus: Corpus, tmp_path: Path) -> None:
    plain, tuned = (
        fit(
            tiny_config(**PLAIN, **fields),
            corpus=corpus,
            out=tmp_path / f"{len(fields)}",
            device="cpu",
            bank=BANK,
        )
        for fields in ({}, TUNED)
    )
    assert read_log(tuned)[:STEPS] == read_log(plain)
    assert read_json(plain / "config.json", noun="run")["finetune"] is None
    before, after = (load_file(folder / "model.safetensors")["head.weight"] for folder in (plain, tuned))
    assert not torch.equal(before, after)


class Stopped(Exception):
    """What a test stops a run with."""


@pytest.mark.parametrize("at", [STEPS - 1, STEPS, STEPS + 2], ids=["before", "between", "within"])
def test_stopping_around_the_boundary_and_resuming_changes_no_bit(
    at: int, corpus: Corpus, judge: Judge, teacher: Teacher, whole: Path, tmp_path: Path
) -> None:
    true = Distiller.forward
    steps = 0

    def stopping(self: Distiller, *args: Any) -> Any:
        nonlocal steps
        if steps == at:
            raise Stopped
        steps += 1
        return true(self, *args)

    def go() -> Path:
        return fit(
            tiny_config(**CASES["view"], **TUNED), corpus=corpus, out=tmp_path / "run", teacher=teacher,
            judge=judge, device="cpu", bank=BANK, cache=tmp_path / "cache", resume=True, force=True,
        )  # fmt: skip

    teacher.views = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Distiller, "forward", stopping)
        with pytest.raises(Stopped):
            go()
    out = go()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, whole))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert read_log(out) == read_log(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, judge: Judge, taught: Path) -> Path:
    """The run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    teacher = load(f"run:{taught}")
    teacher.views = None
    return fit(
        tiny_config(**CASES["view"], **TUNED), corpus=corpus, out=folder / "run", teacher=teacher, judge=judge,
        device="cpu", bank=BANK, cache=folder / "cache", force=True,
    )  # fmt: skip


# ---- the study and the command line --------------------------------------------------------------------------


def test_a_study_compares_runs_with_and_without(
    corpus: Corpus, judge: Judge, taught: Path, tmp_path: Path
) -> None:
    base = {"init": f"run:{taught}", "objective": "none", "epochs": 1, "batch_size": 6, "views.seconds": 0.5}
    values: dict[str, Any] = {
        "teacher": f"run:{taught}",
        "base": {**base, "precision": "float32", "threads": 1},
        "methods": {"plain": {}, "tuned": {"finetune.epochs": 1, "finetune.seconds": 0.6}},
        "seeds": [0],
        "baseline": "plain",
    }
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(values))
    recipe = read_recipe(tmp_path / "tuning.yaml")
    plain, tuned = (recipe.config(method, 0) for method in ("plain", "tuned"))
    assert (plain.train.epochs, plain.finetune.epochs, tuned.finetune.epochs) == (1, 0, 1)
    make_trials(judge.corpus, tmp_path / "trials.txt")
    out = tmp_path / "out"
    for _ in range(2):  # the second time, they are finished and agree with the recipe
        run_grid(
            recipe, out, corpus=corpus.path, trials=tmp_path / "trials.txt", trials_corpus=judge.corpus.path,
            bank=lambda: BANK, device="cpu", say=lambda _: None,
        )  # fmt: skip
    check_equal(recipe, {method: [run_folder(out, method, 0)] for method in recipe.methods})
    assert len(read_log(run_folder(out, "tuned", 0))) == len(read_log(run_folder(out, "plain", 0))) + 4 + 1
    values["methods"]["tuned"]["finetune.margin"] = 0.1
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"in the method 'tuned' of the recipe: .*larger margin"):
        read_recipe(tmp_path / "tuning.yaml")


def test_a_bare_name_is_never_that_of_fine_tuning() -> None:
    config = replace_fields(RunConfig(student_options=TINY), {"epochs": 3, "margin": 0.3, "seconds": 1.0})
    assert (config.train.epochs, config.objective.margin, config.views.seconds) == (3, 0.3, 1.0)
    assert config.finetune == FineTuneConfig()


def test_the_command_line_starts_from_a_run_and_fine_tunes(
    corpus: Corpus, judge: Judge, taught: Path, tmp_path: Path
) -> None:
    trials = make_trials(judge.corpus, tmp_path / "trials.txt")
    ran = succeed(
        *(
            "train",
            "--corpus",
            corpus.path,
            "--out",
            tmp_path / "run",
            "--init",
            f"run:{taught}",
            "--epochs",
            1,
        ),
        *("--finetune.epochs", 1, "--finetune.seconds", 0.6, *OPTIONS),
        *("--trials", trials, "--trials-corpus", judge.corpus.path),
    )
    words = " ".join(ran.err.split())
    assert (
        f"starts from run:{taught}: its weights, and its class centres of 4 of 4 speakers, matched by name"
        in words
    )
    assert "% after training" in words
    for verb in ("train", "distil"):
        shown = run(verb, "--help").out
        for option in ("--init", *(f"--finetune.{name}" for name in ("epochs", "seconds", "margin"))):
            assert option in shown


def test_training_s_schedule_ends_where_fine_tuning_begins(corpus: Corpus, tmp_path: Path) -> None:
    """A margin that training's schedule moved is not that of fine-tuning: what is printed is what is trained."""
    moved = {"schedule": ("margin=0:0.2@2",), "margin_warmup_epochs": 0}
    seen: list[float] = []
    true = Objective.forward

    def spying(self: Objective, *args: Any, epoch: float) -> Any:
        seen.append(self.config.at(epoch).margin)
        return true(self, *args, epoch=epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "forward", spying)
        fit(
            tiny_config(**PLAIN, **TUNED, **moved), corpus=corpus, out=tmp_path / "a", device="cpu", bank=BANK
        )
    assert seen[:STEPS] == pytest.approx([0.1 * k / 4 for k in range(STEPS)])
    assert seen[STEPS:] == [0.4] * MORE
    own = tiny_config(
        **PLAIN, **TUNED, **moved, **{"finetune.schedule": ("margin=0.4:0.7@1", "cutoff=0.9:0.5@1")}
    )
    first, second = stages(own, 24)
    assert first.objective.schedule == moved["schedule"]
    assert [second.objective.at(second.own_epoch(k)).margin for k in range(MORE + 1)] == pytest.approx(
        [0.4, 0.5, 0.6, 0.7]
    )
    record = read_json(tmp_path / "a" / "config.json", noun="run")
    assert [stage["objective"]["margin"] for stage in record["stages"]] == [0.2, 0.4]
    assert [stage["objective"]["schedule"] for stage in record["stages"]] == [["margin=0:0.2@2"], []]


def test_a_run_of_a_version_whose_schedules_went_on_is_not_gone_on_with(
    corpus: Corpus, tmp_path: Path
) -> None:
    config = tiny_config(**PLAIN, **TUNED, schedule=("margin=0:0.2@2",))
    out = fit(config, corpus=corpus, out=tmp_path / "run", device="cpu", bank=BANK)
    fit(config, corpus=corpus, out=out, device="cpu", bank=BANK, resume=True)
    record = read_json(out / "config.json", noun="run")
    del record["stages"], record["finetune"]["schedule"]
    write_json(out / "config.json", record)
    with pytest.raises(UserError, match=r"schedules went on in fine-tuning[\s\S]*go on with that version"):
        fit(config, corpus=corpus, out=out, device="cpu", bank=BANK, resume=True)
    record["objective"]["schedule"] = []
    write_json(out / "config.json", record)
    still = tiny_config(**PLAIN, **TUNED)
    fit(still, corpus=corpus, out=out, device="cpu", bank=BANK, resume=True)  # nothing moved: nothing differs
