from __future__ import annotations

import doctest
import math
from itertools import pairwise

import pytest

from distilvox.errors import UserError
from distilvox.losses import schedule
from distilvox.losses.schedule import Course, parse_course

PAPER = Course(1.0, 0.05, epochs=60, first=10, curve=0.001)


def test_it_begins_ends_and_stays() -> None:
    for course in (Course(0.99, 0.7, epochs=10), Course(0, 4, epochs=0.5), PAPER, Course(3, 3, epochs=2)):
        assert course.at(-1) == course.at(0) == course.at(course.first) == course.start
        assert course.at(course.epochs) == course.at(course.epochs + 1000) == course.end


@pytest.mark.parametrize("course", [Course(0.99, 0.7, epochs=10), Course(-2, 4, epochs=7, first=3), PAPER])
def test_it_is_continuous_and_only_goes_one_way(course: Course) -> None:
    values = [course.at(k / 100) for k in range(0, 7000)]
    way = math.copysign(1, course.end - course.start)
    steps = [way * (b - a) for a, b in pairwise(values)]
    assert min(steps) >= 0
    assert max(steps) < 0.02
    assert min(course.start, course.end) <= min(values) <= max(values) <= max(course.start, course.end)


def test_a_straight_course_is_halfway_at_half_time() -> None:
    assert Course(0.9, 0.7, epochs=10).at(5) == pytest.approx(0.8)
    assert Course(0.9, 0.7, epochs=10).at(2.5) == pytest.approx(0.85)
    assert Course(0, 1, epochs=6, first=2).at(4) == pytest.approx(0.5)


def test_a_curve_loses_the_same_share_in_equal_times() -> None:
    """What is left of the way, plus `curve`'s share that is taken off at the end, is geometric."""
    left = [PAPER.at(10 + 5 * k) - 0.05 for k in range(11)]
    whole = 0.95 * 0.001 / 0.999
    ratios = [(b + whole) / (a + whole) for a, b in pairwise(left)]
    assert ratios == pytest.approx([0.001**0.1] * 10)
    assert PAPER.at(15) < 0.55 < Course(1, 0.05, epochs=60, first=10).at(15)


def test_a_curve_near_1_is_nearly_straight() -> None:
    bent = Course(1, 0, epochs=10, curve=0.9999)
    assert [bent.at(k) for k in range(11)] == pytest.approx([1 - k / 10 for k in range(11)], abs=1e-4)


@pytest.mark.parametrize(
    ("text", "course"),
    [
        ("0.99:0.7@10", Course(0.99, 0.7, 10)),
        (" 1:.05@10-60~0.001 ", PAPER),
        ("1:0.05@10-60~1e-3", PAPER),
        ("0:4@0.5", Course(0, 4, 0.5)),
        ("-1:+2e1@2-3.5", Course(-1, 20, 3.5, 2)),
        ("1.:0@1~1", Course(1, 0, 1)),
    ],
)
def test_text_is_read(text: str, course: Course) -> None:
    assert parse_course("cutoff", text) == course


@pytest.mark.parametrize(
    "text",
    ["", "0.99", "0.99:0.7", "0.99@10", "0.99:0.7@", "0.99:0.7@x", "a:b@c", "0.9:0.7:0.5@3", "nan:1@2",
     "inf:1@2", "1:2@1.2.3", "1:2@-3", "1:2@3-", "1:2@3~", "1,5:2@3", "1:2@3 4"],
)  # fmt: skip
def test_text_that_is_no_course_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"the course of gamma cannot be read\n.*\n.*START:END@EPOCHS"
    ) as caught:
        parse_course("gamma", text)
    assert caught.value.got == repr(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1:2@0",
            "the course of alpha: a course must end after it begins\n.*'1:2@0': from epoch 0 to epoch 0",
        ),
        ("1:2@5-5", "must end after it begins\n.*from epoch 5 to epoch 5"),
        ("1:2@6-5", "must end after it begins"),
        ("1:1e999@5", "the end of a course must be finite"),
        ("1:2@5~0", "curve is out of range\n.*: 0.0\n.*0 < curve <= 1"),
        ("1:2@5~1.5", "curve is out of range"),
    ],
)
def test_numbers_that_make_no_course_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_course("alpha", text)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(schedule).failed == 0
