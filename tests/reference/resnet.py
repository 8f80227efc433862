"""A ResNet in NumPy, float64, from nothing but a state dict: what is there by name says what is computed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

State = Mapping[str, np.ndarray]


def resnet(state: State, features: np.ndarray) -> np.ndarray:
    """Features [B, T, F] → embedding [B, D], in evaluation mode."""
    planes = features.transpose(0, 2, 1)[:, None]
    planes = relu(norm(state, "bn1", conv(planes, state["conv1.weight"], 1)))
    for stage in range(1, 5):
        block = 0
        while (name := f"layer{stage}.{block}") + ".conv1.weight" in state:
            planes = residual(state, name, planes, stride=2 if stage > 1 and block == 0 else 1)
            block += 1
    mean = planes.mean(axis=3)
    deviation = np.sqrt(planes.var(axis=3, ddof=1) + 1e-7)
    pooled = np.concatenate([part.reshape(len(part), -1) for part in (mean, deviation)], axis=1)
    embedding = linear(state, "seg_1", pooled)
    if "seg_2.weight" in state:
        embedding = linear(state, "seg_2", norm(state, "seg_bn_1", relu(embedding)))
    return embedding


def residual(state: State, name: str, planes: np.ndarray, stride: int) -> np.ndarray:
    """A block of two convolutions, the first with the stride, or of three, the middle one with it."""
    count = 3 if f"{name}.conv3.weight" in state else 2
    inner = planes
    for k in range(1, count + 1):
        here = stride if k == count - 1 else 1
        inner = norm(state, f"{name}.bn{k}", conv(inner, state[f"{name}.conv{k}.weight"], here))
        inner = relu(inner) if k < count else inner
    if f"{name}.shortcut.0.weight" in state:
        planes = norm(state, f"{name}.shortcut.1", conv(planes, state[f"{name}.shortcut.0.weight"], stride))
    return relu(inner + planes)


def conv(planes: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """[B, I, F, T] with [O, I, K, K], zeros around so that stride 1 keeps the size."""
    size = kernel.shape[2]
    edge = size // 2
    padded = np.pad(planes, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return np.einsum("biftkl,oikl->boft", windows[:, :, ::stride, ::stride], kernel)


def norm(state: State, name: str, values: np.ndarray) -> np.ndarray:
    """Batch norm with the running statistics, over dimension 1; without weights where there are none."""
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state.get(f"{name}.weight", np.ones(1)), state.get(f"{name}.bias", np.zeros(1))
    shape = (1, -1) + (1,) * (values.ndim - 2)
    scale = weight / np.sqrt(variance + 1e-5)
    return values * scale.reshape(shape) + (bias - mean * scale).reshape(shape)


def linear(state: State, name: str, values: np.ndarray) -> np.ndarray:
    return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)
