"""PyTorch modules → ONNX files of one input and one output, any batch size and any length."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilvox.models import Student
from distilvox.models.fbank import Fbank
from distilvox.models.gate import keep_sound

OPSET = 18
"""Old enough for the runtimes on phones, new enough for the exporter, which starts here."""

BACKBONE = "backbone/"
"""Prefix of the names of the nodes that came from the backbone: the only ones to be quantised."""


class FeatureModel(nn.Module):
    """Features [B, T, F] → embedding [B, D]: a student without its front end.

    Leaves out frames without sound and subtracts each bin's mean over time itself, where the front end does: twice
    is as good as once, and callers forget it.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.front = student.frontend.config
        self.backbone = student.backbone

    def forward(self, features: Tensor) -> Tensor:
        if self.front.gate_db:
            features = keep_sound(features, self.front.gate_db)
        if self.front.mean_norm:
            features = features - features.mean(dim=1, keepdim=True)
        return self.backbone(features)


def front_model(student: Student) -> Fbank:
    """Waves [B, N] → what `FeatureModel` takes [B, T, F]: the two in a row are the student."""
    return Fbank(replace(student.frontend.config, gate_db=0.0, mean_norm=False)).eval()


def write_onnx(
    module: nn.Module,
    path: Path,
    example: Tensor,
    *,
    names: tuple[str, str],
    length: str,
    shortest: int,
    metadata: Mapping[str, str],
) -> None:
    """Traces a module and writes it as one file, with the weights inside.

    Args:
        module: in evaluation mode, on the CPU.
        path: the file to write.
        example: [B, length, …] with B at least 2, so that no dimension is taken for a constant.
        names: of the input and of the output.
        length: the name of the input's second dimension.
        shortest: the smallest legal length.
        metadata: strings stored in the file.
    """
    dynamic = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim(length, min=shortest)}
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(dynamic,),
            input_names=[names[0]],
            output_names=[names[1]],
            custom_translation_table={torch.ops.aten.unfold.default: unfold_by_slices},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter of PyTorch returned no program")
    save(program.model_proto, path, metadata)


def join(front: Path, back: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """One graph of two that `write_onnx` wrote: the output of `front` goes into `back`.

    Tracing is what takes time, a minute for the deepest students; so the backbone is traced once for both graphs.
    """
    import onnx

    first, second = onnx.load(front), onnx.load(back)
    first = onnx.compose.add_prefix(first, "front/", rename_inputs=False, rename_outputs=False)
    through = [(first.graph.output[0].name, second.graph.input[0].name)]
    joined = onnx.compose.merge_models(first, second, io_map=through)
    del joined.opset_import[:]  # it states the operators of each graph, which are the same
    joined.opset_import.extend(second.opset_import)
    finish(joined, path, metadata)


def unfold_by_slices(waves: Any, dimension: int, size: int, step: int) -> Any:
    """`Tensor.unfold` of [B, N] along its last dimension, in ONNX: [B, T, size], T = 1 + (N - size) // step.

    The exporter itself would gather every sample of every window: 1.2 ms more for 4 s of speech, a tenth of
    all the time of an int8 x-vector. Here the waveform is cut into blocks of the largest length that
    divides size and step; a window is some blocks side by side.
    """
    from onnxscript import opset18 as op

    if dimension not in (1, -1):
        raise ValueError(f"only unfold along the last of two dimensions is translated, not {dimension}")
    block = math.gcd(size, step)
    stride = step // block
    count = op.Div(op.Sub(op.Shape(waves, start=1, end=2), ints(size)), ints(step))  # T - 1
    last = op.Mul(count, ints(stride))
    whole = op.Mul(op.Add(last, ints(size // block)), ints(block))
    blocks = op.Reshape(op.Slice(waves, ints(0), whole, ints(1)), ints(0, -1, block))
    parts = [
        op.Slice(blocks, ints(k), op.Add(last, ints(k + 1)), ints(1), ints(stride))
        for k in range(size // block)
    ]
    return op.Concat(*parts, axis=2)


def ints(*values: int) -> Any:
    """A constant for a translation: int64 [n]."""
    from onnxscript import opset18 as op

    return op.Constant(value_ints=list(values))


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Names nodes by the part they came from, drops the exporter's notes (which hold paths), and writes."""

    for index, node in enumerate(model.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key.endswith("name_scopes")), "")
        part = BACKBONE if "'backbone'" in scopes else "front/"
        node.name = f"{part}{node.op_type}_{index}"
        node.doc_string = ""
        del node.metadata_props[:]
    graph = model.graph
    for item in (graph, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]
    finish(model, path, metadata)


def finish(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Signs a model, checks it, and writes it."""
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.doc_string = "distilvox", ""
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silences what the exporter says about itself, and nothing else.

    A FutureWarning about its own use of LeafSpec, and log lines on torchvision, which no student uses.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=FutureWarning, message=r"`isinstance\(treespec, LeafSpec\)` is deprecated"
            )
            yield
    finally:
        logger.setLevel(level)
