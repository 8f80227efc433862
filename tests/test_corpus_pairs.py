"""Trial lists made from a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.pairs import draw_trials
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.trials import read_trials, resolve
from distilvox.errors import UserError


def make(path: Path, counts: dict[str, list[str]]) -> Corpus:
    """Speakers, each with the session of every utterance."""
    writer = CorpusWriter(path)
    for speaker, sessions in counts.items():
        for k, session in enumerate(sessions):
            writer.add(f"{speaker}/{session}/{k:02d}", speaker, session, np.full(8000, 100 + k, np.int16))
    return writer.finish()


def test_labels_are_true_pairs_differ_and_the_same_seed_writes_the_same_list(tmp_path: Path) -> None:
    corpus = make(tmp_path / "c", {f"s{k}": ["a", "a", "b", "b"] for k in range(8)})
    count = draw_trials(corpus, tmp_path / "t.txt", target=20, non_target=50, seed=3)
    trials = read_trials(tmp_path / "t.txt")
    rows = resolve(trials, corpus)
    who = corpus.labels[rows]
    assert count == len(trials) == 70
    assert trials.duplicates == 0
    np.testing.assert_array_equal(who[trials.enrol] == who[trials.test], trials.labels)
    draw_trials(corpus, tmp_path / "again.txt", target=20, non_target=50, seed=3)
    assert (tmp_path / "again.txt").read_bytes() == (tmp_path / "t.txt").read_bytes()
    draw_trials(corpus, tmp_path / "other.txt", target=20, non_target=50, seed=4)
    assert (tmp_path / "other.txt").read_bytes() != (tmp_path / "t.txt").read_bytes()


def test_targets_across_sessions_come_first(tmp_path: Path) -> None:
    corpus = make(tmp_path / "c", {f"s{k}": ["a", "a", "b", "b"] for k in range(5)})
    draw_trials(corpus, tmp_path / "t.txt", target=20, non_target=5)  # 5 speakers × 4 pairs across sessions
    trials = read_trials(tmp_path / "t.txt")
    for k in np.flatnonzero(trials.labels):
        enrol, test = (trials.utterances[side[k]].split("/")[1] for side in (trials.enrol, trials.test))
        assert enrol != test


def test_a_small_corpus_gives_what_it_has(tmp_path: Path) -> None:
    corpus = make(tmp_path / "c", {"s0": ["a", "a"], "s1": ["a"]})
    assert draw_trials(corpus, tmp_path / "t.txt") == 1 + 2


def test_errors(tmp_path: Path) -> None:
    alone = make(tmp_path / "one", {"s0": ["a", "a"]})
    with pytest.raises(UserError, match="trials need two speakers"):
        draw_trials(alone, tmp_path / "t.txt")
    single = make(tmp_path / "single", {"s0": ["a"], "s1": ["a"]})
    with pytest.raises(UserError, match="a speaker with two utterances"):
        draw_trials(single, tmp_path / "t.txt")
