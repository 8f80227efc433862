"""SpeechBrain's log-mel features and ECAPA-TDNN in NumPy, float64, one frame and one filter at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from tests.reference.ecapa import arrays, conv, norm, relu, sigmoid, softmax, tdnn


def triangle(index: int, hertz: float, mels: int) -> float:
    """The weight of a frequency in filter `index`, 0 to mels - 1."""

    def centre(position: int) -> float:
        top = 2595 * math.log10(1 + 8000 / 700)
        return 700 * (10 ** (top * position / (mels + 1) / 2595) - 1)

    width = centre(index + 1) - centre(index)
    slope = (hertz - centre(index + 1)) / width
    return max(0.0, min(1 + slope, 1 - slope))


def log_mel(wave: np.ndarray, mels: int) -> np.ndarray:
    """[N] → [T, F], mean over time removed."""
    n = np.arange(400)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / 400)
    transform = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    filters = np.array([[triangle(f, 40.0 * k, mels) for k in range(201)] for f in range(mels)])
    padded = np.concatenate([np.zeros(200), wave.astype(np.float64), np.zeros(200)])
    rows = []
    for start in range(0, len(wave) + 1, 160):
        power = np.abs(transform @ (window * padded[start : start + 400])) ** 2
        rows.append(10 * np.log10(np.maximum(filters @ power, 1e-10)))
    levels = np.array(rows)
    levels = np.maximum(levels, levels.max() - 80)
    return levels - levels.mean(axis=0)


def layer(x: np.ndarray, s: Mapping[str, np.ndarray], name: str, dilation: int = 1) -> np.ndarray:
    return tdnn(x, s, f"{name}.conv.conv", f"{name}.norm.norm", dilation, "reflect")


def pointwise(x: np.ndarray, s: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return conv(x, s[f"{name}.weight"], s[f"{name}.bias"], 1, "reflect")


def moments(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = (weights * x).sum(axis=2, keepdims=True)
    variance = (weights * (x - mean) ** 2).sum(axis=2, keepdims=True)
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def network(state: Mapping[str, Tensor], features: np.ndarray) -> np.ndarray:
    """Features [B, T, F] → [B, D] by the names of `embedding_model.ckpt`."""
    s = arrays(state)
    x = layer(features.transpose(0, 2, 1), s, "blocks.0")
    outputs = []
    for k, dilation in ((1, 2), (2, 3), (3, 4)):
        h = layer(x, s, f"blocks.{k}.tdnn1")
        inner = f"blocks.{k}.res2net_block.blocks"
        count = sum(n.startswith(f"{inner}.") and n.endswith(".conv.conv.weight") for n in s)
        groups = np.split(h, count + 1, axis=1)
        done = [groups[0]]
        for i in range(1, count + 1):
            given = groups[i] if i == 1 else groups[i] + done[-1]
            done.append(layer(given, s, f"{inner}.{i - 1}", dilation))
        h = layer(np.concatenate(done, axis=1), s, f"blocks.{k}.tdnn2")
        gate = h.mean(axis=2, keepdims=True)
        gate = relu(pointwise(gate, s, f"blocks.{k}.se_block.conv1.conv"))
        x = x + h * sigmoid(pointwise(gate, s, f"blocks.{k}.se_block.conv2.conv"))
        outputs.append(x)
    x = layer(np.concatenate(outputs, axis=1), s, "mfa")
    mean, deviation = moments(x, np.full(x.shape, 1 / x.shape[2]))
    seen = np.concatenate([x, 0 * x + mean, 0 * x + deviation], axis=1)
    weights = softmax(pointwise(np.tanh(layer(seen, s, "asp.tdnn")), s, "asp.conv.conv"))
    pooled = norm(np.concatenate(moments(x, weights), axis=1), s, "asp_bn.norm")
    return pointwise(pooled, s, "fc.conv")[:, :, 0]
