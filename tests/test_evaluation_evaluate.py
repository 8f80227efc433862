from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.confidence import bootstrap_eer
from distilvox.evaluation.evaluate import evaluate
from distilvox.evaluation.metrics import eer, eer_threshold, min_dcf
from distilvox.evaluation.norm import as_norm, cohort_statistics
from distilvox.evaluation.score import cosine_scores


@dataclass(frozen=True)
class List:
    name: str
    utterances: tuple[str, ...]
    enrol: np.ndarray
    test: np.ndarray
    labels: np.ndarray


@pytest.fixture
def case(rng: np.random.Generator) -> tuple[np.ndarray, List, np.ndarray]:
    """12 speakers of 3 utterances each, all pairs."""
    speakers = np.repeat(np.arange(12), 3)
    embeddings = (rng.standard_normal((12, 8))[speakers] + rng.standard_normal((36, 8))).astype(np.float32)
    enrol, test = np.triu_indices(36, 1)
    names = tuple(f"s{s}/u{k}" for k, s in enumerate(speakers))
    return embeddings, List("all.txt", names, enrol, test, speakers[enrol] == speakers[test]), speakers


def test_the_record_holds_what_the_parts_say(case: tuple[np.ndarray, List, np.ndarray]) -> None:
    embeddings, trials, speakers = case
    result = evaluate(embeddings, trials, speakers, replicates=50, seed=3)
    scores = cosine_scores(embeddings, trials.enrol, trials.test)
    low, high = bootstrap_eer(
        scores, trials.labels, speakers[trials.enrol], speakers[trials.test], replicates=50, seed=3
    )
    np.testing.assert_array_equal(result.scores, scores)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == {
        "eer": eer(scores, trials.labels),
        "eer_ci": [low, high],
        "eer_threshold": eer_threshold(scores, trials.labels),
        "min_dcf": {str(p): min_dcf(scores, trials.labels, p_target=p) for p in (0.01, 0.05)},
        "trials": 630,
        "target_trials": 36,
        "speakers": 12,
        "trial_list": "all.txt",
        "trials_id": None,
        "repeated_trials": 0,
        "scores": "raw cosine",
    }
    named = evaluate(embeddings, trials, [f"s{k:02}" for k in speakers], replicates=50, seed=3)
    assert named == result


def test_centre_is_used_and_said(case: tuple[np.ndarray, List, np.ndarray]) -> None:
    embeddings, trials, speakers = case
    centre = np.full(8, 3.0, dtype=np.float32)
    result = evaluate(embeddings + centre, trials, speakers, centre=centre, replicates=10)
    raw = evaluate(embeddings, trials, speakers, replicates=10)
    np.testing.assert_allclose(result.scores, raw.scores, atol=1e-5)
    assert result.to_json()["scores"] == "cosine, training mean removed"


def test_a_cohort_normalises_the_scores_and_is_said(
    case: tuple[np.ndarray, List, np.ndarray], rng: np.random.Generator
) -> None:
    embeddings, trials, speakers = case
    cohort = rng.standard_normal((20, 8)).astype(np.float32)
    found = evaluate(embeddings, trials, speakers, cohort=cohort, top=5, replicates=10)
    raw = cosine_scores(embeddings, trials.enrol, trials.test)
    statistics = cohort_statistics(embeddings, cohort, top=5)
    np.testing.assert_array_equal(found.scores, as_norm(raw, trials.enrol, trials.test, *statistics))
    assert found.scoring == "raw cosine, AS-norm with the nearest 5 of 20 cohort speakers"
    assert found.eer == eer(found.scores, trials.labels)


def test_a_mislabelled_list_is_refused(case: tuple[np.ndarray, List, np.ndarray]) -> None:
    embeddings, trials, speakers = case
    labels = trials.labels.copy()
    labels[[4, 9]] = ~labels[[4, 9]]
    with pytest.raises(
        UserError,
        match=r"(?s)2 of 630 trials of all.txt contradict.* first is target trial 5, s0/u0 s1/u5.*0 and 1",
    ):
        evaluate(embeddings, replace(trials, labels=labels), speakers)
    labels = trials.labels.copy()
    labels[0] = False
    with pytest.raises(UserError, match="first is non-target trial 1, s0/u0 s0/u1"):
        evaluate(embeddings, replace(trials, labels=labels), speakers)


def test_bad_embeddings_name_their_utterance(case: tuple[np.ndarray, List, np.ndarray]) -> None:
    embeddings, trials, speakers = case
    for value in (0.0, np.nan):
        broken = embeddings.copy()
        broken[7] = value
        with pytest.raises(UserError, match="the embedding of s2/u7 is zero or not finite"):
            evaluate(broken, trials, speakers)
    with pytest.raises(UserError, match="one embedding and one speaker for each of its 36"):
        evaluate(embeddings[:-1], trials, speakers)


def test_only_one_class(case: tuple[np.ndarray, List, np.ndarray]) -> None:
    embeddings, trials, speakers = case
    keep = trials.labels
    only = replace(trials, enrol=trials.enrol[keep], test=trials.test[keep], labels=trials.labels[keep])
    with pytest.raises(UserError, match="all 36 trials are target trials"):
        evaluate(embeddings, only, speakers)
