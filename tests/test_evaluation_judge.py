"""A judge is a trial list tied to its corpus: what it embeds, scores, saves and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge, load_scores, save_evaluation
from distilvox.files import read_json
from tests.making import make_corpus, make_trials


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("dev") / "dev", speakers=5, utterances=4)


@pytest.fixture(scope="module")
def judge(corpus: Corpus) -> Judge:
    return Judge.open(corpus, make_trials(corpus, corpus.path.parent / "trials.txt"))


def by_pitch(waves: Tensor) -> Tensor:
    """An embedding that knows the buzzing speakers: the spectrum below 500 Hz."""
    return torch.fft.rfft(waves[:, :8000]).abs()[:, :256].log1p()


def test_every_trial_finds_its_speakers(corpus: Corpus, judge: Judge) -> None:
    trials = judge.trials
    assert [corpus.utterances[row] for row in judge.rows] == list(trials.utterances)
    assert [name.split("/")[0] for name in trials.utterances] == judge.speakers.tolist()
    np.testing.assert_array_equal(judge.enrol_speaker == judge.test_speaker, trials.labels)


def test_embeddings_follow_the_trials_utterances(corpus: Corpus, judge: Judge) -> None:
    found = judge.embed(by_pitch)
    assert found.shape == (len(judge.trials.utterances), 256)
    for k in (0, len(found) - 1):
        wave = corpus.wave(corpus.index(judge.trials.utterances[k])).astype(np.float32) / 32768
        np.testing.assert_allclose(found[k], by_pitch(torch.from_numpy(wave)[None])[0].numpy(), rtol=1e-4)


def test_a_look_during_training_agrees_with_the_judgement(judge: Judge, rng: np.random.Generator) -> None:
    embeddings = judge.embed(by_pitch)
    judged = judge.judge(embeddings, replicates=50)
    assert judge.eer(embeddings) == judged.eer
    assert judged.trials == len(judge.trials.labels)
    noise = rng.standard_normal(embeddings.shape).astype(np.float32)
    assert judged.eer < judge.eer(noise)
    perfect = np.eye(5, dtype=np.float32)[np.unique(judge.speakers, return_inverse=True)[1]]
    assert judge.eer(perfect) == 0
    assert judge.eer(3 * embeddings) == judge.eer(embeddings)


def test_training_speakers_are_refused_by_name(judge: Judge) -> None:
    judge.refuse_training_speakers([])
    judge.refuse_training_speakers(["someone", "S1"])
    with pytest.raises(UserError, match=r"2 speakers of trials\.txt[\s\S]*s1, s3") as caught:
        judge.refuse_training_speakers(["s3", "someone", "s1"])
    assert "flatter" in str(caught.value)


def test_trials_of_another_corpus_are_refused(judge: Judge, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", speakers=2, utterances=2, prefix="o")
    with pytest.raises(UserError, match=r"s[0-4]/a/0[0-3]"):
        Judge(other, judge.trials)


def test_what_is_saved_comes_back(judge: Judge, tmp_path: Path) -> None:
    embeddings = judge.embed(by_pitch)
    judged = judge.judge(embeddings, replicates=50)
    save_evaluation(tmp_path, judged, judge, embeddings)
    saved = load_scores(tmp_path)
    np.testing.assert_allclose(saved.scores, judged.scores, atol=1e-6)
    np.testing.assert_array_equal(saved.labels, judge.trials.labels)
    np.testing.assert_array_equal(saved.enrol_speaker, judge.enrol_speaker)
    np.testing.assert_array_equal(saved.test_speaker, judge.test_speaker)
    assert saved.scores.dtype == np.float64
    assert read_json(tmp_path / "evaluation.json", noun="evaluation") == judged.to_json()
    assert saved.same_trials(saved)
    assert saved.same_trials(saved._replace(scores=-saved.scores))
    assert not saved.same_trials(saved._replace(labels=~saved.labels))
    assert not saved.same_trials(saved._replace(test_speaker=saved.test_speaker[::-1]))
    assert not saved.same_trials(saved._replace(labels=saved.labels[1:]))


def test_an_evaluation_is_there_only_when_its_scores_are(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = judge.embed(by_pitch)
    judged = judge.judge(embeddings, replicates=50)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        save_evaluation(tmp_path, judged, judge, embeddings)
    assert not list(tmp_path.iterdir())


def test_scores_that_are_lost_damaged_or_hold_code_are_named(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no scores here: .*npz does not exist"):
        load_scores(tmp_path)
    embeddings = judge.embed(by_pitch)
    save_evaluation(tmp_path, judge.judge(embeddings, replicates=50), judge, embeddings)
    path = tmp_path / "scores.npz"
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="these scores are damaged"):
            load_scores(tmp_path)
    held = dict(np.load(save_whole(path, whole)))
    for change in (
        {"scores": held["scores"][1:]},
        {"scores": np.array([object()], object)},
        {"enrol": held["enrol"] + 10_000},
    ):
        np.savez(path, **{**held, **change})
        with pytest.raises(UserError, match="these scores are damaged"):
            load_scores(tmp_path)


def save_whole(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
