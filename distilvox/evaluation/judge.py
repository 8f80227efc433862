"""A trial list bound to the corpus that holds its utterances: whatever embeds speech is judged by it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distilvox.corpus.store import Corpus
from distilvox.corpus.trials import Trials, bind, read_trials, refuse_unlabelled
from distilvox.errors import UserError, require
from distilvox.evaluation.agreement import Agreement, agreement
from distilvox.evaluation.embed import Speech, embed_corpus
from distilvox.evaluation.evaluate import Evaluation, evaluate
from distilvox.evaluation.metrics import eer
from distilvox.evaluation.norm import TOP
from distilvox.evaluation.score import cosine_scores
from distilvox.files import atomic_file, write_json


class Judge:
    """Dev or test trials, resolved once against their corpus.

    Attributes:
        rows: [U] index into the corpus of each of the trials' utterances.
        speakers: [U] speaker name of each.
        enrol_speaker, test_speaker: [n] speaker name of both sides of each trial.

    Raises:
        UserError: the corpus lacks an utterance of the list (names it), or its speaker; the list compares utterances
            with themselves.
    """

    def __init__(self, corpus: Corpus, trials: Trials) -> None:
        self.corpus = corpus
        self.trials, self.rows = bind(trials, corpus)
        refuse_unlabelled(self.trials, corpus, self.rows)
        self.speakers = np.asarray(corpus.speakers)[corpus.labels[self.rows]]
        self.enrol_speaker = self.speakers[self.trials.enrol]
        self.test_speaker = self.speakers[self.trials.test]

    @classmethod
    def open(cls, corpus: Path | Corpus, trials: Path) -> Judge:
        return cls(corpus if isinstance(corpus, Corpus) else Corpus.open(corpus), read_trials(trials))

    def refuse_training_speakers(self, names: Container[str], where: str = "in the training corpus") -> None:
        """Raises a UserError if a speaker of the trials is also trained on: EER would flatter.

        Args:
            names: the training speakers.
            where: what the message says of them.
        """
        both = sorted(name for name in set(self.speakers.tolist()) if name in names)
        if both:
            raise UserError(
                f"{len(both)} speakers of {self.trials.name} are also {where}: its EER would flatter",
                got=", ".join(both[:5]),
                remedy="take other trials, or --force if they are other people under the same names",
            )

    def embed(
        self,
        embed: Callable[[Tensor], Tensor],
        *,
        device: torch.device | str = "cpu",
        speech: Speech | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Whole-utterance embeddings [U, D] of the trials' utterances, in their order.

        `speech` is the corpus as it is heard under a condition; None: as it is.
        """
        return embed_corpus(embed, speech or self.corpus, self.rows, device=device, progress=progress)

    def judge(
        self,
        embeddings: np.ndarray,
        *,
        teacher: np.ndarray | None = None,
        centre: np.ndarray | None = None,
        cohort: np.ndarray | None = None,
        top: int = TOP,
        replicates: int = 1000,
    ) -> Evaluation:
        """EER, minDCF and their interval for the embeddings that `embed` returned; arguments of `evaluate`.

        With the embeddings of a teacher, the agreement with it too.
        """
        found = evaluate(
            embeddings,
            self.trials,
            self.speakers,
            centre=centre,
            cohort=cohort,
            top=top,
            replicates=replicates,
        )
        agreed = None if teacher is None else self.agreement(embeddings, teacher)
        return replace(found, trials_id=self.trials.id, agreement=agreed)

    def agreement(self, student: np.ndarray, teacher: np.ndarray) -> Agreement:
        """How alike a student's [U, D] and a teacher's [U, D_t] embeddings of the trials' utterances are."""
        return agreement(
            student, teacher, enrol=self.trials.enrol, test=self.trials.test, speakers=self.speakers
        )

    def eer(self, embeddings: np.ndarray) -> float:
        """The EER alone, raw cosine, without an interval: for a look during training."""
        return eer(cosine_scores(embeddings, self.trials.enrol, self.trials.test), self.trials.labels)


EVALUATION = "evaluation.json"
SCORES = "scores.npz"


def save_evaluation(folder: Path, evaluation: Evaluation, judge: Judge, embeddings: np.ndarray) -> None:
    """Writes `scores.npz` (scores and embeddings, for paired tests and the report), then `evaluation.json`."""
    with atomic_file(folder / SCORES) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            scores=evaluation.scores.astype(np.float32),
            labels=judge.trials.labels,
            enrol=judge.trials.enrol,
            test=judge.trials.test,
            speakers=judge.speakers,
            embeddings=embeddings.astype(np.float32),
        )
    write_json(folder / EVALUATION, evaluation.to_json())


class SavedScores(NamedTuple):
    """What a judged run remembers of its trials: scores and labels [n], and the speakers of both sides [n]."""

    scores: np.ndarray
    labels: np.ndarray
    enrol_speaker: np.ndarray
    test_speaker: np.ndarray

    def same_trials(self, other: SavedScores) -> bool:
        """Whether both were judged by the same trials, as far as labels and speakers tell."""
        return all(np.array_equal(a, b) for a, b in zip(self[1:], other[1:], strict=True))


def load_scores(folder: Path) -> SavedScores:
    """Reads `scores.npz`, that `save_evaluation` wrote; scores as float64.

    Raises:
        UserError: it is missing or damaged.
    """
    held = _load(folder, ("scores", "labels", "enrol", "test", "speakers"))
    scores, labels, who = held["scores"].astype(np.float64), held["labels"], held["speakers"]
    with _readable(folder):
        sides = who[held["enrol"]], who[held["test"]]
    require(scores.ndim == 1 and scores.shape == labels.shape, f"these scores are damaged: {folder / SCORES}")
    return SavedScores(scores, labels, *sides)


def load_embeddings(folder: Path) -> np.ndarray:
    """The embeddings [U, D] of the trials' utterances, in their order, that `save_evaluation` wrote; its errors."""
    return _load(folder, ("embeddings",))["embeddings"]


def agreement_of_run(run: Path, teacher: np.ndarray) -> Agreement:
    """How alike a finished run and a teacher are, from the embeddings that the run saved when it was judged.

    Args:
        run: a folder with `scores.npz`.
        teacher: [U, D_t] of the same trials' utterances in their order, as `Judge.embed` returns them.

    Raises:
        UserError: no scores, damaged ones, or another number of utterances.
    """
    held = _load(run, ("embeddings", "enrol", "test", "speakers"))
    student = held.pop("embeddings")
    require(
        len(student) == len(teacher),
        "the run was judged by the utterances of other trials than the teacher's embeddings",
        got=f"{len(student)} utterances in {run / SCORES}, {len(teacher)} embeddings of the teacher",
    )
    return agreement(student, teacher, **held)


def _load(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with _readable(folder), open(folder / SCORES, "rb") as file, np.load(file, allow_pickle=False) as held:
        return {name: held[name] for name in names}


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    path = folder / SCORES
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no scores here: {path} does not exist", remedy="train with --trials") from None
    except (KeyError, IndexError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"these scores are damaged: {path}", got=str(error)) from None
