"""A teacher under the other window, judged on the same trials: said only where it is no noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distilvox.corpus.store import Corpus
from distilvox.evaluation.judge import Judge
from distilvox.models import build
from distilvox.models.frontend import PRESETS, FrontEnd
from distilvox.teachers import load
from distilvox.teachers.base import freeze
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.inspect import inspect
from distilvox.teachers.run import RunTeacher
from distilvox.teachers.taught import Taught
from distilvox.teachers.window import OtherWindow, compare_windows, twin
from distilvox.train.distributed import World
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig
from tests.making import TINY, make_corpus, make_trials


def teacher_of(front: FrontEnd) -> RunTeacher:
    torch.manual_seed(0)
    student = build("xvector-s", front, **TINY).eval()
    made = RunTeacher(student, torch.empty(0, 8), (), uri="toy:", sample_rate=16_000, views=None)
    assert freeze(made, "cpu") is made
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "all", speakers=12, utterances=5)


@pytest.fixture(scope="module")
def judge(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.open(corpus, make_trials(corpus, tmp_path_factory.mktemp("trials") / "trials.txt"))


def test_the_twin_has_the_same_weights_under_the_other_window() -> None:
    for window, other in (("hamming", "povey"), ("povey", "hamming")):
        teacher = teacher_of(FrontEnd(window=window, scale=1.0))
        made = twin(teacher)
        assert made is not None
        found, names = made
        assert names == (window, other)
        assert found.frontend == FrontEnd(window=other, scale=1.0)
        waves = 0.1 * torch.randn(1, 8_000)
        assert torch.equal(found.embed(waves), teacher_of(FrontEnd(window=other, scale=1.0)).embed(waves))
        assert found.id == teacher_of(FrontEnd(window=other, scale=1.0)).id != teacher.id
    assert twin(teacher_of(FrontEnd(window="hann"))) is None
    assert twin(load("ge2e:")) is None  # its features are its own


def voices(judge: Judge, rng: np.random.Generator, spread: float) -> np.ndarray:
    """Embeddings [U, 16] around a direction for each speaker."""
    _, label = np.unique(judge.speakers, return_inverse=True)
    directions = rng.standard_normal((label.max() + 1, 16))
    return directions[label] + spread * rng.standard_normal((len(label), 16))


def test_only_what_is_clearly_better_is_said(judge: Judge, rng: np.random.Generator) -> None:
    good, bad = voices(judge, rng, 0.3), voices(judge, rng, 3.0)
    better = compare_windows(("hamming", "povey"), bad, good, judge)
    assert better.clearly_better
    assert better.other_eer == judge.eer(good) < better.eer == judge.eer(bad)
    sentence = better.advice()
    assert sentence is not None
    for words in ("under a povey window", "its hamming window", f"{better.eer:.2%}", "?window=povey"):
        assert words in sentence
    worse = compare_windows(("hamming", "povey"), good, bad, judge)
    assert (worse.clearly_better, worse.advice(), worse.low) == (False, None, None)
    same = compare_windows(("hamming", "povey"), bad, bad, judge)
    assert (same.clearly_better, same.advice()) == (False, None)


def test_what_may_be_noise_is_not_said() -> None:
    assert not OtherWindow("hamming", "povey", 0.030, 0.028, -0.005, 0.001).clearly_better
    assert OtherWindow("hamming", "povey", 0.030, 0.020, -0.015, -0.004).clearly_better


def test_the_pre_flight_looks_where_trials_are_given(corpus: Corpus, judge: Judge, tmp_path: Path) -> None:
    teacher = teacher_of(PRESETS["wespeaker"])
    taught = Taught.open(
        teacher, corpus, config=TargetConfig(sees="utterance"), views=ViewConfig(), bank=Bank(),
        device=torch.device("cpu"), ranks=World(), cache=tmp_path / "cache",
    )  # fmt: skip
    found = inspect(taught, scale=16.0, judge=judge)
    assert found is not None
    made = twin(teacher)
    assert made is not None
    assert found.window is not None
    other = judge.eer(judge.embed(made[0].embed))
    assert found.window.other_eer == pytest.approx(other, abs=0.02)  # the cache holds float16
    assert found.to_json()["window"]["other"] == "povey"
    without = inspect(taught, scale=16.0)
    assert without is not None
    assert without.window is None
