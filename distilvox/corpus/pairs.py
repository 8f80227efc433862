"""A trial list made from a corpus that has none: same-speaker pairs, and drawn pairs of different speakers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.files import write_text
from distilvox.names import is_name


def draw_trials(
    corpus: Corpus, out: Path, *, target: int = 2_000, non_target: int = 20_000, seed: int = 0
) -> int:
    """Writes a VoxCeleb list (`label enrol test`, separated by tabs) over the corpus.

    Target trials are pairs of one speaker's utterances; where the speaker has several sessions, pairs across
    sessions come first, since two utterances of one recording are too easy. Non-target trials join utterances of
    two different speakers drawn alike, whatever their number of utterances.

    Args:
        corpus: two speakers or more, one of them with two utterances or more.
        out: the file to write.
        target, non_target: the most trials of each kind; fewer where the corpus has no more.
        seed: of the draw.

    Returns:
        The number of trials written.

    Raises:
        UserError: the corpus has one speaker, or no speaker with two utterances, or a name that no list can hold.
    """
    require(target >= 1 and non_target >= 1, "a trial list needs both kinds", got=f"{target}, {non_target}")
    require(
        len(corpus.speakers) >= 2, "trials need two speakers", got=f"{len(corpus.speakers)} in {corpus.path}"
    )
    bad = next((name for name in corpus.utterances if not is_name(name)), None)
    require(bad is None, "a name has control characters, which no list can hold", got=ascii(bad))
    rng = np.random.default_rng(seed)
    across, within = _same_speaker_pairs(corpus)
    same = [across[k] for k in rng.permutation(len(across))] + [
        within[k] for k in rng.permutation(len(within))
    ]
    require(bool(same), "target trials need a speaker with two utterances", got=f"none in {corpus.path}")
    chosen = [(1, *pair) for pair in same[:target]]
    chosen += [(0, *pair) for pair in _different_speaker_pairs(corpus, non_target, rng)]
    names = corpus.utterances
    lines = [
        f"{label}\t{names[a]}\t{names[b]}\n"
        for label, a, b in (chosen[k] for k in rng.permutation(len(chosen)))
    ]
    write_text(out, "".join(lines))
    return len(lines)


def _same_speaker_pairs(corpus: Corpus) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Every pair of one speaker's utterances: those across sessions, those within one."""
    across: list[tuple[int, int]] = []
    within: list[tuple[int, int]] = []
    order = np.argsort(corpus.labels, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(corpus.labels[order])) + 1):
        for k, a in enumerate(group.tolist()):
            for b in group[k + 1 :].tolist():
                pair = (a, b)
                (within if corpus.sessions[a] == corpus.sessions[b] else across).append(pair)
    return across, within


def _different_speaker_pairs(corpus: Corpus, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """At most `most` different pairs, speakers drawn alike."""
    order = np.argsort(corpus.labels, kind="stable")
    first = np.searchsorted(corpus.labels[order], np.arange(len(corpus.speakers)))
    count = np.bincount(corpus.labels, minlength=len(corpus.speakers))
    found: dict[tuple[int, int], None] = {}
    for _ in range(20):  # each round doubles back only for pairs that were drawn before
        a = rng.integers(len(count), size=most)
        b = (a + rng.integers(1, len(count), size=most)) % len(count)
        left, right = (order[first[s] + rng.integers(count[s])] for s in (a, b))
        for pair in zip(np.minimum(left, right).tolist(), np.maximum(left, right).tolist(), strict=True):
            found[pair] = None
        if len(found) >= most:
            break
    return list(found)[:most]
