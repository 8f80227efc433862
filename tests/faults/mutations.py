"""Well-formed files with wrong content: every node of a tree of plain values replaced by a value of each type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2**70,
        1.5,
        -1e300,
        float("inf"),
        "",
        "x",
        "../../x",
        "\x00",
        [],
        [[]],
        [None],
        ["x", 1],
    ),
    *({}, {"": None}, {"x": {"x": []}}),
)
MISSING = "missing"


class Mutation(NamedTuple):
    """One changed tree: where, and what stands there now; `MISSING` is nothing."""

    place: tuple[Any, ...]
    now: Any
    value: Any

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place)) or 'all of it'} = {self.now!r:.40}"


def mutations(value: Any) -> Iterator[Mutation]:
    """Every node replaced by every value of `WRONG`; every key removed; every text cut."""
    for place, node in _nodes(value, ()):
        wrong = [*WRONG, *([node[: len(node) // 2]] if isinstance(node, str | list) else [])]
        for now in wrong:
            if type(now) is not type(node) or now != node:
                yield Mutation(place, now, _with(value, place, now))
        if place and isinstance(place[-1], str):
            yield Mutation(place, MISSING, _with(value, place, MISSING))


def _nodes(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield place, value
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, node in inside:
        yield from _nodes(node, (*place, key))


def _with(value: Any, place: tuple[Any, ...], now: Any) -> Any:
    if not place:
        return now
    key, *rest = place
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if not rest and now is MISSING:
        del copy[key]
    else:
        copy[key] = _with(copy[key], tuple(rest), now)
    return copy
