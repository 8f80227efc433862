"""The fill rule of the golden values: weights and features by formula, so that none need shipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def fill(model: nn.Module) -> None:
    """Sets every parameter and buffer of the state dict from its position k, name and shape."""
    state = model.state_dict()
    for k, (name, old) in enumerate(state.items()):
        if not old.is_floating_point():
            continue
        wave = np.sin(0.37 * np.arange(old.numel(), dtype=np.float64) + 1.3 * k)
        state[name] = torch.from_numpy(rule(name.split(".")[-1], tuple(old.shape), wave)).float()
    model.load_state_dict(state, strict=True)


def fill_state(entries: Iterable[Sequence]) -> dict[str, Tensor]:
    """Tensors by the rule for [name, shape, …] in the order of a state dict: what a golden file lists."""
    filled = {}
    for k, (name, shape, *_) in enumerate(entries):
        wave = np.sin(0.37 * np.arange(math.prod(shape), dtype=np.float64) + 1.3 * k)
        if name.endswith("num_batches_tracked"):
            filled[name] = torch.tensor(0)
        else:
            filled[name] = torch.from_numpy(rule(name.split(".")[-1], tuple(shape), wave)).float()
    return filled


def rule(kind: str, shape: tuple[int, ...], wave: np.ndarray) -> np.ndarray:
    flat = len(shape) <= 1
    if kind == "running_var":
        values = 1 + 0.25 * wave
    elif kind == "running_mean":
        values = 0.1 * wave
    elif flat and kind == "weight":
        values = 1 + 0.2 * wave
    elif flat:
        values = 0.05 * wave
    else:
        values = wave * math.sqrt(2 * shape[0] / wave.size)
    return values.reshape(shape)


def features(frames: int, mels: int = 80) -> Tensor:
    """The golden input [1, T, F]."""
    t = np.arange(frames, dtype=np.float64)[:, None]
    f = np.arange(mels, dtype=np.float64)[None, :]
    return torch.from_numpy(np.sin(0.05 * t + 0.3 * f) + 0.5 * np.cos(0.011 * t * (f + 1)))[None]


def sweep(frames: int, mels: int = 80) -> Tensor:
    """The second golden input [1, T, F], which reacts more to T."""
    t = np.arange(frames, dtype=np.float64)[:, None]
    f = np.arange(mels, dtype=np.float64)[None, :]
    wave = (0.3 + t / 100) * np.sin(0.0007 * t**2 + 0.3 * f) + 0.5 * np.cos(0.011 * t * (f + 1))
    return torch.from_numpy(wave)[None]
