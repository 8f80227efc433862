"""What a run says while it goes: one JSON line a step, TensorBoard events beside it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Appends steps to `log.jsonl` and to TensorBoard.

    Values stay tensors on the device until `flush`, which moves all of them in one copy, so that logging
    never makes the host wait for a step.

    Args:
        folder: the run folder.
        step: steps already done; later lines of an interrupted run are dropped, they will be done again.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.path = folder / "log.jsonl"
        kept = [line for line in read_log(folder) if line["step"] < step]
        self._file = self.path.open("w", encoding="utf-8")
        for line in kept:
            self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._board = _summary_writer(folder / "tensorboard", step)
        self._waiting: list[tuple[int, float, float, dict[str, torch.Tensor]]] = []

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def step(self, step: int, epoch: float, rate: float, parts: Mapping[str, torch.Tensor]) -> None:
        """Remembers one step; nothing is copied yet."""
        self._waiting.append((step, epoch, rate, {name: value.detach() for name, value in parts.items()}))

    def flush(self) -> list[dict[str, float]]:
        """Writes the steps remembered, and returns them as plain numbers."""
        if not self._waiting:
            return []
        names = list(self._waiting[0][3])
        table = torch.stack([torch.stack([parts[n].float() for n in names]) for *_, parts in self._waiting])
        lines = []
        for (step, epoch, rate, _), values in zip(self._waiting, table.tolist(), strict=True):
            line = {"step": step, "epoch": round(epoch, 4), "learning_rate": rate}
            line.update(zip(names, values, strict=True))
            lines.append(line)
            self._file.write(json.dumps(line) + "\n")
            for name in ("learning_rate", *names):
                self._board.add_scalar(f"train/{name}", line[name], step)
        self._file.flush()
        self._waiting.clear()
        return lines

    def evaluation(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Writes a line of judgement: it has the key `evaluation`."""
        self._file.write(json.dumps({"step": step, "epoch": epoch, "evaluation": dict(values)}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"evaluation/{name}", value, step)


def read_log(folder: Path) -> list[dict]:
    """The lines of `log.jsonl`; a last line cut by a kill is left out."""
    path = folder / "log.jsonl"
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        lines.append(json.loads(text))
    return lines


def _summary_writer(folder: Path, step: int) -> SummaryWriter:
    with warnings.catch_warnings():
        # TensorBoard's generated protocol code warns about its own future.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder), purge_step=step)
