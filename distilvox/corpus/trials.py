"""Lists of verification trials, in any of the forms that people keep them in; the list itself says which.

`label enrol test` (VoxCeleb) or `enrol test label` (Kaldi, CN-Celeb, VOiCES), separated by tabs, or by blanks where no
name has one. Names stay as they are written: `bind` finds them in a corpus.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np

from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN
from distilvox.corpus.text import read_text
from distilvox.errors import UserError

_FORMATS = "`label enrol test` or `enrol test label`, with label 1 or 0, target or nontarget, tgt or imp"
_LABELS = ({b"1": True, b"0": False}, {b"target": True, b"nontarget": False}, {b"tgt": True, b"imp": False})
_SHAPES = tuple((at, labels) for labels in _LABELS for at in (0, 2))
"""(where the label stands, what it may be); the first that all lines fit is the list's."""


@dataclass(frozen=True, eq=False)
class Trials:
    """A list of n trials over some utterances.

    Attributes:
        name: of the file.
        utterances: the different names, in order of appearance: first all that enrol, then the others.
        enrol: int64 [n], index into `utterances`.
        test: int64 [n], index into `utterances`.
        labels: bool [n], True where both are one speaker (target).
        duplicates: how many trials repeat an earlier one, whichever side enrols; they count as often as they stand
            there.
    """

    name: str
    utterances: tuple[str, ...]
    enrol: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def id(self) -> str:
        """16 hex digits over the trials themselves, in their order, whatever the file is called."""
        digest = hashlib.sha256("\n".join(self.utterances).encode())
        for part in (self.enrol, self.test, self.labels):
            digest.update(part.tobytes())
        return digest.hexdigest()[:16]


def read_trials(path: Path | str) -> Trials:
    """Reads a list of trials; empty lines are skipped.

    Raises:
        UserError: no such file, no trials, a line that does not fit (with its number), one label only.
    """
    path = Path(path)
    data = read_text(path, "trial list", allowed=f"a text file: {_FORMATS}").encode()
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    held = [line for line in lines if not line.isspace() and line]
    if not held:
        raise UserError(f"the trial list is empty: {path}", allowed=_FORMATS)
    tabbed = all(line.count(b"\t") == 2 for line in held)
    words = b"\t".join(held).split(b"\t") if tabbed else data.split()
    whole = all(word.strip() for word in words) if tabbed else _three_a_line(data)
    shape = _shape(words) if whole else None
    if shape is None:
        raise _malformed(path, lines, tabbed)
    label_at, known = shape
    enrol_at, test_at = (1, 2) if label_at == 0 else (0, 1)
    given = (word.strip() for word in words[label_at::3])
    labels = np.fromiter(map(known.__getitem__, given), bool, len(words) // 3)
    if labels.all() or not labels.any():
        only = "target" if labels[0] else "non-target"
        raise UserError(
            f"the trial list {path} has {only} trials only: EER needs both",
            got=f"{len(labels):,} {only} trials",
            allowed=_FORMATS,
        )
    utterances, enrol, test = _number(words[enrol_at::3], words[test_at::3])
    return Trials(path.name, utterances, enrol, test, labels, _repeated(enrol, test, labels))


def bind(trials: Trials, corpus: Corpus) -> tuple[Trials, np.ndarray]:
    """The trials over a corpus's own utterances, and where each of these stands in it: int64 [U].

    Names that mean one utterance (`a.wav` and `a.flac`) become that one.

    Raises:
        UserError: some are not in the corpus (names the first, says how many); trials of an utterance with itself,
            which any model accepts, so that their EER would flatter.
    """
    rows = resolve(trials, corpus)
    order, first, number = np.unique(rows, return_index=True, return_inverse=True)
    rank = np.empty(len(order), dtype=np.int64)  # keeps the order of appearance
    rank[np.argsort(first)] = np.arange(len(order))
    number = rank[number]
    enrol, test = number[trials.enrol], number[trials.test]
    own = np.sort(first)
    itself = np.flatnonzero(enrol == test)
    if len(itself):
        k = int(itself[0])
        raise UserError(
            f"{len(itself):,} of the {len(trials):,} trials of {trials.name} compare an utterance with itself: "
            "any model accepts them, and the EER would flatter",
            got=f"the first is trial {k + 1}, of {trials.utterances[trials.enrol[k]]!r}",
            remedy="leave these trials out of the list",
        )
    utterances = tuple(corpus.utterances[row] for row in rows[own])
    repeated = _repeated(enrol, test, trials.labels)
    bound = replace(trials, utterances=utterances, enrol=enrol, test=test, duplicates=repeated)
    return bound, rows[own]


def resolve(trials: Trials, corpus: Corpus) -> np.ndarray:
    """Where each of the trials' utterances stands in the corpus: int64 [len(trials.utterances)].

    Raises:
        UserError: some are not in the corpus; names the first and says how many.
    """
    absent = []
    found = np.zeros(len(trials.utterances), dtype=np.int64)
    for position, utterance in enumerate(trials.utterances):
        if corpus.has(utterance):
            found[position] = corpus.index(utterance)
        else:
            absent.append(utterance)
    if absent:
        raise UserError(
            f"{len(absent):,} of the {len(found):,} utterances in the trial list {trials.name} "
            f"are not in the corpus {corpus.path}",
            got=f"the first is {absent[0]!r}{_letters(absent[0])}",
            allowed=f"names such as {corpus.utterances[0]!r}" if len(corpus) else "the corpus is empty",
            remedy="pack the corpus that the list was made for, or choose another list",
        )
    return found


def refuse_unlabelled(trials: Trials, corpus: Corpus, rows: np.ndarray) -> None:
    """Refuses trials of which an utterance, rows [U] of the corpus, has no speaker: nothing checks their labels."""
    loose = np.flatnonzero(corpus.labels[rows] == UNKNOWN)
    if len(loose):
        raise UserError(
            f"{len(loose):,} utterances of {trials.name} have no speaker in {corpus.path}: trials need them",
            got=f"the first is {corpus.utterances[rows[loose[0]]]!r}",
            remedy="pack this speech with its speakers' names, or choose another list",
        )


def speakers_of(trials: Trials, corpus: Corpus) -> np.ndarray:
    """The speaker of each of the trials' utterances, as `corpus.labels`: int64 [len(trials.utterances)]."""
    return corpus.labels[resolve(trials, corpus)]


def _letters(name: str) -> str:
    """The name once more in ASCII, where letters that look alike may differ."""
    return "" if name.isascii() else f", that is {name!a}"


def _repeated(enrol: np.ndarray, test: np.ndarray, labels: np.ndarray) -> int:
    most = int(max(enrol.max(), test.max())) + 1
    trials = np.sort((np.minimum(enrol, test) * most + np.maximum(enrol, test)) * 2 + labels)
    return int(np.count_nonzero(np.diff(trials) == 0))


def _shape(words: Sequence[bytes]) -> tuple[int, Mapping[bytes, bool]] | None:
    """Where the label of every line stands, and what it means; None if the lines agree on nothing."""
    given = {at: {word.strip() for word in set(words[at::3])} for at in (0, 2)}
    return next(((at, known) for at, known in _SHAPES if given[at] <= known.keys()), None)


def _three_a_line(data: bytes) -> bool:
    """Whether every line has three words or none; a million lines in a moment."""
    is_space = np.zeros(256, dtype=bool)
    is_space[list(b" \t\n\r\v\f")] = True
    characters = np.frombuffer(data, dtype=np.uint8)
    space = is_space[characters]
    starts = ~space
    starts[1:] &= space[:-1]
    line = np.searchsorted(np.flatnonzero(characters == ord("\n")), np.flatnonzero(starts))
    return bool(np.isin(np.bincount(line), (0, 3)).all())


def _number(enrol: Sequence[bytes], test: Sequence[bytes]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Gives every different name a number."""
    written: defaultdict[bytes, int] = defaultdict(count().__next__)
    first = np.fromiter(map(written.__getitem__, enrol), np.int64, len(enrol))
    second = np.fromiter(map(written.__getitem__, test), np.int64, len(test))
    return tuple(name.decode() for name in written), first, second


def _malformed(path: Path, lines: Sequence[bytes], tabbed: bool) -> UserError:
    """The error for the first line that does not fit, and why it does not."""
    parted = [[word.strip() for word in line.split(b"\t")] if tabbed else line.split() for line in lines]
    first = next(words for words in parted if any(words))
    fits = [(at, known) for at, known in _SHAPES if len(first) == 3 and first[at] in known]
    for number, (line, words) in enumerate(zip(lines, parted, strict=True), start=1):
        if not any(words) or (
            all(words) and len(words) == 3 and any(words[at] in known for at, known in fits)
        ):
            continue
        shown = line.decode().strip()
        if len(words) != 3 or not all(words):
            commas = ", and they are separated by commas" if len(shown.split(",")) == 3 else ""
            why = f"{len([word for word in words if word])} words where a trial has 3{commas}"
        elif not fits:
            why = f"neither {_word(words[0])} at its beginning nor {_word(words[2])} at its end is a label"
        elif any(words[at] in known for at, known in _SHAPES):
            why = "the lines before it are in the other format: the list mixes both"
        else:
            why = f"its label is {_word(words[fits[0][0]])}"
        shown = shown if len(shown) <= 100 else shown[:100] + "…"
        blanks = len(words) > 3 and not tabbed
        remedy = "where names have blanks, separate the words by tabs" if blanks else None
        return UserError(f"{path}, line {number}: {why}", got=repr(shown), allowed=_FORMATS, remedy=remedy)
    raise UserError(f"{path}: its lines do not agree on where the label stands", allowed=_FORMATS)


def _word(word: bytes) -> str:
    return repr(word.decode()[:20])
