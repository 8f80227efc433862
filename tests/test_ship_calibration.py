"""Calibration: the right ratio and threshold for each duration, only where trials support one, on other people."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.ship.calibrating import Calibrated, Scored, calibrate, halves, interval
from distilvox.ship.calibration import RATES, Calibration, Threshold, nominal_of, probability
from distilvox.ship.calibrationpage import render
from distilvox.ship.card import Card, OperatingPoint
from distilvox.ship.decision import decide_voices
from distilvox.ship.pairs import groups, score_pairs


def draw(
    rng: np.random.Generator, people: int = 60, each: int = 6, name: str = "tune.txt", first: int = 0
) -> Scored:
    """All pairs of some people's recordings; short speech brings both classes nearer, as it does in truth."""
    who = np.repeat(np.arange(people) + first, each)
    enrol, test = np.triu_indices(len(who), 1)
    labels = who[enrol] == who[test]
    shorter = rng.choice([0.9, 2.0, 3.2, 5.1, 7.0], len(labels))
    shift = 0.15 * np.log(shorter / 7)
    scores = 0.12 * rng.standard_normal(len(labels)) + (0.55 + shift) * labels
    return Scored(name, scores, labels, shorter, np.full(len(labels), 7.0), who[enrol], who[test])


@pytest.fixture(scope="module")
def trials() -> Scored:
    return draw(np.random.default_rng(1))


@pytest.fixture(scope="module")
def done(trials: Scored) -> Calibrated:
    return calibrate(trials)


def test_thresholds_hold_what_they_state(done: Calibrated) -> None:
    for one in done.calibration.thresholds:
        if one.threshold is not None and one.low is not None and one.high is not None:
            assert one.low * 0.7 <= one.rate <= one.high * 1.4
            assert one.false_accept == pytest.approx(one.rate, rel=0.6)
    told = {(one.seconds, one.rate): one for one in done.calibration.thresholds}
    missed = [told[seconds, 0.01].miss or 0.0 for seconds in (1.0, 5.0, None)]
    assert missed[0] > missed[1] > missed[2] > 0
    strict, usual = (told[1.0, rate].threshold for rate in (0.001, 0.01))
    assert strict is not None
    assert usual is not None
    assert strict > usual


def test_too_few_trials_are_no_number(done: Calibrated, trials: Scored) -> None:
    rare = [one for one in done.calibration.thresholds if one.rate == 0.0001]
    assert {one.threshold for one in rare} == {None}
    assert all("at least 100,000 are needed" in one.note for one in rare)
    few = trials.part(np.isin(trials.enrol, range(10)) & np.isin(trials.test, range(10)))
    notes = {
        one.note for one in calibrate(few, draw(np.random.default_rng(2), first=100)).calibration.thresholds
    }
    assert not {one for one in notes if not one}
    assert any(
        "people, at least 20 are needed" in one or "trials of different people" in one for one in notes
    )


def test_ratios_are_what_they_claim(trials: Scored) -> None:
    """Fitted on some people, judged on others: Cllr near its least, in each duration."""
    done = calibrate(trials, draw(np.random.default_rng(5), name="dev.txt", first=1_000))
    assert (done.calibration.fitted_on, done.calibration.judged_on) == ("tune.txt", "dev.txt")
    assert done.figures["all"]["cllr"] < done.figures["all"]["min_cllr"] + 0.03
    for key in ("1", "2", "3", "5", "longer"):
        assert done.figures[key]["cllr"] < done.figures[key]["min_cllr"] + 0.05, key


def test_the_same_score_says_less_after_less_speech(done: Calibrated) -> None:
    found = done.calibration
    assert found.llr(0.6, (7.0, 7.0)) != found.llr(0.6, (1.0, 7.0))
    assert found.llr(0.6, (1.0, 7.0)) == found.llr(0.6, (7.0, 1.0))
    assert np.all(np.diff([found.llr(score, (3.0, 7.0)) for score in (-0.5, 0.0, 0.5, 1.0)]) > 0)
    assert found.llr(0.6) == found.llr(0.6, (60.0, 8.0))


def test_nobody_judges_himself(trials: Scored) -> None:
    for fit, judge in halves(trials):
        assert not set(fit.people) & set(judge.people)
    with pytest.raises(UserError, match=r"may not judge what was fitted[\s\S]*people are in both"):
        calibrate(trials, draw(np.random.default_rng(2), name="dev.txt"))


def test_it_reads_back_as_it_was_written(done: Calibrated) -> None:
    text = json.dumps(done.calibration.to_json(), allow_nan=False)
    assert Calibration.from_json(json.loads(text)) == done.calibration
    for damage in ({}, {"weights": {"score": 1.0}}, {"thresholds": [{"x": 1}]}, {"weights": 3}):
        value = json.loads(text) | damage if damage else damage
        with pytest.raises(UserError, match=r"calibration"):
            Calibration.from_json(value)


def test_an_interval_holds_the_rate_and_narrows_with_people() -> None:
    widths = []
    for people in (20, 80):
        some = draw(np.random.default_rng(3), people)
        above = some.scores[~some.labels] > 0.2
        low, high = interval(above, some.enrol[~some.labels], some.test[~some.labels])
        assert low <= above.mean() <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


# --- decisions ------------------------------------------------------------------------------------------

POINT = OperatingPoint(0.4, 0.01, "old.txt", 10_000, 1_000)


def card(calibration: Calibration | None, point: OperatingPoint | None = POINT) -> Card:
    return Card(
        {"name": "x", "embedding_dim": 4}, "0" * 16, {}, None, {}, None, point, {}, {}, "0", {}, calibration
    )


def test_a_decision_states_ratio_probability_and_the_threshold_of_its_duration(done: Calibrated) -> None:
    held = card(done.calibration)
    short, long = (decide_voices(held, 0.5, (seconds, 9.0), None, "float32") for seconds in (0.9, 7.0))
    for decision, nominal in ((short, 1.0), (long, None)):
        told = done.calibration.threshold_for(0.9 if nominal else 7.0, 0.01)
        assert told.seconds == nominal
        assert (decision.threshold, decision.false_accept, decision.miss) == (
            told.threshold, told.false_accept, told.miss,
        )  # fmt: skip
        assert decision.llr is not None
        assert decision.probability == pytest.approx(1 / (1 + np.exp(-decision.llr)))
    assert (short.seconds, short.trial_list) == (0.9, "tune.txt")
    assert "log-likelihood ratio +" in str(long)
    assert "the threshold is the one for 6 s or more of sound" in str(long)
    strict = decide_voices(held, 0.5, (7.0, 9.0), None, "float32", 0.001)
    assert strict.threshold is not None
    assert long.threshold is not None
    assert strict.threshold > long.threshold
    with pytest.raises(
        UserError, match=r"no thresholds were set for this false-accept rate[\s\S]*0\.01, 0\.001"
    ):
        decide_voices(held, 0.5, (7.0, 9.0), None, "float32", 0.02)


def test_without_a_threshold_for_its_duration_a_decision_says_so(done: Calibrated) -> None:
    none = tuple(replace(one, threshold=None, note="3 trials") for one in done.calibration.thresholds)
    bare = replace(done.calibration, thresholds=none)
    by_point = decide_voices(card(bare), 0.5, (0.9, 9.0), None, "float32")
    assert (by_point.threshold, by_point.accept) == (0.4, True)
    assert by_point.note.startswith("no threshold for 1 s of sound: 3 trials")
    nothing = decide_voices(card(bare, None), 0.5, (0.9, 9.0), None, "float32")
    assert (nothing.accept, nothing.threshold) == (None, None)
    assert nothing.llr is not None
    assert decide_voices(card(bare), 0.5, (0.9, 9.0), 0.7, "float32").accept is False


def test_without_a_calibration_all_is_as_before() -> None:
    decision = decide_voices(card(None), 0.5, (None, 3.0), None, "float32")
    assert (decision.threshold, decision.llr, decision.seconds) == (0.4, None, None)
    with pytest.raises(UserError, match=r"no threshold for this false-accept rate[\s\S]*calibrate"):
        decide_voices(card(None), 0.5, (2.0, 3.0), None, "float32", 0.001)


def test_a_card_keeps_it_and_its_id_tells_it(done: Calibrated) -> None:
    held = card(done.calibration)
    assert Card.from_json(json.loads(json.dumps(held.to_json())), "here") == held
    old = {name: value for name, value in card(None).to_json().items() if name != "calibration"}
    assert Card.from_json(old, "here") == card(None)
    assert (
        len({held.calibration_id, card(None).calibration_id, card(done.calibration, None).calibration_id})
        == 3
    )


def test_edges() -> None:
    assert [nominal_of(s) for s in (0.0, 1.49, 1.5, 6.0)] == [1.0, 1.0, 2.0, None]
    assert probability(0.0) == 0.5
    assert probability(1e4) == 1.0
    assert "none: few" in str(Threshold(None, 0.01, None, note="few"))
    assert len(RATES) == 3


# --- pairs ----------------------------------------------------------------------------------------------


def test_pairs_are_scored_for_each_duration(rng: np.random.Generator) -> None:
    waves = [0.1 * rng.standard_normal(16_000 * seconds).astype(np.float32) for seconds in (8, 4, 2, 6)]
    lengths: list[int] = []

    def embed(wave: np.ndarray) -> np.ndarray:
        lengths.append(len(wave))
        return np.array([wave.mean(), wave.std(), 1.0])

    enrol, test = np.array([0, 0, 1]), np.array([1, 2, 3])
    labels = np.array([True, False, False])
    found = score_pairs("x", enrol, test, labels, None, read=waves.__getitem__, embed=embed)
    per_duration = {1.0: 3, 2.0: 2, 3.0: 2, 5.0: 1}
    assert len(found.scores) == sum(per_duration.values()) + 3
    assert np.all(found.shorter <= found.longer)
    assert (
        sorted(set(np.round(found.shorter, 1))) == [1.0, 2.0, 3.0, 4.0, 5.0] or len(set(found.shorter)) >= 5
    )
    assert len(set(found.enrol[found.labels]) ^ set(found.test[found.labels])) == 0


def test_speakers_are_joined_by_pairs() -> None:
    enrol, test = np.array([0, 1, 3, 0]), np.array([1, 2, 4, 3])
    found = groups(enrol, test, np.array([True, True, True, False]), 5)
    assert found[0] == found[1] == found[2] != found[3] == found[4]
    with pytest.raises(UserError, match=r"contradict each other[\s\S]*pair 4"):
        groups(enrol, np.array([1, 2, 4, 2]), np.array([True, True, True, False]), 5)


def test_the_page_holds_the_figures_and_no_markup_of_a_name(done: Calibrated, trials: Scored) -> None:
    page = render("<b>model</b>", trials, done)
    assert "<b>model" not in page
    assert "&lt;b&gt;model&lt;/b&gt;" in page
    assert page.count("<svg") == 2
    assert f"{done.calibration.thresholds[0].threshold:.4f}" in page
    assert "at least 100,000 are needed" in page
