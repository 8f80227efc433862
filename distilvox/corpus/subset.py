"""Some of a corpus: how many speakers and utterances to train on, which ones these are, and a corpus of them alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distilvox.corpus.store import Corpus
from distilvox.corpus.table import CHECK, UNKNOWN
from distilvox.errors import UserError, require
from distilvox.limits import check_seed


@dataclass(frozen=True)
class SubsetConfig:
    """Which speakers and utterances of a corpus are trained on: by default all.

    Speakers are taken in an order of their names drawn from the seed, and each one's utterances likewise: 50 speakers
    are among the 100 of the same seed, 2 utterances of each among the 4, wherever the same speakers qualify.

    Attributes:
        speakers: how many; 0 is all that qualify.
        per_speaker: utterances of each; speakers with fewer do not qualify. 0 is all that each has.
        total: utterances of all speakers together, shared out as evenly as the corpus allows; speakers with fewer than
            an equal share do not qualify, unless all are wanted. 0 is no such limit.
        at_least: speakers with fewer utterances in the corpus do not qualify, however few are taken: the same speakers
            then qualify for a few utterances and for many.
        seed: of both orders.
    """

    speakers: int = 0
    per_speaker: int = 0
    total: int = 0
    at_least: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("speakers", "per_speaker", "total", "at_least", "seed"):
            value = getattr(self, name)
            require(value >= 0, f"subset.{name} cannot be negative", got=value, allowed="0 or more")
        check_seed(self.seed, what="subset.seed")
        require(
            self.speakers != 1, "a speaker verifier cannot be trained on one speaker", got="subset.speakers 1",
            allowed="2 or more; 0 is all",
        )  # fmt: skip
        require(
            not (self.per_speaker and self.total),
            "subset.per_speaker and subset.total both say how many utterances there are",
            got=f"{self.per_speaker} and {self.total}",
            remedy="give one of them",
        )
        require(
            not self.total or self.total >= max(2, self.speakers),
            "subset.total is too small: every speaker needs an utterance",
            got=f"{self.total} utterances of {self.speakers or 'all'} speakers",
        )

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return not (self.speakers or self.per_speaker or self.total or self.at_least)


def choose_rows(
    config: SubsetConfig, utterances: Sequence[str], labels: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """The rows of a corpus that a subset holds, in the corpus's order: int64, sorted.

    Utterances without a speaker are no choice among speakers: all of them stay.
    A function of the names alone, whatever their order.

    Args:
        utterances: U ids.
        labels: [U] in [0, C), the speaker of each, or `UNKNOWN`.
        names: C speakers.

    Raises:
        UserError: too few speakers have enough utterances (says how many have how many).
    """
    held: list[list[int]] = [[] for _ in names]
    for row in _by_name(config.seed, "utterance", utterances):
        if labels[row] != UNKNOWN:
            held[labels[row]].append(row)
    share = config.total // config.speakers if config.speakers else 0
    least = max(1, config.per_speaker, share, config.at_least)
    able = [who for who in _by_name(config.seed, "speaker", names) if len(held[who]) >= least]
    if len(able) < max(2, config.speakers):
        raise UserError(
            f"too few speakers have {least} utterances or more",
            got=f"{len(able):,} of {len(names):,}, but {config.speakers or 2:,} are wanted",
            allowed=_census(held),
            remedy="ask for fewer speakers, or for fewer utterances of each",
        )
    chosen = able[: config.speakers or None]
    counts = np.array([len(held[who]) for who in chosen])
    if config.per_speaker:
        counts = np.minimum(counts, config.per_speaker)
    elif config.total:
        require(
            config.total >= len(chosen),
            "subset.total is too small: every speaker needs an utterance",
            got=f"{config.total} utterances of {len(chosen):,} speakers",
            remedy="say how many speakers there shall be: subset.speakers",
        )
        counts = _shares(counts, config.total)
    rows = [row for who, count in zip(chosen, counts, strict=True) for row in held[who][:count]]
    return np.array(sorted([*rows, *np.flatnonzero(labels == UNKNOWN).tolist()]), dtype=np.int64)


def part(corpus: Corpus, rows: np.ndarray) -> Corpus:
    """The utterances `rows` of a corpus, in that order, as a corpus: its speakers are theirs alone.

    Its `id` changes with the corpus and with the rows; addresses, and so views, are those of the utterances.

    Args:
        rows: integers [R] in [0, U), repeats allowed.
    """
    rows = np.asarray(rows, dtype=np.int64)
    table = {
        "utterance": [corpus.utterances[row] for row in rows],
        "speaker": [corpus.speaker(row) for row in rows],
        "session": [corpus.sessions[row] for row in rows],
        "samples": corpus.samples[rows],
        "offset": corpus.offsets[rows],
        **({} if corpus.checks is None else {CHECK: corpus.checks[rows]}),
        **{name: [values[row] for row in rows] for name, values in corpus.columns.items()},
    }
    digest = hashlib.sha256(corpus.id.encode() + rows.astype("<i8").tobytes()).hexdigest()
    manifest = {"sha256": digest, "sample_rate": corpus.sample_rate}
    origin = corpus.whole, corpus.rows_in_whole[rows]
    return Corpus(corpus.path, manifest, table, corpus.audio, part_of=origin)


def training_part(corpus: Corpus, config: SubsetConfig) -> Corpus:
    """What is trained on: the corpus itself, or the subset of it that is asked for; errors of `choose_rows`."""
    if config.is_all:
        return corpus
    return part(corpus, choose_rows(config, corpus.utterances, corpus.labels, corpus.speakers))


def _by_name(seed: int, kind: str, names: Sequence[str]) -> list[int]:
    """The positions of the names in an order that depends on the seed and the names alone."""

    def key(position: int) -> tuple[bytes, str]:
        name = names[position]
        return hashlib.blake2b(f"{seed} {kind} {name}".encode(), digest_size=8).digest(), name

    return sorted(range(len(names)), key=key)


def _shares(counts: np.ndarray, total: int) -> np.ndarray:
    """`total` shared out: the same for each, or all it has where that is less; a rest goes to the first who have more.

    >>> _shares(np.array([9, 2, 9]), 11)
    array([5, 2, 4])
    """
    require(
        total <= counts.sum(),
        "the speakers have too few utterances for subset.total",
        got=total,
        allowed=f"at most {counts.sum():,}, all utterances of {len(counts):,} speakers",
    )
    level = max(size for size in range(counts.max() + 1) if np.minimum(counts, size).sum() <= total)
    shares = np.minimum(counts, level)
    more = np.flatnonzero(counts > level)[: total - shares.sum()]
    shares[more] += 1
    return shares


def _census(held: Sequence[Sequence[int]]) -> str:
    """How many speakers have how many utterances, in words: at 1, 2, 4, 8 …, and at what the richest has."""
    counts = np.array([len(rows) for rows in held])
    steps = [1 << k for k in range(int(counts.max()).bit_length())]
    asked = sorted({*steps, int(counts.max())})
    return "; ".join(f"{int((counts >= n).sum()):,} speakers have {n:,} or more" for n in asked)
