"""Weights files of other projects: tensors by name out of what `torch.save` wrote, and nothing else."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distilvox.console import say
from distilvox.errors import UserError

NESTS = ("state_dict", "model", "model_state")
"""Keys under which a checkpoint may keep its tensors beside other things, in order of preference."""


def read_torch(path: Path | str, noun: str, *, remedy: str | None = None) -> dict[str, Tensor]:
    """Reads the tensors of a PyTorch file onto the CPU. Nothing in it is executed.

    Args:
        path: what `torch.save` wrote: a state dict, or a dict that holds one under a key of `NESTS`.
        noun: what the file should be, for the message ("the WavLM checkpoint").
        remedy: what to do if it is not.

    Returns:
        name → tensor, in the file's order, with the file's dtypes; a prefix that all names share, as wrappers
        leave it (`module.`, `_orig_mod.`), is taken off, and said.

    Errors:
        UserError naming the path and the reason: no such file, empty, cut short, not written by
        `torch.save`, wants to run code (which function or class it asked for), or holds no tensors.
    """
    content = load_plain(path, noun, remedy=remedy)
    tensors = named_tensors(content)
    if tensors is None:
        raise UserError(f"{noun} holds no tensors by name: {path}", got=outline(content), remedy=remedy)
    prefix = shared_prefix(tensors)
    if prefix:
        say(f"{path}: every name begins with {prefix!r}, as a wrapper leaves it; taken off")
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def shared_prefix(names: Iterable[str]) -> str:
    """What all of two and more names begin with, up to and with a dot.

    >>> shared_prefix(["module._orig_mod.conv1.weight", "module._orig_mod.bn1.bias"])
    'module._orig_mod.'
    """
    parts = [name.split(".") for name in names]
    prefix = ""
    if len(parts) > 1:
        for level in zip(*(words[:-1] for words in parts), strict=False):
            if len(set(level)) > 1:
                break
            prefix += f"{level[0]}."
    return prefix


def load_plain(path: Path | str, noun: str, *, remedy: str | None = None) -> Any:
    """What a PyTorch file holds, on the CPU: tensors and plain values. Nothing in it is executed.

    Errors:
        UserError as `read_torch`, whatever is in the file.
    """
    path = Path(path)
    if not path.is_file():
        kind = "it is a folder" if path.is_dir() else "no such file"
        raise UserError(f"cannot read {noun}: {path}", got=kind, remedy=remedy)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise anything at all, from IndexError to OSError
        raise UserError(f"cannot read {noun}: {path}", got=reason(path, error), remedy=remedy) from None


def named_tensors(content: Any) -> dict[str, Tensor] | None:
    """The state dict in a loaded file, from the top or one level down; None if there is none."""
    if not isinstance(content, dict):
        return None
    for found in (content, *(content[key] for key in NESTS if key in content)):
        if isinstance(found, dict) and found and all(isinstance(name, str) for name in found):
            tensors = {name: value.detach() for name, value in found.items() if isinstance(value, Tensor)}
            if len(tensors) == len(found):
                return tensors
    return None


def reason(path: Path, error: Exception) -> str:
    """Why `torch.load` refused a file, in one line."""
    text = str(error)
    if asked := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {asked[1]}, which is code, not a tensor; nothing was run"
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return "the file is cut short: the index at its end is missing"
    if start.startswith(b"\x80") and (isinstance(error, EOFError) or "unexpected EOF" in text):
        return "the file is cut short"
    detail = (text.split("WeightsUnpickler error:")[-1].strip() or type(error).__name__).splitlines()[0]
    return f"not a file that torch.save wrote, or damaged ({detail[:160]})"


def outline(content: Any) -> str:
    """What a file holds instead of tensors: its type, or its keys with their types."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    keys = [f"{key!r} ({type(value).__name__})" for key, value in content.items()]
    return f"a table of {', '.join(keys[:6]) or 'nothing'}{', …' if len(keys) > 6 else ''}"
