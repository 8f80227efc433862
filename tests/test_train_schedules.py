"""The learning rate rises, falls, ends where it should, and does not depend on where a run was interrupted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from distilvox.train.schedules import learning_rate


def curve(total: int, warmup: int, peak: float = 2.0, final: float = 0.1) -> list[float]:
    return [
        learning_rate(step, total_steps=total, warmup_steps=warmup, peak=peak, final=final)
        for step in range(total)
    ]


@pytest.mark.parametrize(("total", "warmup"), [(100, 10), (100, 0), (7, 3), (50, 49), (1000, 1)])
def test_it_rises_to_the_peak_then_falls_to_the_end(total: int, warmup: int) -> None:
    rates = curve(total, warmup)
    rising, falling = rates[:warmup], rates[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert max(rates) == 2.0
    assert all(rate > 0 for rate in rates)
    if total - warmup > 1:
        assert rates[-1] == pytest.approx(0.1)


def test_warm_up_is_a_straight_line_that_starts_at_once() -> None:
    assert curve(100, 4)[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_half_a_cosine_is_symmetric_about_its_middle() -> None:
    falling = curve(111, 10, final=0.0)[10:]
    assert [a + b for a, b in zip(falling, falling[::-1], strict=True)] == pytest.approx([2.0] * 101)


def test_no_step_jumps() -> None:
    rates = curve(1000, 100)
    assert max(abs(b - a) for a, b in pairwise(rates)) <= 2.0 / 100 + 1e-12


def test_it_scales_with_the_peak() -> None:
    twice = curve(30, 5, peak=4.0, final=0.2)
    assert twice == pytest.approx([2 * rate for rate in curve(30, 5)])


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_the_shortest_runs(warmup: int) -> None:
    (only,) = curve(1, warmup)
    assert 0 < only <= 2.0


def test_a_peak_equal_to_the_end_is_constant() -> None:
    assert set(curve(20, 0, peak=1.0, final=1.0)) == {1.0}
