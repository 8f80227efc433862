"""Lists of verification trials: VoxCeleb's (`label enrol test`) or Kaldi's (`enrol test target|nontarget`).

Which of the two a list is, its first line says. Names lose a known audio extension, so that a list
written for files fits a corpus.
"""

from __future__ import annotations

import codecs
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np

from distilvox.audio import without_extension
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError

_FORMATS = "`label enrol test` with label 1 or 0, or `enrol test target|nontarget`"
_VOXCELEB, _KALDI = {b"1": True, b"0": False}, {b"target": True, b"nontarget": False}


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
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        data.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no such trial list: {path}") from None
    except IsADirectoryError:
        raise UserError(f"the trial list is a folder: {path}", allowed=f"a text file: {_FORMATS}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"the trial list is not text: {path}", got=str(error), allowed=_FORMATS) from None
    words = data.split()
    if not words:
        raise UserError(f"the trial list is empty: {path}", allowed=_FORMATS)
    label_at, known = (2, _KALDI) if words[2:3] and words[2] in _KALDI else (0, _VOXCELEB)
    if not _three_a_line(data) or not set(words[label_at::3]) <= known.keys():
        raise _malformed(path, data.split(b"\n"), label_at, known)
    enrol_at, test_at = (1, 2) if label_at == 0 else (0, 1)
    labels = np.fromiter(map(known.__getitem__, words[label_at::3]), bool, len(words) // 3)
    if labels.all() or not labels.any():
        only = "target" if labels[0] else "non-target"
        raise UserError(
            f"the trial list {path} has {only} trials only: EER needs both",
            got=f"{len(labels):,} {only} trials",
            allowed=_FORMATS,
        )
    utterances, enrol, test = _number(words[enrol_at::3], words[test_at::3])
    trials = np.sort((enrol * len(utterances) + test) * 2 + labels)
    return Trials(path.name, utterances, enrol, test, labels, int(np.count_nonzero(np.diff(trials) == 0)))


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
    """Gives every different name, less its extension, a number."""
    written: defaultdict[bytes, int] = defaultdict(count().__next__)
    first = np.fromiter(map(written.__getitem__, enrol), np.int64, len(enrol))
    second = np.fromiter(map(written.__getitem__, test), np.int64, len(test))
    names: dict[str, int] = {}
    number = [names.setdefault(without_extension(name.decode()), len(names)) for name in written]
    return tuple(names), np.take(number, first), np.take(number, second)


def _malformed(path: Path, lines: Sequence[bytes], label_at: int, known: dict[bytes, bool]) -> UserError:
    """The error for the first line that does not fit, and why it does not."""
    other_at, other = {0: (2, _KALDI), 2: (0, _VOXCELEB)}[label_at]
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or (len(words) == 3 and words[label_at] in known):
            continue
        if len(words) != 3:
            why = f"{len(words)} words where a trial has 3"
        elif words[other_at] in other:
            why = "the lines before it are in the other format: the list mixes both"
        else:
            why = f"its label is {words[label_at].decode()[:20]!r}"
        shown = line.decode().strip()
        shown = shown if len(shown) <= 100 else shown[:100] + "…"
        return UserError(f"{path}, line {number}: {why}", got=repr(shown), allowed=_FORMATS)
    raise AssertionError(f"every line of {path} fits")
