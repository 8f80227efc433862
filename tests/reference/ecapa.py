"""ECAPA-TDNN in NumPy, float64, straight from a state dict: loops where there are loops, no modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

Arrays = Mapping[str, np.ndarray]


def arrays(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in state.items()}


def conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int, edges: str) -> np.ndarray:
    """[B, I, T] → [B, O, T]; `edges`: what lies beyond the ends, in the words of `np.pad`."""
    width = weight.shape[2]
    reach = dilation * (width - 1) // 2
    kind: dict = {"mode": edges}
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach)), **kind)
    frames = x.shape[2]
    out = np.zeros((x.shape[0], weight.shape[0], frames)) + bias[None, :, None]
    for k in range(width):
        out += np.einsum("oi,bit->bot", weight[:, :, k], padded[:, :, k * dilation : k * dilation + frames])
    return out


def norm(x: np.ndarray, s: Arrays, name: str) -> np.ndarray:
    """Batch norm of [B, C, …] by its running statistics."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, weight, bias = (
        s[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


def tdnn(x: np.ndarray, s: Arrays, conv_name: str, norm_name: str, dilation: int, edges: str) -> np.ndarray:
    weight, bias = s[f"{conv_name}.weight"], s[f"{conv_name}.bias"]
    return norm(relu(conv(x, weight, bias, dilation, edges)), s, norm_name)


def weighted(x: np.ndarray, weights: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    mean = (weights * x).sum(axis=2)
    variance = (weights * x**2).sum(axis=2) - mean**2
    return mean, np.sqrt(np.maximum(variance, floor))


def wespeaker(state: Mapping[str, Tensor], features: np.ndarray, dilations: Sequence[int]) -> np.ndarray:
    """Features [B, T, F] → [B, D] by the tensor names of WeSpeaker's ECAPA_TDNN, context or none."""
    s = arrays(state)
    x = tdnn(features.transpose(0, 2, 1), s, "layer1.conv", "layer1.bn", 1, "constant")
    outputs = []
    for k, dilation in enumerate(dilations):
        block = f"layer{k + 2}.se_res2block"
        h = tdnn(x, s, f"{block}.0.conv", f"{block}.0.bn", 1, "constant")
        count = sum(name.startswith(f"{block}.1.convs.") and name.endswith("weight") for name in s)
        groups = np.split(h, count + 1, axis=1)
        done: list[np.ndarray] = []
        for i in range(count):
            given = groups[i] + done[-1] if i else groups[i]
            done.append(tdnn(given, s, f"{block}.1.convs.{i}", f"{block}.1.bns.{i}", dilation, "constant"))
        h = np.concatenate([*done, groups[-1]], axis=1)
        h = tdnn(h, s, f"{block}.2.conv", f"{block}.2.bn", 1, "constant")
        gate = relu(h.mean(axis=2) @ s[f"{block}.3.linear1.weight"].T + s[f"{block}.3.linear1.bias"])
        gate = sigmoid(gate @ s[f"{block}.3.linear2.weight"].T + s[f"{block}.3.linear2.bias"])
        x = x + h * gate[:, :, None]
        outputs.append(x)
    x = relu(conv(np.concatenate(outputs, axis=1), s["conv.weight"], s["conv.bias"], 1, "constant"))
    seen = x
    if s["pool.linear1.weight"].shape[1] == 3 * x.shape[1]:
        mean = x.mean(axis=2, keepdims=True)
        deviation = np.sqrt(x.var(axis=2, ddof=1, keepdims=True) + 1e-7)
        seen = np.concatenate([x, 0 * x + mean, 0 * x + deviation], axis=1)
    inner = np.tanh(conv(seen, s["pool.linear1.weight"], s["pool.linear1.bias"], 1, "constant"))
    weights = softmax(conv(inner, s["pool.linear2.weight"], s["pool.linear2.bias"], 1, "constant"))
    pooled = np.concatenate(weighted(x, weights, 1e-7), axis=1)
    return norm(pooled, s, "bn") @ s["linear.weight"].T + s["linear.bias"]
