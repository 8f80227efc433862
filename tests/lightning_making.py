"""Checkpoints as PyTorch Lightning leaves them: tensors, settings, and objects of packages that nobody has here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

ASKED = (
    "omegaconf.dictconfig.DictConfig",
    "pyannote.audio.core.task.Problem",
    "pyannote.audio.core.task.Specs",
)


def strange(name: str) -> type:
    """A class that calls itself `name`, a dotted path."""
    module, _, short = name.rpartition(".")
    return type(short, (), {"__module__": module, "__qualname__": short})


def save_as_lightning(path: Path, state: dict[str, Tensor], settings: dict[str, Any]) -> Path:
    """Writes a checkpoint that asks for the names of `ASKED`, with state, and made of arguments."""
    kinds = {name: strange(name) for name in ASKED}
    config, problem, specs = (kind() for kind in kinds.values())
    config.content = {"a": [1, 2], "of": problem}
    specs.problem, specs.classes = problem, ["x", "y"]
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.0.1",
        "state_dict": state,
        "hyper_parameters": {**settings, "task": config},
        "pyannote.audio": {"versions": {"torch": torch.__version__}, "specifications": specs},
        "callbacks": {},
    }
    with pytest.MonkeyPatch.context() as patch:  # to be written a class must be found; to be read it must not
        for name, kind in kinds.items():
            *packages, short = name.split(".")
            for depth in range(len(packages)):
                module = ".".join(packages[: depth + 1])
                patch.setitem(sys.modules, module, sys.modules.get(module) or ModuleType(module))
            setattr(sys.modules[".".join(packages)], short, kind)
        torch.save(content, path)
    return path
