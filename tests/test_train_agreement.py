"""Every judged distillation says how much of its teacher it took over; any model can be asked later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distilvox.evaluation.judge import Judge, agreement_of_run
from distilvox.files import read_json
from distilvox.models.runfolder import load_student
from distilvox.teachers import load
from distilvox.teachers.vectors import centred
from distilvox.train.loop import fit
from tests.making import make_corpus, make_trials, tiny_config
from tests.running import refused, succeed
from tests.test_train_runfolder import write_run


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    dev = make_corpus(tmp_path / "dev", speakers=4, seed=1, prefix="d")
    return Judge.open(dev, make_trials(dev, tmp_path / "trials.txt"))


def test_a_distillation_ends_with_its_agreement(
    judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "teacher")
    corpus = make_corpus(tmp_path / "train", speakers=3, utterances=3)
    teacher = load(f"run:{tmp_path / 'teacher'}")
    found = {}
    for centre in ("yes", "no"):
        config = tiny_config(objective="cosine", epochs=1, **{"targets.centre": centre})
        run = fit(
            config,
            corpus=corpus,
            out=tmp_path / centre,
            teacher=teacher,
            judge=judge,
            device="cpu",
            force=True,
        )
        found[centre] = read_json(run / "evaluation.json", noun="evaluation")["agreement"]
    plain = judge.embed(teacher.embed)  # the cache holds them in float16
    assert found["no"] == pytest.approx(agreement_of_run(tmp_path / "no", plain).to_json(), abs=0.05)
    assert found["yes"] != pytest.approx(found["no"], abs=0.1)
    assert f"{tmp_path / 'no'}: agreement with the teacher: cosine" in capsys.readouterr().err


def test_without_a_teacher_there_is_none(judge: Judge, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "train", speakers=3, utterances=3)
    config = tiny_config(objective="none", targets=None, epochs=1)
    run = fit(config, corpus=corpus, out=tmp_path / "run", judge=judge, device="cpu")
    assert "agreement" not in read_json(run / "evaluation.json", noun="evaluation")


def test_evaluate_compares_any_model_with_a_teacher(judge: Judge, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path / "other")
    words = [
        "--corpus",
        tmp_path / "dev",
        "--trials",
        tmp_path / "trials.txt",
        "--device",
        "cpu",
        "--replicates",
        9,
    ]
    command = ["evaluate", tmp_path / "run", *words]
    uri = f"run:{tmp_path / 'other'}"
    found = json.loads(succeed(*command, "--teacher", uri, "--json").out)
    models = [load_student(tmp_path / name, torch.device("cpu")).student for name in ("run", "other")]
    embeddings = [judge.embed(model) for model in models]
    assert found["teacher"] == uri
    assert found["agreement"] == pytest.approx(judge.agreement(*embeddings).to_json())
    itself = json.loads(succeed(*command, "--teacher", tmp_path / "run", "--json").out)["agreement"]
    assert itself["rank_correlation"] == pytest.approx(1)
    assert itself["neighbours"] == 1
    alone = json.loads(succeed(*command, "--json").out)
    assert {**alone, "teacher": uri, "agreement": found["agreement"]} == found

    line = next(line for line in succeed(*command, "--teacher", uri).out.splitlines() if "agreement" in line)
    assert f"with {uri}: cosine {found['agreement']['cosine']:.3f} once aligned" in line
    assert f"rank correlation {found['agreement']['rank_correlation']:.3f}" in line

    make_corpus(tmp_path / "train", speakers=3, utterances=3, seed=1)
    both = json.loads(
        succeed(*command, "--teacher", uri, "--centre-corpus", tmp_path / "train", "--json").out
    )
    means = [centred(torch.from_numpy(rows), None).numpy() for rows in embeddings]
    assert both["agreement"] != pytest.approx(judge.agreement(*means).to_json())
    assert "no model here: nobody" in refused(2, *command, "--teacher", "nobody")
