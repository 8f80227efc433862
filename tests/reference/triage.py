"""Triage KD one utterance and one speaker at a time, in NumPy's float64."""

from __future__ import annotations

import numpy as np


def slow_confusion_set(p: np.ndarray, label: int, cutoff: float) -> list[int]:
    """Non-targets by falling probability until they hold `cutoff` of all non-targets; ties enter together."""
    others = sorted((k for k in range(len(p)) if k != label), key=lambda k: -p[k])
    total = sum(p[k] for k in others)
    found: list[int] = []
    held = 0.0
    for k in others:
        if cutoff < 1 and held >= cutoff * total and p[k] != p[found[-1]]:
            break
        found.append(k)
        held += p[k]
    return sorted(found)


def slow_triage_kd(
    student: np.ndarray, teacher: np.ndarray, label: int, *, cutoff: float, temperature: float = 1.0
) -> dict[str, float]:
    """Of one row [C]: `mass` and `confusion`, the teacher's masses `p_confusion` and `p_background`, and
    `background`, the conditional that Triage KD leaves out."""
    q, p = _softmax(student / temperature), _softmax(teacher / temperature)
    confused = slow_confusion_set(p, label, cutoff)
    background = [k for k in range(len(p)) if k != label and k not in confused]
    groups = [[label], confused, background]
    masses = [[sum(x[k] for k in group) for group in groups] for x in (p, q)]
    factor = temperature**2
    return {
        "mass": factor * _kl(*masses),
        "confusion": factor * _kl(_renormalised(p, confused), _renormalised(q, confused)),
        "background": factor * _kl(_renormalised(p, background), _renormalised(q, background)),
        "p_confusion": masses[0][1],
        "p_background": masses[0][2],
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _renormalised(x: np.ndarray, group: list[int]) -> list[float]:
    total = sum(x[k] for k in group)
    return [x[k] / total for k in group]


def _kl(p: list[float], q: list[float]) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
