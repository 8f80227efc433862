"""The state of a run in one file that is whole or absent: a kill at any moment loses steps, never the run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilvox.errors import UserError
from distilvox.files import write_bytes

NAME = "checkpoint/state.pt"


def save(folder: Path, *, step: int, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Writes weights, optimiser, position and random state to `folder`/checkpoint/state.pt, atomically.

    The bytes are made in memory first: a full disk is then an error of the operating system, by its name.

    Args:
        step: steps done; the next to do has this number.

    Raises:
        UserError: the disk is full; the checkpoint before this one is untouched.
    """
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": torch.get_rng_state(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / NAME, buffer.getvalue())


def load(folder: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The state that `save` wrote, or None where there is none yet.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"this checkpoint is damaged: {path}",
            got=str(error).splitlines()[0],
            remedy="delete the run folder and train again",
        ) from error
