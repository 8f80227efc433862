"""Draws depend on (seed, utterance, v) alone, are uniform, and their streams are apart."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from distilvox.errors import UserError
from distilvox.views import draws as views
from distilvox.views.draws import (
    Draws,
    ViewConfig,
    check_same_speakers,
    draw,
    uniform,
    view_labels,
    view_speakers,
)

ADDRESSES = np.random.default_rng(1).integers(0, 2**64, 4000, dtype=np.uint64)
SAMPLES = np.full(4000, 80_000, np.int64)
CONFIG = ViewConfig(seed=3, speeds=(0.9, 1.0, 1.1), noise_probability=0.6, room_probability=0.3)


def drawn(config: ViewConfig = CONFIG, rows: Any = slice(None), view: Any = 0, **counts: int) -> Draws:
    return draw(config, ADDRESSES[rows], SAMPLES[rows], view, **{"noises": 50, "rooms": 30, **counts})


def same(a: Draws, b: Draws, rows: Any = slice(None)) -> bool:
    return all(
        np.array_equal(getattr(a, f.name)[rows], getattr(b, f.name)) for f in dataclasses.fields(Draws)
    )


@pytest.mark.parametrize("rows", [np.arange(0), np.arange(1), np.arange(4000)[::-1], np.arange(7, 4000, 13)])
def test_the_batch_does_not_change_a_draw(rows: np.ndarray) -> None:
    assert same(drawn(), drawn(rows=rows), rows)
    assert same(drawn(), drawn(rows=rows, view=np.zeros(len(rows), np.int64)), rows)


def test_a_view_for_each_row_is_that_view_alone() -> None:
    mixed = drawn(view=np.arange(4000) % 3)
    for view in range(3):
        rows = np.arange(view, 4000, 3)
        assert same(mixed, drawn(rows=rows, view=view), rows)


def test_known_values_never_move() -> None:
    """A cache made last year is still right. Computed once with Python's unbounded integers."""
    assert views.hash64(1, 2, 3).tolist() == [15020427595393229491]
    assert uniform(2**64 - 1, 0)[0] != uniform(0, 2**64 - 1)[0]


PURPOSES = [*range(views.START, views.SILENCE_LEVEL + 1)]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_uniform_in_every_stream(purpose: int) -> None:
    values = uniform(3, ADDRESSES, 0, purpose)
    assert 0 <= values.min() < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    # neighbouring counters are as good as random addresses
    assert stats.kstest(uniform(3, np.arange(4000), 0, purpose), "uniform").pvalue > 1e-3
    assert stats.kstest(uniform(3, 5, np.arange(4000), purpose), "uniform").pvalue > 1e-3


def test_seeds_views_and_purposes_are_apart() -> None:
    streams = [uniform(seed, ADDRESSES, view, p) for seed in (0, 1) for view in (0, 1) for p in PURPOSES]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 5 / np.sqrt(ADDRESSES.size)


def test_the_distribution_is_the_one_asked_for() -> None:
    config = ViewConfig(
        speeds=(0.9, 1.0, 1.1),
        noise_probability=0.25,
        room_probability=0.5,
        snr_db=(3.0, 9.0),
        gain_db=(-4.0, 1.0),
        silence_probability=0.5,
        silence_seconds=(0.2, 0.9),
        silence_db=(-90.0, -60.0),
    )
    d = drawn(config)
    assert stats.chisquare(np.bincount(d.speed_index, minlength=3)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(d.noise[d.noise >= 0], minlength=50)).pvalue > 1e-3
    assert stats.binomtest(int((d.noise >= 0).sum()), 4000, 0.25).pvalue > 1e-3
    assert stats.binomtest(int((d.room >= 0).sum()), 4000, 0.5).pvalue > 1e-3
    assert stats.kstest(d.snr_db, "uniform", (3, 6)).pvalue > 1e-3
    assert stats.kstest(d.gain_db, "uniform", (-4, 5)).pvalue > 1e-3
    assert stats.kstest(d.silence_db, "uniform", (-90, 30)).pvalue > 1e-3
    muted = d.silence[:, 1] - d.silence[:, 0]
    assert stats.binomtest(int((muted > 0).sum()), 4000, 0.5).pvalue > 1e-3
    inside = (d.silence[:, 0] > 0) & (d.silence[:, 1] < 32_000) & (muted > 0)
    assert 0.2 * 16_000 - 1 <= muted[inside].min() < muted.max() <= 0.9 * 16_000
    assert muted[~inside & (muted > 0)].min() < 0.2 * 16_000  # an end cut off
    assert (d.silence[~inside & (muted > 0)] % 32_000 == 0).any(axis=1).all()
    assert d.length.tolist() == np.rint(32_000 * np.array([0.9, 1.0, 1.1]))[d.speed_index].tolist()
    assert stats.kstest(d.start / (80_000 - d.length + 1), "uniform").pvalue > 1e-3


def test_the_number_of_noises_moves_only_the_choice_of_noise() -> None:
    a, b, none = drawn(noises=50), drawn(noises=7), drawn(noises=0, rooms=0)
    assert b.noise.max() == 6
    np.testing.assert_array_equal(a.noise < 0, b.noise < 0)
    assert (none.noise == -1).all()
    assert (none.room == -1).all()
    for field in ("start", "speed", "noise_start", "snr_db", "gain_db"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        np.testing.assert_array_equal(getattr(a, field), getattr(none, field))
    np.testing.assert_array_equal(a.room, b.room)


def test_starts_lie_inside_and_reach_both_ends() -> None:
    plain = ViewConfig(seconds=0.001).without_augmentation()
    for samples in (1, 15, 16, 17, 20):
        d = draw(plain, ADDRESSES, np.full(4000, samples, np.int64), 0, noises=0, rooms=0)
        last = samples - 16 if samples >= 16 else samples - 1
        assert set(d.start.tolist()) == set(range(last + 1))


@pytest.mark.parametrize("speeds", [(0.9, 1.0, 1.1), (1.1, 0.9, 1.0), (1.0, 1.1, 0.9)])
def test_speeds_as_new_speakers(speeds: tuple[float, ...]) -> None:
    config = ViewConfig(speeds=speeds, speed_is_new_speaker=True)
    names = view_speakers(config, ["ann", "bob"])
    assert names == ["ann", "bob", "ann@0.9", "bob@0.9", "ann@1.1", "bob@1.1"]
    d = drawn(config)
    labels = np.arange(4000) % 2
    for label, new, speed in zip(labels, view_labels(config, labels, d, speakers=2), d.speed, strict=True):
        assert names[new] == ["ann", "bob"][label] + ("" if speed == 1.0 else f"@{speed}")


def test_speeds_that_keep_the_speaker() -> None:
    labels = np.arange(4000)
    assert view_labels(CONFIG, labels, drawn(), speakers=4000) is labels
    assert view_speakers(CONFIG, ["ann", "bob"]) == ["ann", "bob"]
    assert view_speakers(CONFIG, []) == []


def test_a_config_comes_back_from_json() -> None:
    config = ViewConfig(seed=2**64 - 1, speeds=(1.0, 0.8), snr_db=(1.0, 2.0))
    assert ViewConfig.from_json(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    with pytest.raises(UserError, match="unknown option of the views"):
        ViewConfig.from_json({"snr": [0, 1]})


def test_a_record_of_before_there_was_silence_draws_none() -> None:
    assert ViewConfig.from_json({"seed": 1}).silence_probability == 0


def test_without_augmentation_nothing_is_drawn_but_the_crop() -> None:
    d = drawn(CONFIG.without_augmentation())
    assert set(d.speed) == {1.0}
    assert (d.noise < 0).all()
    assert (d.room < 0).all()
    assert not d.gain_db.any()
    assert (d.silence[:, 0] == d.silence[:, 1]).all()
    assert np.unique(d.start).size > 3000


BAD: list[tuple[dict[str, Any], str]] = [
    ({"seed": -1}, "bad seed"),
    ({"seconds": 0.0}, "length of a view"),
    ({"seconds": float("nan")}, "length of a view"),
    ({"speeds": ()}, "bad speeds"),
    ({"speeds": (1.0, 1.0)}, "bad speeds"),
    ({"speeds": (0.0,)}, "bad speeds"),
    ({"speeds": (0.9,), "speed_is_new_speaker": True}, "no speed 1.0"),
    ({"noise_probability": 1.1}, "bad noise_probability"),
    ({"room_probability": float("nan")}, "bad room_probability"),
    ({"snr_db": (5.0, 1.0)}, "bad snr_db"),
    ({"gain_db": (float("nan"), 0.0)}, "bad gain_db"),
    ({"silence_probability": -0.1}, "bad silence_probability"),
    ({"silence_seconds": (1.0, 0.5)}, "bad silence_seconds"),
    ({"silence_db": (-60.0, -70.0)}, "bad silence_db"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ViewConfig(**values)


def test_bad_utterances_and_views_are_refused() -> None:
    with pytest.raises(UserError, match="without a sample"):
        draw(CONFIG, ADDRESSES[:2], np.array([5, 0]), 0, noises=0, rooms=0)
    with pytest.raises(UserError, match="bad number of a view"):
        drawn(view=-1)


def test_both_ends_must_mean_the_same_speakers() -> None:
    new = dataclasses.replace(CONFIG, speed_is_new_speaker=True)
    check_same_speakers(CONFIG, CONFIG.without_augmentation())
    check_same_speakers(new, dataclasses.replace(new, seed=9, speeds=(1.1, 1.0, 0.9)))
    for ours, theirs in ((CONFIG, new), (new, CONFIG)):
        with pytest.raises(UserError, match="speed_is_new_speaker differs"):
            check_same_speakers(ours, theirs)
    with pytest.raises(UserError, match="speeds differs"):
        check_same_speakers(new, dataclasses.replace(new, speeds=(1.0, 1.1)))
