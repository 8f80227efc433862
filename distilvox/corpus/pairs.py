"""A trial list made from a corpus that has none: the speaker is drawn first, then the pair, however many it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from distilvox.corpus.drawn import Nested, pairs_across, pairs_within, shares
from distilvox.corpus.labels import labelled
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError, require, unknown
from distilvox.files import write_text
from distilvox.names import is_name


@dataclass(frozen=True)
class Drawn:
    """What a drawn list holds.

    Attributes:
        trials, targets: all, and those of one speaker.
        one_session: target trials whose two utterances are of one session: easier than people's next visit.
        speakers: those with target trials.
    """

    trials: int
    targets: int
    one_session: int
    speakers: int


def draw_trials(
    corpus: Corpus,
    out: Path,
    *,
    target: int = 2_000,
    non_target: int = 20_000,
    match: Sequence[str] = (),
    seed: int = 0,
) -> Drawn:
    """Writes a VoxCeleb list (`label enrol test`, separated by tabs) over the corpus.

    Target trials are shared out evenly over the speakers, as far as each has pairs; a speaker's are pairs across its
    sessions first, sessions drawn alike, since two utterances of one recording are too easy. Non-target trials join
    two speakers drawn alike, whatever their number of utterances, and a session of each drawn alike. No trial stands
    there twice, and none compares an utterance with itself. Memory grows with the utterances and the trials asked for.

    Args:
        corpus: two speakers or more, one of them with two utterances or more.
        out: the file to write.
        target, non_target: the most trials of each kind; fewer where the corpus has no more.
        match: columns of the corpus, such as gender, that both speakers of a non-target trial share; an empty value is
            a value.
        seed: of the draw.

    Raises:
        UserError: the corpus has one speaker, or no speaker with two utterances, or a name that no list can hold; a
            column that it has not, or that says two things of one speaker, or that no two speakers share.
    """
    require(target >= 1 and non_target >= 1, "a trial list needs both kinds", got=f"{target}, {non_target}")
    corpus = labelled(corpus, wanted="a trial list")
    require(
        len(corpus.speakers) >= 2, "trials need two speakers", got=f"{len(corpus.speakers)} in {corpus.path}"
    )
    bad = next((name for name in corpus.utterances if not is_name(name)), None)
    require(bad is None, "a name has control characters, which no list can hold", got=ascii(bad))
    rng = np.random.default_rng(seed)
    sessions = _numbers(corpus.sessions)
    same = _targets(corpus.labels, sessions, target, rng)
    require(len(same) > 0, "target trials need a speaker with two utterances", got=f"none in {corpus.path}")
    strata = _strata(corpus, match)
    other = _non_targets(corpus.labels, sessions, strata, non_target, rng)
    require(
        len(other) > 0,
        "no two speakers share these columns",
        got=", ".join(match),
        remedy="match fewer columns",
    )
    pairs = np.concatenate([same, other])
    order = rng.permutation(len(pairs))
    names, targets = corpus.utterances, len(same)
    lines = [
        f"{int(k < targets)}\t{names[a]}\t{names[b]}\n"
        for k, (a, b) in zip(order.tolist(), pairs[order].tolist(), strict=True)
    ]
    write_text(out, "".join(lines))
    one_session = int(np.count_nonzero(sessions[same[:, 0]] == sessions[same[:, 1]]))
    return Drawn(len(pairs), targets, one_session, len(np.unique(corpus.labels[same[:, 0]])))


def _targets(labels: np.ndarray, sessions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most `most` pairs [n, 2] of one speaker, shared out evenly over the speakers."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    ends = np.cumsum(sizes)
    wanted = shares(sizes * (sizes - 1) // 2, most, rng)
    found = [np.empty((0, 2), dtype=np.int64)]
    for speaker in np.flatnonzero(wanted).tolist():
        rows = order[ends[speaker] - sizes[speaker] : ends[speaker]]
        nested, want = Nested(rows, sessions[rows]), int(wanted[speaker])
        across = pairs_across(nested, want, rng)
        found += [across, pairs_within(nested, want - len(across), rng)]
    return np.concatenate(found)


def _non_targets(
    labels: np.ndarray, sessions: np.ndarray, strata: np.ndarray, most: int, rng: np.random.Generator
) -> np.ndarray:
    """At most `most` pairs [n, 2] of two speakers of one stratum, each stratum in proportion to its speakers."""
    stratum = strata[labels]
    speakers = np.bincount(strata)
    order = np.argsort(stratum, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(stratum))[:-1])
    held = [Nested(part, labels[part], sessions[part]) for part in rows]
    wanted = shares(
        np.array([each.across for each in held]), most, rng, weights=np.where(speakers > 1, speakers, 0)
    )
    return np.concatenate([pairs_across(each, int(n), rng) for each, n in zip(held, wanted, strict=True)])


def _strata(corpus: Corpus, match: Sequence[str]) -> np.ndarray:
    """A number for every speaker, int64 [C]: equal where all the columns agree."""
    values: list[list[str]] = [[] for _ in corpus.speakers]
    first = np.unique(corpus.labels, return_index=True)[1]
    for column in match:
        if column not in corpus.columns:
            raise unknown(
                "column of the corpus", column, corpus.columns, remedy="it has no other columns than its own"
            )
        cells = [str(value) for value in corpus.columns[column]]
        number = _numbers(cells)
        torn = np.flatnonzero(number != number[first][corpus.labels])
        if len(torn):
            row = int(torn[0])
            speaker = int(corpus.labels[row])
            raise UserError(
                f"the column {column!r} says two things of the speaker {corpus.speakers[speaker]!r}",
                got=f"{cells[first[speaker]]!r} and {cells[row]!r}",
                remedy="match a column that is a speaker's own",
            )
        for speaker, row in enumerate(first.tolist()):
            values[speaker].append(cells[row])
    return _numbers(map(tuple, values))


def _numbers(values: Iterable[object]) -> np.ndarray:
    """Equal numbers for equal values, int64, in order of appearance."""
    known: defaultdict[object, int] = defaultdict(count().__next__)
    return np.fromiter(map(known.__getitem__, values), np.int64)
