"""8 bits against float32 on the same trials: a loss is named, and ships by force alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.embed import one_by_one
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.metrics import eer
from distilvox.evaluation.score import cosine_scores
from distilvox.ship.lowered import MOST_FLIPS, check, compare, faults
from distilvox.ship.readme import lowered_line
from tests.making import make_corpus, make_trials


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    home = tmp_path_factory.mktemp("lowered")
    corpus = make_corpus(home / "dev", speakers=8, utterances=5)
    return Judge.open(corpus, make_trials(corpus, home / "trials.txt"))


@pytest.fixture
def full(judge: Judge, rng: np.random.Generator) -> np.ndarray:
    """Embeddings [U, 16] of which some trials go wrong."""
    names, number = np.unique(judge.speakers, return_inverse=True)
    return rng.standard_normal((len(names), 16))[number] + 1.1 * rng.standard_normal((len(judge.rows), 16))


def test_equal_embeddings_lose_nothing(judge: Judge, full: np.ndarray) -> None:
    found = compare(full, 4 * full, judge, None)  # a cosine knows no length
    assert found["eer"]["float32"] == found["eer"]["int8"] > 0
    assert found["relative"] == {"growth": 0, "low": 0, "high": 0}
    assert [found["flips"][name]["share"] for name in MOST_FLIPS] == [0, 0]
    assert found["min_dcf"]["float32"] == found["min_dcf"]["int8"]
    assert (found["trials"], found["speakers"]) == (len(judge.trials.labels), 8)
    assert faults(found) == []
    assert check(found, force=False) == ""


def test_figures_are_those_of_the_scores(judge: Judge, full: np.ndarray, rng: np.random.Generator) -> None:
    lowered = full + 0.8 * rng.standard_normal(full.shape)
    found = compare(full, lowered, judge, 0.3)
    one, two = (cosine_scores(each, judge.trials.enrol, judge.trials.test) for each in (full, lowered))
    labels = judge.trials.labels
    assert found["eer"] == {"float32": eer(one, labels), "int8": eer(two, labels)}
    turned = (one > 0.3) != (two > 0.3)
    for name, rows in (("target", labels), ("non_target", ~labels)):
        flips = found["flips"][name]
        assert flips["share"] == pytest.approx(turned[rows].mean())
        assert flips["low"] <= flips["share"] <= flips["high"]
    assert found["relative"]["low"] <= found["relative"]["growth"] <= found["relative"]["high"]


def test_a_loss_is_refused_or_forced(judge: Judge, full: np.ndarray, rng: np.random.Generator) -> None:
    found = compare(full, rng.standard_normal(full.shape), judge, None)
    with pytest.raises(UserError, match="no bundle was written") as no:
        check(found, force=False)
    assert "at most 3% more" in str(no.value)
    assert "of the decisions on target trials are others, at most 3.0%" in str(no.value)
    assert "--force" in str(no.value)
    assert no.value.exit_code == 1
    assert check(found, force=True).startswith("shipped by force: an EER of ")
    assert "decisions turned at the threshold" in lowered_line(found)


def test_a_model_without_errors_may_make_none(judge: Judge) -> None:
    names, number = np.unique(judge.speakers, return_inverse=True)
    perfect = np.eye(len(names))[number]
    found = compare(perfect, perfect, judge, None)
    assert found["relative"]["growth"] is None
    assert faults(found) == []
    assert "EER 0 % instead of 0 %" in lowered_line(found)


def test_embeddings_are_of_the_trials_utterances(judge: Judge, tmp_path: Path) -> None:
    found = judge.embed(one_by_one(lambda wave: np.array([len(wave), np.abs(wave).max()])))
    np.testing.assert_array_equal(found[:, 0], judge.corpus.samples[judge.rows])
    assert found[:, 1].max() <= 1
