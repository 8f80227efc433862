"""Lists of verification trials: VoxCeleb's (`label enrol test`) or Kaldi's (`enrol test target|nontarget`).

Which of the two a list is, its first line says. Names lose a known audio extension, so that a list
written for files fits a corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.audio import without_extension
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError

_FORMATS = "`label enrol test` with label 1 or 0, or `enrol test target|nontarget`"
_VOXCELEB, _KALDI = {"1": True, "0": False}, {"target": True, "nontarget": False}


@dataclass(frozen=True, eq=False)
class Trials:
    """A list of n trials over some utterances.

    Attributes:
        name: of the file.
        utterances: the different names, in order of appearance: first all that enrol, then the others.
        enrol: int64 [n], index into `utterances`.
        test: int64 [n], index into `utterances`.
        labels: bool [n], True where both are one speaker (target).
        duplicates: how many trials repeat an earlier one; they count as often as they stand there.
    """

    name: str
    utterances: tuple[str, ...]
    enrol: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.labels)


def read_trials(path: Path | str) -> Trials:
    """Reads a list of trials; empty lines are skipped.

    Raises:
        UserError: no such file, no trials, a line that does not fit (with its number), one label only.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no such trial list: {path}") from None
    except IsADirectoryError:
        raise UserError(f"the trial list is a folder: {path}", allowed=f"a text file: {_FORMATS}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"the trial list is not text: {path}", got=str(error), allowed=_FORMATS) from None
    lines = text.split("\n")
    rows = [cells for line in lines if (cells := line.split())]
    if not rows:
        raise UserError(f"the trial list is empty: {path}", allowed=_FORMATS)
    kaldi = len(rows[0]) == 3 and rows[0][2] in _KALDI
    label_at, known = (2, _KALDI) if kaldi else (0, _VOXCELEB)
    if {len(row) for row in rows} != {3} or not {row[label_at] for row in rows} <= known.keys():
        raise _malformed(path, lines, label_at, known)
    enrol_at, test_at = (0, 1) if kaldi else (1, 2)
    labels = np.fromiter((known[row[label_at]] for row in rows), bool, len(rows))
    if labels.all() or not labels.any():
        only = "target" if labels[0] else "non-target"
        raise UserError(
            f"the trial list {path} has {only} trials only: EER needs both",
            got=f"{len(rows):,} {only} trials",
            allowed=_FORMATS,
        )
    utterances, enrol, test = _number([row[enrol_at] for row in rows], [row[test_at] for row in rows])
    pairs = (enrol * len(utterances) + test) * 2 + labels
    return Trials(path.name, utterances, enrol, test, labels, len(pairs) - len(np.unique(pairs)))


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
            got=f"the first is {absent[0]!r}",
            allowed=f"names such as {corpus.utterances[0]!r}" if len(corpus) else "the corpus is empty",
            remedy="pack the corpus that the list was made for, or choose another list",
        )
    return found


def speakers_of(trials: Trials, corpus: Corpus) -> np.ndarray:
    """The speaker of each of the trials' utterances, as `corpus.labels`: int64 [len(trials.utterances)]."""
    return corpus.labels[resolve(trials, corpus)]


def _number(enrol: Sequence[str], test: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Gives every different name, less its extension, a number."""
    numbers: dict[str, int] = {}
    known: dict[str, int] = {}
    for written in dict.fromkeys([*enrol, *test]):
        known[written] = numbers.setdefault(without_extension(written), len(numbers))
    count = len(enrol)
    first = np.fromiter(map(known.__getitem__, enrol), np.int64, count)
    second = np.fromiter(map(known.__getitem__, test), np.int64, count)
    return tuple(numbers), first, second


def _malformed(path: Path, lines: Sequence[str], label_at: int, known: dict[str, bool]) -> UserError:
    """The error for the first line that does not fit, and why it does not."""
    other = {0: (2, _KALDI), 2: (0, _VOXCELEB)}[label_at]
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells or (len(cells) == 3 and cells[label_at] in known):
            continue
        if len(cells) != 3:
            why = f"{len(cells)} words where a trial has 3"
        elif cells[other[0]] in other[1]:
            why = "the lines before it are in the other format: the list mixes both"
        elif number == 1 or label_at == 2:
            why = "it has no label"
        else:
            why = f"its label is {cells[0][:20]!r}"
        shown = line.strip() if len(line) <= 100 else line.strip()[:100] + "…"
        return UserError(f"{path}, line {number}: {why}", got=repr(shown), allowed=_FORMATS)
    raise AssertionError(f"every line of {path} fits")
