"""Trial lists made from a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.pairs import Drawn, draw_trials
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
    drawn = draw_trials(corpus, tmp_path / "t.txt", target=20, non_target=50, seed=3)
    trials = read_trials(tmp_path / "t.txt")
    rows = resolve(trials, corpus)
    who = corpus.labels[rows]
    assert drawn == Drawn(trials=70, targets=20, one_session=0, speakers=8)
    assert len(trials) == 70
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
    assert draw_trials(corpus, tmp_path / "t.txt") == Drawn(trials=3, targets=1, one_session=1, speakers=1)


def test_a_speaker_of_many_utterances_weighs_as_much_as_one_of_few(tmp_path: Path) -> None:
    few = {f"s{k:02d}": ["a", "a", "b", "b"] for k in range(50)}
    corpus = make(tmp_path / "c", {"rich": ["a"] * 60 + ["b"] * 40, **few})
    drawn = draw_trials(corpus, tmp_path / "t.txt", target=204, non_target=2_000)
    trials = read_trials(tmp_path / "t.txt")
    who = corpus.labels[resolve(trials, corpus)]
    rich = corpus.speakers.index("rich")
    of_targets = np.bincount(who[trials.enrol[trials.labels]])
    assert (of_targets == 4).all()
    assert drawn.one_session == 0
    others = np.concatenate([who[side[~trials.labels]] for side in (trials.enrol, trials.test)])
    assert np.bincount(others)[rich] / len(others) < 2 / 51


def test_sessions_are_drawn_alike(tmp_path: Path) -> None:
    corpus = make(tmp_path / "c", {f"s{k}": ["long"] * 95 + ["b"] * 5 for k in range(2)})
    draw_trials(corpus, tmp_path / "t.txt", target=1, non_target=300)
    trials = read_trials(tmp_path / "t.txt")
    sides = [trials.utterances[k] for side in (trials.enrol, trials.test) for k in side[~trials.labels]]
    share = np.mean(["/long/" in name for name in sides])
    assert 0.5 < share < 0.7  # 95 % of the utterances; the 25 pairs of the short sessions are soon all taken


def with_columns(path: Path, rows: list[tuple[str, str, str]]) -> Corpus:
    writer = CorpusWriter(path)
    for k, (speaker, gender, language) in enumerate(rows):
        wave = np.full(8000, 100 + k, np.int16)
        writer.add(f"{speaker}/{k:02d}", speaker, "-", wave, gender=gender, language=language)
    return writer.finish()


def test_speakers_of_different_speaker_trials_share_the_columns_that_are_matched(tmp_path: Path) -> None:
    rows = [(f"s{k % 8}", "fm"[k % 2], ("de", "fr", "")[k % 8 // 3]) for k in range(32)]
    corpus = with_columns(tmp_path / "c", rows)
    draw_trials(corpus, tmp_path / "t.txt", match=["gender", "language"])
    trials = read_trials(tmp_path / "t.txt")
    kind = np.array([row[1] + row[2] for row in rows])[resolve(trials, corpus)]
    assert (kind[trials.enrol] == kind[trials.test]).all()
    pairs = sum(a % 2 == b % 2 and a // 3 == b // 3 for a in range(8) for b in range(a))
    assert np.count_nonzero(~trials.labels) == 16 * pairs


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("sex", "unknown column of the corpus\n.*'sex'"),
        ("language", r"'language' says two things of the speaker 'a'\n.*'de' and 'fr'"),
        ("gender", "no two speakers share these columns\n.*gender"),
    ],
)
def test_columns_that_cannot_be_matched(tmp_path: Path, match: str, message: str) -> None:
    corpus = with_columns(tmp_path / "c", [("a", "f", "de"), ("a", "f", "fr"), ("b", "m", "de")])
    with pytest.raises(UserError, match=message):
        draw_trials(corpus, tmp_path / "t.txt", match=[match])


def test_errors(tmp_path: Path) -> None:
    alone = make(tmp_path / "one", {"s0": ["a", "a"]})
    with pytest.raises(UserError, match="trials need two speakers"):
        draw_trials(alone, tmp_path / "t.txt")
    single = make(tmp_path / "single", {"s0": ["a"], "s1": ["a"]})
    with pytest.raises(UserError, match="a speaker with two utterances"):
        draw_trials(single, tmp_path / "t.txt")
