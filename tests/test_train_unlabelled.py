"""Distillation on speech whose speakers nobody knows, whole and mixed with speech of known ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json
from distilvox.losses.config import ObjectiveConfig
from distilvox.models.runfolder import load_student
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from distilvox.train.loop import fit
from distilvox.train.runlog import read_log
from distilvox.train.unlabelled import learnt_from, recordings_of
from tests.making import make_corpus, make_trials, tiny_config

QUICK = {
    "epochs": 4,
    "learning_rate": 1e-2,
    "warmup_epochs": 0.0,
    "kd_warmup_epochs": 0.0,
    "checkpoint_steps": 1000,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train", speakers=4)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Teacher:
    config = tiny_config(targets=None, objective="none", epochs=20, learning_rate=1e-2, checkpoint_steps=1000)
    return load(f"run:{fit(config, corpus=corpus, out=tmp_path_factory.mktemp('t') / 'run', device='cpu')}")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("dev")
    dev = make_corpus(folder / "dev", speakers=3, utterances=4, seed=1, prefix="d")
    return Judge.open(dev, make_trials(dev, folder / "trials.txt"))


def falls(log: list[dict]) -> bool:
    """Whether the total of the last epoch lies below that of the first."""
    first, last = (np.mean([line["total"] for line in part]) for part in (log[:4], log[-4:]))
    return bool(last < first)


def hidden(corpus: Corpus, path: Path, speakers: int) -> Corpus:
    """The same utterances; of so many speakers nobody knows the name, and each has two recordings."""
    writer = CorpusWriter(path, unlabelled=True)
    for row, label in enumerate(corpus.labels.tolist()):
        name, session = ("", f"{label}-{row % 2}") if label < speakers else (corpus.speaker(row), "a")
        writer.add(corpus.utterances[row], name, session, corpus.wave(row))
    return writer.finish()


def test_a_student_learns_without_labels(
    tmp_path: Path, corpus: Corpus, teacher: Teacher, judge: Judge
) -> None:
    speech = hidden(corpus, tmp_path / "c", speakers=4)
    out = fit(
        tiny_config(**QUICK, objective="ukld+cosine"), corpus=speech, out=tmp_path / "run", teacher=teacher,
        judge=judge, device="cpu",
    )  # fmt: skip
    log = [line for line in read_log(out) if "total" in line]
    assert "ce" not in log[0]
    assert falls(log)
    record = read_json(out / "config.json", noun="run")
    assert (record["speakers"], record["corpus"]["without_speaker"]) == (None, len(speech))
    run = load_student(out)
    assert (run.names, tuple(run.head.shape)) == ((), (0, 8))
    assert not (out / "preflight.json").exists()
    again = load(f"run:{out}")
    assert again.embed(torch.zeros(1, 8000) + torch.randn(8000)).shape == (1, 8)


def test_mixed_speech_trains_and_resumes(tmp_path: Path, corpus: Corpus, teacher: Teacher) -> None:
    speech = hidden(corpus, tmp_path / "c", speakers=2)
    whole = tiny_config(**QUICK, objective="nskd+ukld")
    out = fit(whole, corpus=speech, out=tmp_path / "run", teacher=teacher, device="cpu")
    log = [line for line in read_log(out) if "total" in line]
    assert {"ce", "tskd", "nskd", "ukld"} < log[0].keys()
    assert falls(log)
    record = read_json(out / "config.json", noun="run")
    assert (len(record["speakers"]), record["corpus"]["without_speaker"]) == (2, 12)
    assert read_json(out / "preflight.json", noun="pre-flight")["speakers"] == 2
    assert fit(whole, corpus=speech, out=out, teacher=teacher, device="cpu", resume=True) == out


def test_what_learns_nothing_from_them_leaves_them_out(
    tmp_path: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = hidden(corpus, tmp_path / "c", speakers=2)
    said: list[str] = []
    for kind in ("none", "nskd", "trkd"):
        assert len(learnt_from(speech, ObjectiveConfig(kind), said.append)) == 12
    assert said[1] == "12 of 24 utterances have no speaker: the objective 'nskd' learns nothing from them"
    assert learnt_from(speech, ObjectiveConfig("nskd+ukld"), said.append) is speech
    assert learnt_from(corpus, ObjectiveConfig("none"), said.append) is corpus
    assert len(said) == 4


@pytest.mark.parametrize("kind", ["none", "nskd", "nskd+cosine"])
def test_without_any_label_an_objective_over_speakers_is_refused(
    tmp_path: Path, corpus: Corpus, teacher: Teacher, kind: str
) -> None:
    speech = hidden(corpus, tmp_path / "c", speakers=4)
    with pytest.raises(
        UserError, match=rf"has a speaker, and the objective '{kind}' needs them".replace("+", r"\+")
    ):
        fit(tiny_config(objective=kind), corpus=speech, out=tmp_path / "run", teacher=teacher, device="cpu")


def test_recordings_are_those_of_utterances_without_a_speaker(tmp_path: Path, corpus: Corpus) -> None:
    speech = hidden(corpus, tmp_path / "c", speakers=1)
    found = recordings_of(speech, ObjectiveConfig("ukld"), torch.device("cpu"))
    assert found is not None
    assert found.tolist() == [0, 1, 0, 1, 0, 1, *[-1] * 18]
    assert recordings_of(speech, ObjectiveConfig("cosine"), torch.device("cpu")) is None
    assert recordings_of(corpus, ObjectiveConfig("ukld"), torch.device("cpu")) is None
