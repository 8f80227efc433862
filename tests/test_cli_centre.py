"""`evaluate --centre-corpus`: another score under another name, from training speech alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distilvox.corpus.store import Corpus
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.norm import speaker_means
from distilvox.models.runfolder import load_student
from distilvox.teachers.vectors import training_mean
from tests.making import make_corpus, make_trials
from tests.running import refused, succeed
from tests.test_train_runfolder import write_run


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """Judges a run on four speakers; beside it lie `train`, of others, and what those words name."""
    write_run(tmp_path / "run")
    write_run(tmp_path / "other")
    dev = make_corpus(tmp_path / "dev", speakers=4, prefix="d")
    make_corpus(tmp_path / "train", speakers=3, utterances=3, seed=1)
    trials = make_trials(dev, tmp_path / "trials.txt")
    return ["--corpus", tmp_path / "dev", "--trials", trials, "--device", "cpu", "--replicates", 9, "--json"]


def test_the_training_mean_is_removed_and_the_score_says_so(words: list[object], tmp_path: Path) -> None:
    raw = json.loads(succeed("evaluate", tmp_path / "run", *words).out)
    train = tmp_path / "train"
    found = json.loads(succeed("evaluate", tmp_path / "run", *words, "--centre-corpus", train).out)
    as_uri = json.loads(succeed("evaluate", f"run:{tmp_path / 'run'}", *words, "--centre-corpus", train).out)
    student = load_student(tmp_path / "run", torch.device("cpu")).student
    judge = Judge.open(tmp_path / "dev", tmp_path / "trials.txt")
    speech = Corpus.open(train)
    with torch.no_grad():
        waves = [torch.from_numpy(speech.wave(k).copy())[None].float() / 32768 for k in range(len(speech))]
        mean = training_mean(torch.cat([student(wave) for wave in waves]).half().float()).numpy()  # as cached
    rows = judge.embed(student)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert found["eer"] == pytest.approx(judge.judge(rows, centre=mean, replicates=9).eer, abs=0.01)
    assert raw["eer"] == pytest.approx(judge.eer(rows))
    assert (raw["scores"], found["scores"]) == ("raw cosine", "cosine, training mean removed")
    assert {**as_uri, "model": ""} == {**found, "model": ""}
    assert found["eer_threshold"] != raw["eer_threshold"]
    caches = list((tmp_path / "train.cache").iterdir())
    assert [path.name.split("-")[1] for path in caches] == ["utterance"]


def test_of_an_ensemble_each_member_loses_its_own_mean(words: list[object], tmp_path: Path) -> None:
    uri = f"run:{tmp_path / 'run'},run:{tmp_path / 'other'}"
    found = json.loads(succeed("evaluate", uri, *words, "--centre-corpus", tmp_path / "train").out)
    assert found["scores"] == "cosine, training mean removed"
    assert len(list((tmp_path / "train.cache").iterdir())) == 2


def test_the_mean_may_not_come_from_the_trials_speakers(words: list[object], tmp_path: Path) -> None:
    message = refused(2, "evaluate", tmp_path / "run", *words, "--centre-corpus", tmp_path / "dev")
    assert "may not come from the speakers of trials.txt" in message
    assert "4 of them" in message


def test_a_cohort_normalises_the_scores_and_they_say_so(words: list[object], tmp_path: Path) -> None:
    train = tmp_path / "train"
    top = ["--cohort", train, "--cohort-top", 2]
    found = json.loads(succeed("evaluate", tmp_path / "run", *words, *top).out)
    student = load_student(tmp_path / "run", torch.device("cpu")).student
    judge = Judge.open(tmp_path / "dev", tmp_path / "trials.txt")
    speech = Corpus.open(train)
    with torch.no_grad():
        waves = [torch.from_numpy(speech.wave(k).copy())[None].float() / 32768 for k in range(len(speech))]
        cohort = speaker_means(torch.cat([student(wave) for wave in waves]).numpy(), speech.labels)
    expected = judge.judge(judge.embed(student), cohort=cohort, top=2, replicates=9)
    assert found["eer"] == pytest.approx(expected.eer, abs=0.01)
    assert found["scores"] == "raw cosine, AS-norm with the nearest 2 of 3 cohort speakers"
    both = json.loads(succeed("evaluate", tmp_path / "run", *words, *top, "--centre-corpus", train).out)
    assert both["scores"].startswith("cosine, training mean removed, AS-norm")
    assert "may not come from" in refused(
        2, "evaluate", tmp_path / "run", *words, "--cohort", tmp_path / "dev"
    )
    assert "top 300 of 3" in refused(2, "evaluate", tmp_path / "run", *words, "--cohort", train)
