"""Long work speaks where nobody watches: a line a minute, and none where it is not asked for."""

from __future__ import annotations

import pytest

from distilvox import console


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(console, "time", made)
    monkeypatch.setattr(console.err, "_force_terminal", False)
    return made


def test_a_log_gets_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as bar:
        bar.get_time = clock.monotonic
        task = bar.add_task("teacher [ge2e:] embeds", total=6000, note="")
        for done in range(1, 6001):
            clock.now = done * 0.05  # 300 seconds in all
            bar.update(task, completed=done)
        bar.advance(task)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("teacher [ge2e:] embeds: 2,4")
    assert " of 6,000, 0:03:00 left" in lines[1] or " of 6,000, 0:02:59 left" in lines[1]


def test_what_is_short_or_not_asked_for_says_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for enabled, seconds in ((True, 30.0), (False, 600.0)):
        with console.progress(enabled=enabled) as bar:
            task = bar.add_task("reads", total=None, note="")
            clock.now += seconds
            bar.advance(task)
    assert capsys.readouterr().err == ""


def test_a_note_is_told_and_an_unknown_end_is_no_error(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress() as bar:
        task = bar.add_task("training run", total=None, note="")
        bar.advance(task, 1)
        clock.now = 61.0
        bar.update(task, completed=12, note="loss 3.210")
    assert capsys.readouterr().err == "training run: 12, loss 3.210\n"
