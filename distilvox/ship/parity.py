"""ONNX against PyTorch at lengths that the exporter has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distilvox.errors import UserError

SAMPLES = (8_000, 12_345, 31_999, 80_001, 320_000)
"""Lengths at which waveforms are compared: 0.5 s to 20 s, most of them not a whole number of frames."""

BATCHES = (1, 3)

LIMIT = 1e-4
"""Largest |ONNX - PyTorch| / |PyTorch| of one embedding. Float32 sums in another order give about 1e-6;
at 1e-4 a cosine moves by less than 1e-4, which no threshold notices."""


def probe_waves(batch: int, length: int) -> np.ndarray:
    """[batch, length] float32: noise with a drawn level, slowly switched on and off; the same every time."""
    rng = np.random.default_rng([batch, length])
    loud = np.repeat(rng.uniform(0.01, 1.0, (batch, length // 4000 + 1)), 4000, axis=1)[:, :length]
    waves = rng.standard_normal((batch, length)).cumsum(axis=1) * 0.01 + rng.standard_normal((batch, length))
    return (0.1 * loud * waves / np.abs(waves).max(axis=1, keepdims=True)).astype(np.float32)


def relative_error(measured: np.ndarray, truth: np.ndarray) -> float:
    """The worst row's |measured − truth| / |truth|, [B, D] each; infinite where anything is not finite."""
    measured, truth = measured.astype(np.float64), truth.astype(np.float64)
    if measured.shape != truth.shape or not np.isfinite(measured).all() or not np.isfinite(truth).all():
        return float("inf")
    lengths = np.maximum(np.linalg.norm(truth, axis=1), np.finfo(np.float64).tiny)
    return float((np.linalg.norm(measured - truth, axis=1) / lengths).max())


@torch.no_grad()
def check_parity(module: nn.Module, path: Path, prepare: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Compares an ONNX file with the module it came from.

    Args:
        module: in evaluation mode, on the CPU.
        path: the ONNX file.
        prepare: test waveforms [B, N] → input of both.

    Returns:
        the figures for the card: limit, worst error, and the error at each length and batch size.

    Raises:
        UserError: an error beyond `LIMIT`, with all figures.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    cases = []
    for length in SAMPLES:
        for batch in BATCHES:
            given = prepare(torch.from_numpy(probe_waves(batch, length)))
            truth = module(given).numpy()
            error = relative_error(session.run(None, {name: given.numpy()})[0], truth)
            cases.append({"batch": batch, "seconds": length / 16_000, "error": error})
    worst = max(case["error"] for case in cases)
    if not worst <= LIMIT:
        figures = "; ".join(f"{c['seconds']:.3f} s x {c['batch']}: {c['error']:.2e}" for c in cases)
        raise UserError(
            f"{path.name} does not compute what PyTorch computes; no bundle was written",
            got=f"relative errors {figures}",
            allowed=f"at most {LIMIT:g} at every length",
            remedy="try other versions of torch, onnxscript and onnxruntime, and report the model",
            exit_code=1,
        )
    return {"limit": LIMIT, "worst": worst, "cases": cases}
