"""What a run says while it goes: one JSON line a step, TensorBoard events beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import torch

from distilvox.errors import UserError, require
from distilvox.files import explain_disk_errors
from distilvox.train.board import Board
from distilvox.train.distributed import World

NAME = "log.jsonl"
REMEDY = "remove the broken line"
BLOCK = 2**16
"""Bytes of the log read at a time, from its end."""


class RunLog:
    """Appends steps to `log.jsonl` and to TensorBoard.

    Values stay tensors on the device until `flush`, which moves all of them in one copy, so that logging
    never makes the host wait for a step.

    Every process has one and remembers its share; the numbers are means over all, and the main process writes them.

    Args:
        folder: the run folder.
        step: steps already done; later lines of an interrupted run are dropped, they will be done again.
        world: the processes; all of them flush after the same steps.
    """

    def __init__(self, folder: Path, *, step: int, world: World = World()) -> None:  # noqa: B008 (frozen)
        self.path, self.world = folder / NAME, world
        self._waiting: list[tuple[int, float, float, dict[str, torch.Tensor]]] = []
        if not world.is_main:
            return
        last = _cut(self.path, step)
        self._judged = {line["step"] for line in last if "evaluation" in line}
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        self._board = Board(folder / "tensorboard", step=step)

    def close(self) -> None:
        if not self.world.is_main:
            return
        with closing(self._board), explain_disk_errors(self.path):
            self._file.close()

    def step(self, step: int, epoch: float, rate: float, parts: Mapping[str, torch.Tensor]) -> None:
        """Remembers one step; nothing is copied yet."""
        self._waiting.append((step, epoch, rate, {name: value.detach() for name, value in parts.items()}))

    def flush(self) -> list[dict[str, float]]:
        """Writes the steps remembered, and returns them as plain numbers, the same in every process."""
        if not self._waiting:
            return []
        names = list(self._waiting[0][3])
        table = torch.stack([torch.stack([parts[n].float() for n in names]) for *_, parts in self._waiting])
        lines = []
        for (step, epoch, rate, _), values in zip(
            self._waiting, self.world.mean(table).tolist(), strict=True
        ):
            line = {"step": step, "epoch": round(epoch, 4), "learning_rate": rate}
            line.update(zip(names, values, strict=True))
            lines.append(line)
        self._waiting.clear()
        if self.world.is_main:
            for line in lines:
                for name in ("learning_rate", *names):
                    self._board.scalar(f"train/{name}", line[name], int(line["step"]))
            self._write(lines)
        return lines

    def evaluation(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Writes a line of judgement: it has the key `evaluation`. A step judged before a kill is not judged twice."""
        if step in self._judged:
            return
        self._judged.add(step)
        self._write([{"step": step, "epoch": epoch, "evaluation": dict(values)}])
        for name, value in values.items():
            self._board.scalar(f"evaluation/{name}", value, step)

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self._board.flush()
        with explain_disk_errors(self.path):
            self._file.write("".join(_text(line) for line in lines))
            self._file.flush()


def _text(line: Mapping[str, Any]) -> str:
    """One line of JSON, which knows no NaN and no infinity: they become null."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of `log.jsonl`; a last line cut by a kill is left out.

    Raises:
        UserError: a line is no table of JSON with a step (names its number).
    """
    path = folder / NAME
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            break
        lines.append(_parsed(text, f"line {number} of {path}"))
    return lines


def evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of judgement alone, one by one: a log of any length is never held."""
    path = folder / NAME
    if path.exists():
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if b'"evaluation"' in text and text.endswith(b"\n"):
                    yield _parsed(text, f"line {number} of {path}")


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Ends a log before its lines of `step` and later, and before one cut by a kill; returns those of the step before.

    It is read from its end as far as need be: steps stand in order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    with explain_disk_errors(path), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        for place, text in _backwards(file):
            if text.endswith(b"\n"):
                line = _parsed(text, f"the line at byte {place} of {path}")
                if line["step"] < step - 1:
                    break
                if line["step"] < step:
                    found.append(line)
                    continue
            end = place
        file.truncate(end)
    return found


def _backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file from its last to its first, each with the byte at which it begins."""
    start, rest = file.seek(0, os.SEEK_END), b""
    while start > 0:
        end, start = start, max(0, start - BLOCK)
        file.seek(start)
        data = file.read(end - start) + rest
        lines = data.splitlines(keepends=True)
        rest = lines.pop(0) if start > 0 else b""  # its beginning may stand further to the front
        place = start + len(data)
        for text in reversed(lines):
            place -= len(text)
            yield place, text


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    """A line as a table with a step."""
    try:
        line = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"this log is damaged: {where}", got=str(error), remedy=REMEDY) from None
    require(
        isinstance(line, dict) and isinstance(line.get("step"), int),
        f"this log is damaged: {where}",
        got=text[:80].decode().strip(),
        allowed="a table with a step",
        remedy=REMEDY,
    )
    return line
