"""Everything a trial list says about one set of embeddings, in one frozen record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from distilvox.errors import UserError, require
from distilvox.evaluation.agreement import Agreement
from distilvox.evaluation.confidence import bootstrap_eer
from distilvox.evaluation.metrics import curve_eer, curve_min_dcf, det_curve
from distilvox.evaluation.norm import TOP, as_norm, cohort_statistics
from distilvox.evaluation.score import cosine_scores

PRIORS = (0.01, 0.05)
"""Priors of a target trial at which the minimum detection cost is reported."""

RAW = "raw cosine"
CENTRED = "cosine, training mean removed"


@runtime_checkable
class TrialList(Protocol):
    """What evaluation needs of a trial list: `distilvox.corpus.trials.Trials` has it."""

    @property
    def name(self) -> str: ...

    @property
    def utterances(self) -> Sequence[str]: ...

    @property
    def enrol(self) -> np.ndarray: ...

    @property
    def test(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Evaluation:
    """Rates as fractions; `eer_ci` is the 95 % interval over speakers; `scores` [n] stay out of the JSON.

    `repeated_trials` stand in the list before, whichever side enrols: they count each time.
    `agreement` with a teacher, where there is one to agree with. `trials_id` says which trials these were by their
    content, whatever the list is called; None where that is not known.
    """

    trial_list: str
    trials: int
    target_trials: int
    speakers: int
    scoring: str
    eer: float
    eer_ci: tuple[float, float]
    eer_threshold: float
    min_dcf: dict[str, float]
    scores: np.ndarray = field(repr=False, compare=False)
    agreement: Agreement | None = None
    repeated_trials: int = 0
    trials_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the kind of score stands under the key `scores`."""
        found: dict[str, Any] = {
            "trial_list": self.trial_list,
            "trials_id": self.trials_id,
            "trials": self.trials,
            "target_trials": self.target_trials,
            "repeated_trials": self.repeated_trials,
            "speakers": self.speakers,
            "scores": self.scoring,
            "eer": self.eer,
            "eer_ci": list(self.eer_ci),
            "eer_threshold": self.eer_threshold,
            "min_dcf": dict(self.min_dcf),
        }
        return found if self.agreement is None else {**found, "agreement": self.agreement.to_json()}


def check_speakers(trials: TrialList, speakers: np.ndarray) -> None:
    """Refuses a trial list that contradicts the corpus: names the first such trial and its speakers."""
    same = speakers[trials.enrol] == speakers[trials.test]
    wrong = np.flatnonzero(same != np.asarray(trials.labels).astype(bool))
    if len(wrong):
        k = int(wrong[0])
        enrol, test = int(trials.enrol[k]), int(trials.test[k])
        kind = "target" if trials.labels[k] else "non-target"
        raise UserError(
            f"{len(wrong)} of {len(same)} trials of {trials.name} contradict the speakers of the corpus; "
            f"the first is {kind} trial {k + 1}, {trials.utterances[enrol]} {trials.utterances[test]}",
            got=f"speakers {speakers[enrol]} and {speakers[test]}",
            remedy="the trial list is mislabelled, or belongs to another corpus",
        )


def evaluate(
    embeddings: Float[np.ndarray, "U D"],
    trials: TrialList,
    speakers: Sequence[object] | np.ndarray,
    *,
    centre: Float[np.ndarray, " E"] | None = None,
    cohort: Float[np.ndarray, "K F"] | None = None,
    top: int = TOP,
    replicates: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Scores the trials and reports EER, its confidence interval and the minimum detection costs.

    Args:
        embeddings: [U, D], one row for each of `trials.utterances`, in that order.
        trials: `enrol` and `test` [n] are rows of `embeddings`; `labels` [n] are True for targets.
        speakers: [U] name or number of the speaker of each row.
        centre: [D] mean of *training* embeddings to take off first; None scores the raw cosine.
        cohort: [K, D], one embedding a speaker of *training*: scores are then normalised (AS-norm) with the
            `top` nearest of them.
        replicates, seed: of the bootstrap over speakers (`confidence.bootstrap_eer`).

    Raises:
        UserError: a zero or non-finite embedding (names its utterance), trials of one class only, trial
            labels that contradict the speakers (names the first such trial).
    """
    who = np.asarray(speakers)
    rows = len(trials.utterances)
    require(
        len(embeddings) == rows and len(who) == rows,
        f"{trials.name} needs one embedding and one speaker for each of its {rows} utterances",
        got=f"{len(embeddings)} embeddings, {len(who)} speakers",
    )
    check_speakers(trials, who)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1) | ~embeddings.any(axis=1))
    if len(bad):
        raise UserError(
            f"the embedding of {trials.utterances[int(bad[0])]} is zero or not finite",
            got=f"{len(bad)} such embeddings of {rows}",
            remedy="look at this utterance's audio, or at the model",
        )
    scores = cosine_scores(embeddings, trials.enrol, trials.test, centre=centre)
    scoring = RAW if centre is None else CENTRED
    if cohort is not None:
        statistics = cohort_statistics(embeddings, cohort, top=top, centre=centre)
        scores = as_norm(scores, trials.enrol, trials.test, *statistics)
        scoring += f", AS-norm with the nearest {top} of {len(cohort)} cohort speakers"
    curve = det_curve(scores, trials.labels)
    rate, threshold = curve_eer(curve)
    enrol_speaker, test_speaker = who[trials.enrol], who[trials.test]
    return Evaluation(
        trial_list=trials.name,
        trials=len(scores),
        target_trials=int(np.asarray(trials.labels).astype(bool).sum()),
        speakers=len(np.unique(np.concatenate([enrol_speaker, test_speaker]))),
        scoring=scoring,
        eer=rate,
        eer_ci=bootstrap_eer(
            scores, trials.labels, enrol_speaker, test_speaker, replicates=replicates, seed=seed
        ),
        eer_threshold=threshold,
        min_dcf={f"{p:g}": curve_min_dcf(curve, p_target=p) for p in PRIORS},
        scores=scores,
        repeated_trials=count_repeated(trials.enrol, trials.test),
    )


def count_repeated(enrol: np.ndarray, test: np.ndarray) -> int:
    """How many of n trials, int64 [n] and [n], repeat an earlier one or turn it round.

    >>> count_repeated(np.array([0, 1, 0]), np.array([1, 0, 2]))
    1
    """
    pairs = np.minimum(enrol, test) * (int(max(enrol.max(), test.max())) + 1) + np.maximum(enrol, test)
    return len(pairs) - len(np.unique(pairs))
