"""A subset is chosen by names alone, grows without dropping anybody, and is a corpus of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.store import CorpusWriter
from distilvox.corpus.subset import SubsetConfig, choose_rows, part, training_part
from distilvox.errors import UserError

SPEAKERS = [f"p{k:02d}" for k in range(30)]
HELD = {name: 1 + k % 10 for k, name in enumerate(SPEAKERS)}
"""Utterances of each: three speakers with each count from 1 to 10."""
UTTERANCES = [f"{name}/{k}" for name, count in HELD.items() for k in range(count)]
OWNERS = np.array([SPEAKERS.index(utterance.partition("/")[0]) for utterance in UTTERANCES])


def chosen(**fields: int) -> dict[str, set[str]]:
    """Speaker → its utterances that were chosen."""
    found: dict[str, set[str]] = {}
    for row in choose_rows(SubsetConfig(**fields), UTTERANCES, OWNERS, SPEAKERS):
        found.setdefault(SPEAKERS[OWNERS[row]], set()).add(UTTERANCES[row])
    return found


def counts(**fields: int) -> Counter[int]:
    """Utterances of a speaker → how many speakers have as many."""
    return Counter(len(held) for held in chosen(**fields).values())


def contains(more: dict[str, set[str]], less: dict[str, set[str]]) -> bool:
    return all(held <= more.get(name, set()) for name, held in less.items())


def test_all_is_all() -> None:
    assert SubsetConfig().is_all
    assert {name: len(held) for name, held in chosen().items()} == HELD


def test_as_many_as_were_asked_for_and_only_speakers_who_have_them() -> None:
    assert counts(speakers=7) != Counter()
    assert sum(counts(speakers=7).values()) == 7
    assert counts(speakers=7, per_speaker=4) == {4: 7}
    assert counts(per_speaker=9) == {9: 6}
    assert set(map(HELD.get, chosen(per_speaker=9))) == {9, 10}
    assert counts(speakers=10, total=30) == {3: 10}
    assert set(map(HELD.get, chosen(speakers=3, per_speaker=1, at_least=10))) == {10}


def test_a_total_is_shared_out_as_evenly_as_it_goes() -> None:
    assert counts(speakers=4, total=30) == {7: 2, 8: 2}
    every = counts(total=60)  # the poor give all they have: 3 · (1 + 2) = 9 < 60
    assert sum(size * n for size, n in every.items()) == 60
    assert (every[1], sum(every.values())) == (3, 30)
    assert max(every) - min(size for size in every if size > 1) <= 1
    assert counts(total=len(UTTERANCES)) == Counter(HELD.values())


@pytest.mark.parametrize("fields", [{}, {"per_speaker": 5}, {"at_least": 5}])
def test_more_speakers_are_the_same_and_others(fields: dict[str, int]) -> None:
    small, large = chosen(speakers=5, **fields), chosen(speakers=11, **fields)
    assert contains(large, small)
    assert set(small) < set(large)


def test_more_utterances_are_the_same_and_others() -> None:
    few, many = (chosen(speakers=6, per_speaker=n, at_least=6) for n in (2, 6))
    assert few.keys() == many.keys()
    assert contains(many, few)
    assert few != many
    fixed = [chosen(speakers=k, total=12, at_least=6) for k in (2, 4, 12)]
    assert [len(found) for found in fixed] == [2, 4, 12]
    assert set(fixed[0]) < set(fixed[1]) < set(fixed[2])


def test_the_choice_hangs_on_names_and_seed_and_not_on_their_order() -> None:
    config = SubsetConfig(speakers=8, per_speaker=3)
    rows = choose_rows(config, UTTERANCES, OWNERS, SPEAKERS)
    assert (np.diff(rows) > 0).all()
    turned = choose_rows(config, UTTERANCES[::-1], len(SPEAKERS) - 1 - OWNERS[::-1], SPEAKERS[::-1])
    assert {UTTERANCES[::-1][row] for row in turned} == {UTTERANCES[row] for row in rows}
    others = chosen(speakers=8, per_speaker=3, seed=1)
    assert others != chosen(speakers=8, per_speaker=3)


def test_every_speaker_may_be_drawn() -> None:
    drawn = Counter(name for seed in range(200) for name in chosen(speakers=3, seed=seed))
    assert set(drawn) == set(SPEAKERS)
    assert max(drawn.values()) < 3 * min(drawn.values()) + 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speakers": -1}, r"subset\.speakers cannot be negative"),
        ({"speakers": 1}, "cannot be trained on one speaker"),
        ({"per_speaker": 2, "total": 8}, r"per_speaker and subset\.total both say"),
        ({"total": 1}, "every speaker needs an utterance"),
        ({"total": 4, "speakers": 5}, r"every speaker needs an utterance[\s\S]*4 utterances of 5 speakers"),
        ({"speakers": 31}, r"too few speakers have 1 utterances or more[\s\S]*30 of 30, but 31"),
        ({"speakers": 7, "per_speaker": 9}, r"6 of 30, but 7[\s\S]*9 speakers have 8 or more"),
        ({"per_speaker": 11}, r"0 of 30[\s\S]*3 speakers have 10 or more"),
        ({"speakers": 5, "total": 50}, r"3 of 30, but 5"),
        ({"total": 200}, r"too few utterances for subset\.total[\s\S]*at most 165"),
        ({"total": 29}, r"every speaker needs an utterance[\s\S]*29 utterances of 30 speakers"),
    ],
)
def test_what_cannot_be_is_refused_in_numbers(fields: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(**fields)


def test_a_part_is_a_corpus_whose_utterances_are_what_they_were(tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "c")
    for k in range(12):
        writer.add(f"u{k}", f"s{k % 4}", "a", np.arange(100 + k, dtype=np.int16) + k, colour=f"c{k}")
    corpus = writer.finish()
    rows = np.array([9, 1, 5, 2])
    some = part(corpus, rows)
    assert some.speakers == ["s1", "s2"]
    assert [some.speakers[label] for label in some.labels] == [
        corpus.speakers[corpus.labels[r]] for r in rows
    ]
    assert some.utterances == [f"u{r}" for r in rows]
    assert some.columns == {"colour": [f"c{r}" for r in rows]}
    assert np.array_equal(some.address(), corpus.address()[rows])
    assert all(np.array_equal(some.wave(k), corpus.wave(int(r))) for k, r in enumerate(rows))
    assert some.seconds == corpus.samples[rows].sum() / 16_000
    assert some.whole is corpus
    assert corpus.whole is corpus
    again = part(some, np.array([3, 0]))
    assert again.whole is corpus
    assert again.rows_in_whole.tolist() == [2, 9]
    assert len({corpus.id, some.id, again.id, part(corpus, rows[::-1]).id}) == 4
    assert training_part(corpus, SubsetConfig()) is corpus
    few = training_part(corpus, SubsetConfig(speakers=2, per_speaker=2))
    assert (len(few), len(few.speakers)) == (4, 2)
