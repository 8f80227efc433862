"""`model.int8.onnx`: the backbone in 8-bit integers, the front end in float32.

Measured on one core with AVX512-VNNI, x-vector (4.6 M parameters), 4 s of speech, onnxruntime 1.32:

| backbone                          | ms   | MB   | cosine with float32 |
|-----------------------------------|------|------|---------------------|
| float32                           | 23.2 | 17.5 | 1                   |
| static QDQ, unsigned activations  | 6.6  | 4.5  | 0.99996             |
| static QDQ, signed activations    | 7.9  | 4.5  | 0.99996             |
| static QOperator, unsigned        | 7.7  | 4.4  | 0.99996             |
| dynamic, signed weights           | 76.6 | 4.4  | 0.99999             |
| dynamic, unsigned weights         | 20.8 | 4.4  | 0.99998             |

Static QDQ with unsigned activations it is: dynamic quantisation runs its convolutions (ConvInteger) without
the fast kernels and gains size alone. Cosines are of random weights; a card states those of its own model.
Weights have 7 bits (`reduce_range`): a processor without VNNI adds products of 8 by 8 bits two at a time in 16 bits,
and they overflow. With 8 bits a narrow ResNet has a cosine of 0.93 to its float32 self there, an ECAPA 0.85; with 7,
both have 0.9998, on any processor.
Batch norm stays where it is, between ReLU and convolution: folding it into the convolution behind it would
save 0.1 ms a layer, and leave channels of very different size to share one scale of 8 bits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from distilvox.errors import UserError
from distilvox.ship.parity import probe_waves
from distilvox.ship.runtime import cosine
from distilvox.ship.samples import samples
from distilvox.ship.trace import BACKBONE

KINDS = ("Conv", "Gemm", "MatMul")
POOR = 0.9
"""Below this mean cosine with float32 the card warns against using the int8 model."""

HELD = 4
"""Every fourth waveform is kept from calibration, to measure on."""


def quantize(model: Path, out: Path, waves: Sequence[np.ndarray] | None) -> dict[str, Any]:
    """Quantises the backbone of `model` and measures what that does to embeddings.

    Args:
        model: an ONNX file written by `trace.write_onnx`: its node names tell the backbone.
        out: the file to write.
        waves: recordings [N] at 16 kHz, floats in [-1, 1] or integers; a dozen of some seconds do.
            None: synthetic noise, and the result says so.

    Returns:
        for the card: calibrated_on, waves, cosine_mean, cosine_worst (on held-out waves), note.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    real = waves is not None
    given = [samples(wave) for wave in waves] if waves is not None else synthetic()
    if len(given) < 2:
        raise UserError("too few recordings to calibrate int8", got=len(given), allowed="at least 2")
    held = given[HELD - 1 :: HELD] or given[-1:]
    kept = (
        [wave for k, wave in enumerate(given) if k % HELD != HELD - 1] if len(given) >= HELD else given[:-1]
    )
    names = [node.name for node in onnx.load(model).graph.node if node.op_type in KINDS]
    shaped = out.with_suffix(".shaped")
    with quiet_quantiser():
        quant_pre_process(str(model), str(shaped), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            str(shaped),
            str(out),
            Reader(kept),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            nodes_to_quantize=[name for name in names if name.startswith(BACKBONE)],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    shaped.unlink()
    cosines = [cosine(one, two) for one, two in zip(embed(model, held), embed(out, held), strict=True)]
    mean = float(np.mean(cosines))
    note = "" if real else "calibrated on synthetic noise: export with real speech for a better int8 model"
    if mean < POOR:
        note = "int8 embeddings of this model are far from float32: do not use model.int8.onnx; " + note
    return {
        "calibrated_on": "recordings" if real else "synthetic noise",
        "waves": len(kept),
        "held_waves": len(held),
        "cosine_mean": mean,
        "cosine_worst": float(min(cosines)),
        "note": note.removesuffix("; "),
    }


class Reader:
    """Hands waveforms [N] one by one to the calibrator of onnxruntime, which asks for `get_next`."""

    def __init__(self, waves: Sequence[np.ndarray]) -> None:
        self.rest = iter(waves)

    def get_next(self) -> dict[str, np.ndarray] | None:
        wave = next(self.rest, None)
        return None if wave is None else {"waves": wave[None]}


def synthetic() -> list[np.ndarray]:
    """Eight waveforms of 2 s, the same every time."""
    return list(probe_waves(8, 32_000))


def embed(model: Path, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The embedding [D] of each waveform, by one ONNX file."""
    return list(map(session_of(model), waves))


def session_of(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Samples [N] → embedding [D], by one ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda wave: session.run(None, {"waves": wave[None]})[0][0]


@contextmanager
def quiet_quantiser() -> Iterator[None]:
    """Keeps the quantiser's advice out of the log: it speaks through the root logger."""
    root = logging.getLogger()
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
