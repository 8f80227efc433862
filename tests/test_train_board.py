"""Scalars that TensorBoard reads back; a full disk is an error of the write that met it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from distilvox.errors import UserError
from distilvox.train.board import Board
from tests.faults.table import fault

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder: Path, name: str) -> list[tuple[int, float]]:
    held = EventAccumulator(str(folder))
    held.Reload()
    return [(point.step, point.value) for point in held.Scalars(name)]


def test_tensorboard_reads_it_and_forgets_what_is_done_again(tmp_path: Path) -> None:
    with closing(Board(tmp_path / "new" / "board", step=0)) as board:
        for step in range(6):
            board.scalar("train/total", step / 4, step)
        board.scalar("evaluation/eer", 0.125, 5)
    with closing(Board(tmp_path / "new" / "board", step=3)) as board:
        board.scalar("train/total", 7.5, 3)
    assert read(tmp_path / "new" / "board", "train/total") == [(0, 0), (1, 0.25), (2, 0.5), (3, 7.5)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("meets", [Board.flush, Board.close])
def test_a_full_disk_is_named_wherever_it_strikes(meets: Callable[[Board], None], tmp_path: Path) -> None:
    row = fault("the disk fills while a model trains")
    threads = threading.active_count()
    board = Board(tmp_path, step=0)
    board._file.close()
    board._file = open("/dev/full", "wb")  # noqa: SIM115
    board._writer._writer = board._file
    board.scalar("train/total", 1.0, 0)
    with pytest.raises(UserError, match=rf"{row.sees}.*events\.out\.tfevents") as caught:
        meets(board)
    assert caught.value.exit_code == row.exits
    with suppress(OSError):
        board._file.close()
    assert threading.active_count() == threads
