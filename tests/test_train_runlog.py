"""The log holds every step once, through kills, NaN and full disks."""

from __future__ import annotations

import errno
import io
import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from distilvox.errors import UserError
from distilvox.train import runlog
from distilvox.train.runlog import RunLog, evaluations, read_log


def write_steps(log: RunLog, *steps: int, total: float = 1.0) -> list[dict[str, float]]:
    for step in steps:
        log.step(step, step / 10, 0.1, {"total": torch.tensor(total), "ce": torch.tensor(step / 3)})
    return log.flush()


def strict(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_what_is_logged_is_read(tmp_path: Path) -> None:
    with closing(RunLog(tmp_path, step=0)) as log:
        assert log.flush() == []
        lines = write_steps(log, 0, 1, 2)
        log.evaluation(2, 0.3, {"eer": 0.1})
    assert read_log(tmp_path) == [*lines, {"step": 2, "epoch": 0.3, "evaluation": {"eer": 0.1}}]
    assert [line["ce"] for line in lines] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [line["learning_rate"] for line in lines] == [0.1] * 3
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert read_log(tmp_path / "absent") == []


def test_steps_wait_until_they_are_flushed(tmp_path: Path) -> None:
    value = torch.tensor(1.0, requires_grad=True)
    with closing(RunLog(tmp_path, step=0)) as log:
        log.step(0, 0.0, 0.1, {"total": 2 * value})
        assert read_log(tmp_path) == []
        (line,) = log.flush()
        assert line["total"] == 2.0
        assert log.flush() == []
    assert len(read_log(tmp_path)) == 1


def test_an_interrupted_log_goes_on_without_gap_or_repetition(tmp_path: Path) -> None:
    with closing(RunLog(tmp_path, step=0)) as log:
        write_steps(log, 0, 1)
        log.evaluation(1, 0.2, {"eer": 0.5})
        write_steps(log, 2, 3, 4)
        log.evaluation(4, 0.5, {"eer": 0.4})
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 5, "epo')  # cut by a kill
    assert [line["step"] for line in read_log(tmp_path)] == [0, 1, 1, 2, 3, 4, 4]
    with closing(RunLog(tmp_path, step=3)) as log:
        assert [line["step"] for line in read_log(tmp_path)] == [0, 1, 1, 2]
        write_steps(log, 3, 4)
        log.evaluation(4, 0.5, {"eer": 0.3})
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines] == [0, 1, 1, 2, 3, 4, 4]
    assert [line["evaluation"]["eer"] for line in lines if "evaluation" in line] == [0.5, 0.3]


def test_a_last_judgement_repeated_after_a_kill_stands_once(tmp_path: Path) -> None:
    for _ in range(2):
        with closing(RunLog(tmp_path, step=3)) as log:
            log.evaluation(2, 1.0, {"eer": 0.25})
            log.evaluation(2, 1.0, {"eer": 0.25})
    assert [line["step"] for line in read_log(tmp_path)] == [2]


def test_a_kill_while_the_log_is_opened_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(RunLog(tmp_path, step=0)) as log:
        write_steps(log, *range(50))
    before = (tmp_path / "log.jsonl").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runlog, "_backwards", killed)
    with pytest.raises(KeyboardInterrupt):
        RunLog(tmp_path, step=40)
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_by_the_loop_and_stays_json_on_disk(value: float, tmp_path: Path) -> None:
    with closing(RunLog(tmp_path, step=0)) as log:
        (line,) = write_steps(log, 0, total=value)
    assert line["total"] == value or (math.isnan(value) and math.isnan(line["total"]))
    (found,) = strict(tmp_path / "log.jsonl")
    assert found["total"] is None
    assert found["ce"] == 0.0


@pytest.mark.parametrize("bad", ['{"step": ', "[1]", '{"epoch": 1}', '{"step": "1"}', "\x00\x00"])
def test_a_damaged_line_is_named(bad: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n' + bad + "\n" + '{"step": 2}\n')
    with pytest.raises(
        UserError,
        match=r"log is damaged: (line 2|the line at byte 12) of .*log\.jsonl[\s\S]*remove the broken line",
    ):
        RunLog(tmp_path, step=3)


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "full")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with closing(RunLog(tmp_path, step=0)) as log:
        log._file.close()
        log._file = FullDisk()
        with pytest.raises(UserError, match=r"disk is full: .*log\.jsonl"):
            write_steps(log, 0)


@pytest.mark.parametrize("step", [0, 1, 37, 399, 400, 999])
@pytest.mark.parametrize("block", [7, 1000, 2**16])
def test_a_long_log_is_taken_up_from_its_end(
    step: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read at a resume does not grow with the log: only the lines that go, and one step before them."""
    monkeypatch.setattr(runlog, "BLOCK", block)
    lines: list[dict[str, Any]] = [{"step": k, "total": k / 7} for k in range(400)]
    lines.insert(37, {"step": 36, "epoch": 1.0, "evaluation": {"eer": 0.25}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "log.jsonl").write_text(text + '{"step": 400, "to')
    read: list[str] = []
    true = runlog._parsed

    def counting(text: bytes, where: str) -> dict[str, Any]:
        read.append(where)
        return true(text, where)

    monkeypatch.setattr(runlog, "_parsed", counting)
    with closing(RunLog(tmp_path, step=step)) as log:
        assert len(read) <= max(400 - step, 0) + 4
        log.evaluation(36, 1.0, {"eer": 0.5})  # known already where step 36 is the last that was done
    kept = [line for line in lines if line["step"] < step]
    again = [] if step == 37 else [{"step": 36, "epoch": 1.0, "evaluation": {"eer": 0.5}}]
    assert read_log(tmp_path) == kept + again
    wanted = [line for line in kept + again if "evaluation" in line]
    assert list(evaluations(tmp_path)) == wanted
