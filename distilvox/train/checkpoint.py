"""The state of a run in one file that is whole or absent: a kill at any moment loses steps, never the run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from distilvox.errors import UserError
from distilvox.files import write_bytes
from distilvox.train.distributed import World

NAME = "checkpoint/state.pt"
PARTS = {"step", "model", "optimiser", "rng"}


def save(folder: Path, *, step: int, model: Mapping[str, Any], optimiser: Mapping[str, Any]) -> None:
    """Writes weights, optimiser, position and random state to `folder`/checkpoint/state.pt, atomically.

    The bytes are made in memory first: a full disk is then an error of the operating system, by its name.

    Args:
        step: steps done; the next to do has this number.
        model, optimiser: their state dicts.

    Raises:
        UserError: the disk is full; the checkpoint before this one is untouched.
    """
    state = {
        "step": step,
        "model": model,
        "optimiser": optimiser,
        "rng": torch.get_rng_state(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / NAME, buffer.getbuffer())


def load(folder: Path, *, device: torch.device, world: World = World()) -> dict[str, Any] | None:  # noqa: B008
    """The state that `save` wrote, or None where there is none yet.

    Of several processes, every one has what rank 0 reads: they go on at one step even where they share no disk.

    Raises:
        UserError: the file is damaged: cut short, or one bit flipped.
    """
    path = folder / NAME
    data = world.sent_bytes(path.read_bytes() if world.is_main and path.exists() else None)
    if data is None:
        return None
    try:
        with zipfile.ZipFile(
            io.BytesIO(data)
        ) as parts:  # torch does not compare the checksums that it writes
            damaged = parts.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= PARTS or type(state["step"]) is not int:
            raise ValueError(f"it does not hold {', '.join(sorted(PARTS))}")
        return state
    except (
        *(RuntimeError, EOFError, OSError, ValueError, NotImplementedError),
        *(zipfile.BadZipFile, pickle.UnpicklingError),
    ) as error:
        raise UserError(
            f"this checkpoint is damaged: {path}",
            got=_without_advice(error),
            remedy="delete the run folder and train again",
        ) from error


def _without_advice(error: Exception) -> str:
    """What is wrong in one line, without torch's advice to load what may run code."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is not what was written: it asks for code, or its bytes are damaged; nothing was run"
    return str(error).partition("\n")[0]
