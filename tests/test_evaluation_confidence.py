from __future__ import annotations

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.evaluation.confidence import (
    SpeakerTrials,
    bootstrap_eer,
    number_speakers,
    paired_bootstrap,
    paired_bootstraps,
)
from distilvox.evaluation.metrics import eer
from tests.reference import metrics as reference


def simulate(
    rng: np.random.Generator, speakers: int, *, systems: int = 1, each: int = 2
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of speakers once and `each` target trials a speaker; some speakers are hard for all."""
    a, b = np.triu_indices(speakers, 1)
    own = np.repeat(np.arange(speakers), each)
    enrol, test = np.concatenate([own, a]), np.concatenate([own, b])
    labels = enrol == test
    hard = rng.standard_normal(speakers)
    common = 2.5 * labels + np.where(labels, -0.8 * hard[enrol], 0.4 * (hard[enrol] + hard[test]))
    return [common + rng.standard_normal(len(labels)) for _ in range(systems)], labels, enrol, test


@pytest.mark.parametrize("tied", [False, True])
def test_weighted_eer_equals_the_trials_written_out(rng: np.random.Generator, tied: bool) -> None:
    (scores,), labels, enrol, test = simulate(rng, 6)
    scores = np.round(scores) if tied else scores
    trials = SpeakerTrials(scores, labels, enrol, test)
    assert trials.eers(np.ones((1, 6), dtype=np.int64))[0] == pytest.approx(eer(scores, labels), abs=1e-14)
    for _ in range(10):
        drawn = rng.integers(0, 6, 6)
        written = reference.replicate(scores, labels, enrol, test, drawn)
        weights = np.bincount(drawn, minlength=6)
        assert trials.eers(weights[None])[0] == pytest.approx(eer(*written), abs=1e-14)


def test_a_draw_without_one_class_has_no_eer(rng: np.random.Generator) -> None:
    (scores,), labels, enrol, test = simulate(rng, 4)
    trials = SpeakerTrials(scores, labels, enrol, test)
    assert np.isnan(trials.eers(np.array([[4, 0, 0, 0]]))).all()


def test_interval_laws(rng: np.random.Generator) -> None:
    (scores,), labels, enrol, test = simulate(rng, 40)
    low, high = bootstrap_eer(scores, labels, enrol, test, replicates=300)
    assert 0 <= low < eer(scores, labels) < high <= 1
    assert bootstrap_eer(scores, labels, enrol, test, replicates=300) == (low, high)
    assert bootstrap_eer(scores, labels, enrol, test, replicates=300, seed=1) != (low, high)
    mapped = bootstrap_eer(np.exp(scores), labels, enrol, test, replicates=300)
    assert mapped == (low, high)
    narrow = bootstrap_eer(scores, labels, enrol, test, replicates=300, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    names = np.array([f"s{k:02}" for k in range(40)])
    assert bootstrap_eer(scores, labels, names[enrol], names[test], replicates=300) == (low, high)


def test_interval_narrows_with_speakers(rng: np.random.Generator) -> None:
    widths = []
    for speakers in (20, 120):
        (scores,), labels, enrol, test = simulate(rng, speakers)
        low, high = bootstrap_eer(scores, labels, enrol, test, replicates=200)
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]


def test_perfect_separation_has_a_zero_interval(rng: np.random.Generator) -> None:
    _, labels, enrol, test = simulate(rng, 10)
    assert bootstrap_eer(labels.astype(float), labels, enrol, test, replicates=50) == (0, 0)


def test_coverage_over_speakers(rng: np.random.Generator) -> None:
    """The interval holds the true EER of the population about as often as it says, where one over trials
    does not: 80 draws of 30 speakers, so 95 % is 76 with a standard deviation of 2."""
    (scores,), labels, *_ = simulate(rng, 1500, each=200)
    truth = eer(scores, labels)
    inside, inside_trials = 0, 0
    for seed in range(80):
        (scores,), labels, enrol, test = simulate(rng, 30, each=6)
        low, high = bootstrap_eer(scores, labels, enrol, test, replicates=150, seed=seed)
        inside += low <= truth <= high
        rate = eer(scores, labels)
        half = 1.96 * np.sqrt(rate * (1 - rate) / labels.sum())
        inside_trials += rate - half <= truth <= rate + half
    assert 69 <= inside <= 80
    assert inside_trials < inside


def test_a_system_against_itself_does_not_differ(rng: np.random.Generator) -> None:
    scores, labels, enrol, test = simulate(rng, 25, systems=3)
    result = paired_bootstrap(scores, scores, labels, enrol, test, replicates=100)
    assert (result.difference, result.low, result.high, result.relative) == (0, 0, 0, 0)
    assert result.p == 1


def test_pairing_mirrors_and_narrows(rng: np.random.Generator) -> None:
    (base,), labels, enrol, test = simulate(rng, 60)
    worse = base + 0.7 * rng.standard_normal(len(base))
    one = paired_bootstrap([base], [worse], labels, enrol, test, replicates=300)
    other = paired_bootstrap([worse], [base], labels, enrol, test, replicates=300)
    assert one.difference == eer(worse, labels) - eer(base, labels)
    assert one.relative == pytest.approx(one.difference / one.eer_a)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.low < one.difference < one.high
    assert one.p == other.p
    alone = [bootstrap_eer(s, labels, enrol, test, replicates=300) for s in (base, worse)]
    unpaired = sum((high - low) ** 2 for low, high in alone) ** 0.5
    assert one.high - one.low < 0.9 * unpaired


def test_seeds_that_disagree_widen_the_interval(rng: np.random.Generator) -> None:
    (base,), labels, enrol, test = simulate(rng, 60)
    better, worse = base + 1.0 * labels, base - 1.0 * labels
    steady = paired_bootstrap([base] * 3, [better] * 3, labels, enrol, test, replicates=200)
    shaky = paired_bootstrap([base] * 3, [better, better, worse], labels, enrol, test, replicates=200)
    assert steady.high < 0
    assert steady.p < 0.02
    assert shaky.high > 0
    assert shaky.p > 0.05


def test_one_seed_fewer_is_drawn_than_there_are(rng: np.random.Generator) -> None:
    """EERs of 0, 0.5 and 1 whoever is drawn: two draws of three give both ends 1 time in 9, three 1 in 27."""
    _, labels, enrol, test = simulate(rng, 12)
    perfect = labels.astype(float)
    systems = [perfect, np.zeros(len(labels)), -perfect]
    result = paired_bootstrap([perfect] * 3, systems, labels, enrol, test, replicates=1000, level=0.86)
    assert (result.low, result.difference, result.high) == (0, 0.5, 1)
    assert (result.relative, result.relative_low, result.relative_high) == (None, None, None)


def test_many_pairs_are_what_each_is_and_a_system_is_resampled_once(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, labels, enrol, test = simulate(rng, 8, systems=6)
    systems = {"a": runs[:2], "b": runs[2:4], "c": runs[4:]}
    pairs = [(x, y) for x in systems for y in systems if x != y]
    alone = {
        (x, y): paired_bootstrap(systems[x], systems[y], labels, enrol, test, replicates=50) for x, y in pairs
    }
    calls: list[int] = []
    true = SpeakerTrials.eers

    def counted(trials: SpeakerTrials, draws: np.ndarray) -> np.ndarray:
        calls.append(len(draws))
        return true(trials, draws)

    monkeypatch.setattr(SpeakerTrials, "eers", counted)
    assert paired_bootstraps(systems, pairs, labels, enrol, test, replicates=50) == alone
    assert calls == [50] * 6  # of three systems, two seeds each; 24 where every pair is by itself
    assert paired_bootstraps(systems, [], labels, enrol, test) == {}


def test_bad_input(rng: np.random.Generator) -> None:
    (scores,), labels, enrol, test = simulate(rng, 5)
    wrong = labels.copy()
    wrong[3] = ~wrong[3]
    with pytest.raises(
        UserError, match=r"1 trials contradict .* trial 3 .* non-target trial\n.*speakers 1 and 1"
    ):
        bootstrap_eer(scores, wrong, enrol, test)
    with pytest.raises(UserError, match="two speakers"):
        bootstrap_eer(scores, labels, enrol[:-1], test)
    with pytest.raises(UserError, match="replicates"):
        bootstrap_eer(scores, labels, enrol, test, replicates=0)
    with pytest.raises(UserError, match="level"):
        bootstrap_eer(scores, labels, enrol, test, level=1.0)
    with pytest.raises(UserError, match="same seeds"):
        paired_bootstrap([scores], [scores, scores], labels, enrol, test)
    with pytest.raises(UserError, match="trials are target trials"):
        bootstrap_eer(scores[labels], labels[labels], enrol[labels], test[labels])
    pair = np.array([0, 1]), np.array([0, 2])  # a draw keeps both trials 6 times in 27
    with pytest.raises(UserError, match="too few speakers"):
        bootstrap_eer(np.array([1.0, 0.0]), np.array([True, False]), *pair, replicates=60)


def test_speakers_are_numbered_over_both_sides() -> None:
    enrol, test, count = number_speakers(np.array([True, False]), ["b", "a"], ["b", "c"])
    assert (enrol.tolist(), test.tolist(), count) == ([1, 0], [1, 2], 3)
