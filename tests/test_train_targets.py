"""What training keeps of its teacher, and which view of an utterance it shows."""

from __future__ import annotations

from distilvox.teachers.config import TargetConfig
from distilvox.train.targets import view_of_epoch


def test_views_take_turns() -> None:
    cached = TargetConfig(sees="view", views=3)
    assert [view_of_epoch(cached, epoch) for epoch in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    for free in (None, TargetConfig(views=3), TargetConfig(sees="view", views=3, live=True)):
        assert [view_of_epoch(free, epoch) for epoch in range(5)] == list(range(5))
