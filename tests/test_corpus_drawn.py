"""Pairs of items in groups: different, the groups alike, and all of them where there are no more."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from distilvox.corpus.drawn import Nested, pairs_across, pairs_within, shares

KINDS = {"across": (pairs_across, True), "within": (pairs_within, False)}
GROUPS = {
    "equal": [4, 4, 4],
    "one large": [300, 1, 1],
    "singles": [1] * 60,
    "one group": [50],
    "one item": [1],
    "very unequal": [200, 3, 1, 2, 90],
}


def nested(rng: np.random.Generator, sizes: list[int]) -> tuple[Nested, np.ndarray]:
    """Items 1000, 1001 … shuffled, and the group of each."""
    group = rng.permutation(np.repeat(np.arange(len(sizes)) * 7, sizes))
    return Nested(np.arange(len(group)) + 1000, group), group


@pytest.mark.parametrize("want", [0, 1, 37, 10**6])
@pytest.mark.parametrize("sizes", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_differ_are_of_the_kind_and_as_many_as_there_are(
    rng: np.random.Generator, kind: str, sizes: str, want: int
) -> None:
    take, across = KINDS[kind]
    held, group = nested(rng, GROUPS[sizes])
    pairs = take(held, want, rng) - 1000
    there = sum((a != b) == across for a, b in combinations(group.tolist(), 2))
    assert there == (held.across if across else held.within)
    assert len({frozenset(pair) for pair in pairs.tolist()}) == len(pairs) == min(want, there)
    assert ((group[pairs[:, 0]] != group[pairs[:, 1]]) == across).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()


@pytest.mark.parametrize("want", [30, 3_000])  # drawn, and written out
def test_pairs_of_groups_are_drawn_alike_whatever_their_size(rng: np.random.Generator, want: int) -> None:
    sizes = [200, 40, 40]
    held, group = nested(rng, sizes)
    pairs = group[pairs_across(held, want, rng) - 1000] // 7
    found = Counter(tuple(sorted(pair)) for pair in pairs.tolist())
    assert max(found.values()) - min(found.values()) <= (1 if want == 3_000 else want)
    assert min(found.values()) > want / 6


def test_a_groups_parts_are_drawn_alike(rng: np.random.Generator) -> None:
    part = np.array([0] * 990 + [1] * 10)
    held = Nested(np.arange(1000), np.zeros(1000, dtype=np.int64), part)
    drawn = part[held.items[held.draw(np.zeros(4000, dtype=np.int64), rng)]]
    assert 0.45 < drawn.mean() < 0.55


@pytest.mark.parametrize(
    ("most", "total", "weights", "wanted"),
    [
        ([9, 9, 9], 9, None, [3, 3, 3]),
        ([9, 2, 9], 12, None, [5, 2, 5]),
        ([1, 0, 2], 50, None, [1, 0, 2]),
        ([90, 90], 30, [1, 2], [10, 20]),
        ([90, 3], 30, [1, 2], [27, 3]),
        ([90, 90], 30, [1, 0], [30, 0]),
        ([], 5, None, []),
    ],
)
def test_shares(
    rng: np.random.Generator, most: list[int], total: int, weights: list[int] | None, wanted: list[int]
) -> None:
    weight = None if weights is None else np.array(weights)
    assert shares(np.array(most, dtype=np.int64), total, rng, weights=weight).tolist() == wanted


def test_a_share_that_is_not_whole_goes_to_some(rng: np.random.Generator) -> None:
    given = shares(np.full(1000, 5), 300, rng)
    assert sorted(set(given.tolist())) == [0, 1]
    assert given.sum() == 300
