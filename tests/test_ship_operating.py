"""The threshold that ships: from all trials, with rates from speakers that had no part in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.calibrate import cross_fit
from distilvox.files import read_json, write_json
from distilvox.ship.operating import TooFewTrials, operating_point

SPEAKERS = np.repeat([f"d{k:02d}" for k in range(36)], 3)
ENROL, TEST = np.triu_indices(len(SPEAKERS), 1)
LABELS = SPEAKERS[ENROL] == SPEAKERS[TEST]


@pytest.fixture
def run(tmp_path: Path, rng: np.random.Generator) -> Path:
    return judged(tmp_path, 0.1 * rng.standard_normal(len(LABELS)) + 0.4 * LABELS)


def judged(run: Path, scores: np.ndarray) -> Path:
    np.savez(run / "scores.npz", scores=scores, labels=LABELS, enrol=ENROL, test=TEST, speakers=SPEAKERS)
    write_json(run / "evaluation.json", {"trial_list": "dev.txt", "trials": len(LABELS)})
    return run


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_the_threshold_accepts_the_share_asked_for_on_its_own_trials(rate: float, run: Path) -> None:
    point = operating_point(run, rate)
    others = np.load(run / "scores.npz")["scores"][~LABELS]
    above = int((others > point.threshold).sum())
    assert above == int(rate * len(others))
    assert (point.false_accept_target, point.trial_list) == (rate, "dev.txt")
    assert (point.trials, point.target_trials) == (len(LABELS), int(LABELS.sum()))


def test_the_rates_beside_it_are_of_speakers_that_did_not_choose(run: Path) -> None:
    point = operating_point(run, 0.05, seed=3)
    scores, sides = np.load(run / "scores.npz")["scores"], (SPEAKERS[ENROL], SPEAKERS[TEST])
    held_out = cross_fit(scores, LABELS, *sides, false_accept=0.05, seed=3)
    assert (point.false_accept, point.miss) == (held_out.false_accept, held_out.miss)
    own = float((scores[~LABELS] > point.threshold).mean())
    assert point.false_accept != own  # it is not read off the trials that chose the threshold
    assert point.false_accept == pytest.approx(0.05, abs=0.03)


def test_a_stricter_rate_is_a_higher_threshold(run: Path) -> None:
    thresholds = [operating_point(run, rate).threshold for rate in (0.2, 0.1, 0.05, 0.01)]
    assert thresholds == sorted(set(thresholds))


def test_a_run_that_cannot_set_a_threshold_says_why(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewTrials, match="too few non-target trials"):
        operating_point(run, 1e-4)
    with pytest.raises(UserError, match="false_accept is a rate"):
        operating_point(run, 0.0)
    held = read_json(run / "evaluation.json", noun="evaluation")
    write_json(run / "evaluation.json", {**held, "trials": 7})
    with pytest.raises(UserError, match=r"not of one judgement[\s\S]*7 trials"):
        operating_point(run, 0.05)
    (run / "scores.npz").unlink()
    with pytest.raises(UserError, match=r"no scores here[\s\S]*train with --trials"):
        operating_point(run, 0.05)
    (run / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"no evaluation here[\s\S]*train with --trials"):
        operating_point(run, 0.05)
