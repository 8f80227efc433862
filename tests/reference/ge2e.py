"""The GE2E encoder the slow way, NumPy float64: a DFT by its matrix, triangles by loops, LSTM by steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


def hz_to_mel(hz: float) -> float:
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def mel_filters(rate: int = 16_000, window: int = 400, mels: int = 40) -> np.ndarray:
    """[mels, window // 2 + 1]: the edges are found by bisection on `hz_to_mel`, not by its inverse."""
    edges = []
    for point in range(mels + 2):
        wanted, low, high = hz_to_mel(rate / 2) * point / (mels + 1), 0.0, rate / 2
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if hz_to_mel(middle) < wanted else (low, middle)
        edges.append((low + high) / 2)
    filters = np.zeros((mels, window // 2 + 1))
    for mel in range(mels):
        left, centre, right = edges[mel : mel + 3]
        for bin in range(window // 2 + 1):
            hz = bin * rate / window
            if left < hz <= centre:
                filters[mel, bin] = (hz - left) / (centre - left)
            elif centre < hz < right:
                filters[mel, bin] = (right - hz) / (right - centre)
        filters[mel] /= (right - left) / 2
    return filters


def mel_power(wave: np.ndarray) -> np.ndarray:
    """[N] → [N // 160 + 1, 40]: frame t is centred on sample 160 t, zeros beyond both ends."""
    times = np.arange(400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * times / 400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), times) / 400)
    padded = np.concatenate([np.zeros(200), wave.astype(np.float64), np.zeros(200)])
    filters = mel_filters()
    rows = []
    for start in range(0, len(wave) + 1, 160):
        rows.append(filters @ np.abs(basis @ (padded[start : start + 400] * hann)) ** 2)
    return np.array(rows)


def lstm_last(frames: np.ndarray, state: Mapping[str, np.ndarray], layers: int = 3) -> np.ndarray:
    """The last hidden state of the last layer, gates in the order input, forget, cell, output."""
    sequence = list(frames)
    for layer in range(layers):
        w_in, w_rec = state[f"lstm.weight_ih_l{layer}"], state[f"lstm.weight_hh_l{layer}"]
        bias = state[f"lstm.bias_ih_l{layer}"] + state[f"lstm.bias_hh_l{layer}"]
        hidden, cell = np.zeros(w_rec.shape[1]), np.zeros(w_rec.shape[1])
        out = []
        for frame in sequence:
            i, f, g, o = np.split(w_in @ frame + w_rec @ hidden + bias, 4)
            cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            hidden = np.tanh(cell) / (1 + np.exp(-o))
            out.append(hidden)
        sequence = out
    return sequence[-1]


def embed(wave: np.ndarray, state: Mapping[str, np.ndarray]) -> np.ndarray:
    """One utterance [N] → its unit embedding [256], window after window."""
    frames = math.ceil((len(wave) + 1) / 160)
    starts = [0]
    while starts[-1] + 77 < frames - 160 + 77 + 1:
        starts.append(starts[-1] + 77)
    if len(starts) > 1 and (len(wave) / 160 - starts[-1]) / 160 < 0.75:
        starts.pop()
    need = (starts[-1] + 160) * 160
    padded = np.concatenate([wave, np.zeros(max(0, need - len(wave)))])
    mel = mel_power(padded)
    mean = np.zeros(256)
    for start in starts:
        out = state["linear.weight"] @ lstm_last(mel[start : start + 160], state) + state["linear.bias"]
        out = np.maximum(out, 0)
        mean += out / np.linalg.norm(out)
    return mean / np.linalg.norm(mean)
