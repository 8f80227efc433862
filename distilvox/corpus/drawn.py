"""Different pairs drawn from items in groups, the groups alike; memory grows with items and wanted pairs.

Where few pairs exist, they are written out and taken in turns from each pair of groups; where many do, they are drawn,
and what was drawn before is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import count

import numpy as np

_FEW = 8
"""Pairs are written out where there are at most this many times those asked for."""

_ROUNDS = 8
"""After these, every pair is drawn alike: groups of very different size have few pairs between the small ones."""


class Nested:
    """Items in groups, and a group's items in parts: the sessions of speakers, say.

    Args:
        items: int64 [n], what is drawn.
        group: int64 [n], of each.
        part: int64 [n], of each within its group; None is one part a group.
    """

    def __init__(self, items: np.ndarray, group: np.ndarray, part: np.ndarray | None = None) -> None:
        part = np.zeros_like(group) if part is None else part
        order = np.lexsort((part, group))
        self.items, group, part = items[order], group[order], part[order]
        starts = np.ones(len(items), dtype=bool)
        starts[1:] = (group[1:] != group[:-1]) | (part[1:] != part[:-1])
        self._part_start = np.flatnonzero(starts)
        self._part_size = np.diff(self._part_start, append=len(items))
        owner = group[self._part_start]
        self._first = np.flatnonzero(np.diff(owner, prepend=owner[:1] - 1))
        self._parts = np.diff(self._first, append=len(owner))
        self.start = self._part_start[self._first]
        self.size = np.diff(self.start, append=len(items))

    @property
    def across(self) -> int:
        """How many pairs of different groups there are."""
        return (len(self.items) ** 2 - int((self.size**2).sum())) // 2

    @property
    def within(self) -> int:
        """How many pairs of one group there are."""
        return int((self.size * (self.size - 1)).sum()) // 2

    @cached_property
    def plural(self) -> np.ndarray:
        """The groups of two items or more."""
        return np.flatnonzero(self.size > 1)

    def draw(self, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The place of an item of each of these groups: a part drawn alike, then an item of it."""
        part = self._first[groups] + rng.integers(self._parts[groups])
        return self._part_start[part] + rng.integers(self._part_size[part])


def pairs_across(held: Nested, want: int, rng: np.random.Generator) -> np.ndarray:
    """At most `want` different pairs of items of different groups, int64 [k, 2]: fewer only where there are no more."""
    groups, items = len(held.size), len(held.items)

    def drawn(n: int, alike: bool) -> tuple[np.ndarray, np.ndarray]:
        if alike:
            first = rng.integers(groups, size=n)
            second = (first + rng.integers(1, groups, size=n)) % groups
            return held.draw(first, rng), held.draw(second, rng)
        group = _by_weight(held.size * (items - held.size), n, rng)
        start, size = held.start[group], held.size[group]
        other = rng.integers(items - size)
        return start + rng.integers(size), np.where(other < start, other, other + size)

    def written() -> Iterator[np.ndarray]:
        for start, size in zip(held.start.tolist(), held.size.tolist(), strict=True):
            yield _product(np.arange(start, start + size), np.arange(start + size, len(held.items)))

    return _pairs(held, min(want, held.across), held.across, drawn, written, rng)


def pairs_within(held: Nested, want: int, rng: np.random.Generator) -> np.ndarray:
    """At most `want` different pairs of items of one group, int64 [k, 2]."""

    def drawn(n: int, alike: bool) -> tuple[np.ndarray, np.ndarray]:
        some = held.plural
        group = (
            some[rng.integers(len(some), size=n)]
            if alike
            else _by_weight(held.size * (held.size - 1), n, rng)
        )
        start, size = held.start[group], held.size[group]
        first = rng.integers(size)
        return start + first, start + (first + rng.integers(1, size)) % size

    def written() -> Iterator[np.ndarray]:
        for group in held.plural.tolist():
            yield held.start[group] + np.stack(np.triu_indices(held.size[group], k=1), axis=1)

    return _pairs(held, min(want, held.within), held.within, drawn, written, rng)


def shares(
    most: np.ndarray, total: int, rng: np.random.Generator, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """`total` shared out over those who can take `most` [n] each, in proportion to weights [n] or alike: int64 [n].

    >>> shares(np.array([100, 1, 100]), 21, np.random.default_rng(0)).tolist()
    [10, 1, 10]
    """
    weight = np.ones(len(most)) if weights is None else weights.astype(np.float64)
    most = np.where(weight > 0, most, 0)
    total = min(total, int(most.sum()))
    given = np.zeros(len(most), dtype=np.int64)
    while (left := total - int(given.sum())) > 0:
        open_ = np.flatnonzero(given < most)
        more = (left * weight[open_] / weight[open_].sum()).astype(np.int64)
        if not more.any():
            more[
                rng.choice(
                    len(open_), min(left, len(open_)), replace=False, p=weight[open_] / weight[open_].sum()
                )
            ] = 1
        given[open_] = np.minimum(given[open_] + more, most[open_])
    return given


def _pairs(
    held: Nested,
    want: int,
    there: int,
    drawn: Callable[[int, bool], tuple[np.ndarray, np.ndarray]],
    written: Callable[[], Iterator[np.ndarray]],
    rng: np.random.Generator,
) -> np.ndarray:
    if want <= 0:
        return np.empty((0, 2), dtype=np.int64)
    if there <= _FEW * want:
        places = np.concatenate(list(written()))
        return held.items[places[_in_turns(held, places, rng)[:want]]]
    keys = np.empty(0, dtype=np.int64)
    n = len(held.items)
    for turn in count():
        if len(keys) == want:
            break
        first, second = drawn(2 * (want - len(keys)) + 16, turn < _ROUNDS)
        keys = np.concatenate([keys, np.minimum(first, second) * n + np.maximum(first, second)])
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])][:want]
    return held.items[np.stack([keys // n, keys % n], axis=1)]


def _by_weight(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` positions, each as often as its weight (whole numbers) says."""
    ends = np.cumsum(weights)
    return np.searchsorted(ends, rng.integers(ends[-1], size=n), side="right")


def _in_turns(held: Nested, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of pairs of places [k, 2] that goes round the pairs of groups, one of each at a time."""
    groups = np.searchsorted(held.start, places, side="right") - 1
    key = groups[:, 0] * len(held.size) + groups[:, 1]
    order = rng.permutation(len(places))
    order = order[np.argsort(key[order], kind="stable")]
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[np.lexsort((rng.random(len(order)), turn))]


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Every pair of the two, [a · b, 2]."""
    return np.stack([np.repeat(first, len(second)), np.tile(second, len(first))], axis=1)
