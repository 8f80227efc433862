"""Who speaks in an utterance, and in which recording, as numbers; perhaps nobody knows.

An utterance without a speaker has the empty name and the label `UNKNOWN`. It is nobody's: it makes no class, no trial
and no mean of a speaker, and gives a distillation what needs no label.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count

import numpy as np

from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import part
from distilvox.corpus.table import UNKNOWN
from distilvox.errors import require


def recordings(corpus: Corpus) -> np.ndarray:
    """A number for the recording of each utterance without a speaker, int64 [U]; −1 where it is not known.

    Two cuts of one recording are nearly the same utterance, so that they are not told apart in training. Utterances
    with a speaker have −1: how alike two of one speaker are is what a teacher knows.
    """
    known: defaultdict[str, int] = defaultdict(count().__next__)
    loose = corpus.labels == UNKNOWN
    return np.fromiter(
        (
            known[session] if free and session != "-" else -1
            for free, session in zip(loose, corpus.sessions, strict=True)
        ),
        np.int64,
        len(corpus),
    )


def labelled(corpus: Corpus, *, wanted: str) -> Corpus:
    """The utterances that have a speaker; the corpus itself where all have.

    Raises:
        UserError: none has, and `wanted` needs speakers.
    """
    known = corpus.labels != UNKNOWN
    if known.all():
        return corpus
    require(
        bool(known.any()),
        f"no utterance of {corpus.path} has a speaker, and {wanted} needs them",
        remedy="pack the corpus with speakers' names: in folders, or in a table's column",
    )
    return part(corpus, np.flatnonzero(known))
