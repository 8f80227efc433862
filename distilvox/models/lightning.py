"""Checkpoints of PyTorch Lightning: tensors and plain settings, out of a pickle that also asks for classes.

Such a file holds objects of whatever trained it (settings, task specifications, versions) beside the tensors.
PyTorch's own restricted reader still reads it, told in advance which names it will meet: each stands for
`Nothing`, a class that takes any arguments and keeps none of them. So no name in a file is looked up,
imported or called; names of the modules that PyTorch always refuses (`os`, `sys` and what is under them) stay
refused.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models.foreign import load_plain, named_tensors, outline

STATE, SETTINGS = "state_dict", "hyper_parameters"


class Nothing:
    """Stands for anything that a file asks for: made of anything, holds nothing, does nothing."""

    def __new__(cls, *args: object, **named: object) -> Nothing:
        return object.__new__(cls)

    def __init__(self, *args: object, **named: object) -> None:
        """Takes what its original would take."""

    def __setstate__(self, state: object) -> None:
        """Keeps nothing of it."""


class Lightning(NamedTuple):
    """A checkpoint, read.

    Attributes:
        tensors: its `state_dict`, on the CPU.
        settings: its `hyper_parameters` that are numbers, words, switches or None.
        skipped: what it asks for by name beside tensors, none of it looked up; sorted.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    skipped: tuple[str, ...]


def read_lightning(path: Path | str, noun: str, *, remedy: str | None = None) -> Lightning:
    """Reads the tensors and plain settings of a checkpoint. Nothing in it is executed.

    Args:
        path, noun, remedy: as for `read_torch`.

    Errors:
        UserError as `read_torch`, or if it holds no `state_dict` of tensors.
    """
    path = Path(path)
    skipped = asked_for(path)
    stand_ins: list[Any] = [(type("Nothing", (Nothing,), {}), name) for name in skipped]
    with torch.serialization.safe_globals(stand_ins):
        content = load_plain(path, noun, remedy=remedy)
    state = content.get(STATE) if isinstance(content, dict) else None
    tensors = named_tensors(state)
    if tensors is None:
        raise UserError(f"{noun} has no {STATE} of tensors: {path}", got=outline(content), remedy=remedy)
    settings = content.get(SETTINGS)
    plain = settings if isinstance(settings, dict) else {}
    kept = {
        str(key): value
        for key, value in plain.items()
        if value is None or type(value) in (bool, int, float, str)
    }
    return Lightning(tensors, kept, skipped)


def asked_for(path: Path) -> tuple[str, ...]:
    """What a file asks for by name beside tensors; none where it is no archive, or damaged, or has no such names.

    It is read off the pickle's instructions; nothing is unpickled.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return ()
    try:
        return tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except (ValueError, RuntimeError, EOFError, UnicodeDecodeError, IndexError, pickle.UnpicklingError):
        return ()  # `load_plain` says what is wrong with it
