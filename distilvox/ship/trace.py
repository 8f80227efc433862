"""PyTorch modules → ONNX files of one input and one output, any batch size and any length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilvox.models import Student
from distilvox.models.frontend import ENERGY_FLOOR

OPSET = 18
"""Old enough for the runtimes on phones, new enough for the exporter, which starts here."""

BACKBONE = "backbone/"
"""Prefix of the names of the nodes that came from the backbone: the only ones to be quantised."""


class WaveModel(nn.Module):
    """A student, waveform [B, N] → embedding [B, D], with its front end cut for onnxruntime.

    Framing and transform become one strided convolution. `Tensor.unfold` would become a Gather of every
    sample of every window: 1.2 ms for 4 s of speech, a tenth of all the time of an int8 x-vector.
    The arithmetic is `Fbank`'s; the parity check would tell if the two ever part.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(self, student: Student) -> None:
        super().__init__()
        front = student.frontend
        self.shift, self.mean_norm = front.shift, front.mean_norm
        self.register_buffer("kernels", front.spectrum.T[:, None].contiguous())
        self.register_buffer("filters", front.filters.T.contiguous())
        self.backbone = student.backbone

    def forward(self, waves: Tensor) -> Tensor:
        waves = waves - waves.mean(dim=1, keepdim=True)
        real, imaginary = nn.functional.conv1d(waves[:, None], self.kernels, stride=self.shift).chunk(2, 1)
        energies = self.filters @ (real * real + imaginary * imaginary)
        features = energies.clamp(min=ENERGY_FLOOR).log()
        if self.mean_norm:
            features = features - features.mean(dim=2, keepdim=True)
        return self.backbone(features.transpose(1, 2))


class FeatureModel(nn.Module):
    """Features [B, T, F] → embedding [B, D]: a student without its front end.

    Subtracts each bin's mean over time itself: twice is as good as once, and callers forget it.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.backbone = student.backbone

    def forward(self, features: Tensor) -> Tensor:
        return self.backbone(features - features.mean(dim=1, keepdim=True))


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
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter of PyTorch returned no program")
    save(program.model_proto, path, metadata)


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Names nodes by the part they came from, drops the exporter's notes (which hold paths), and writes."""
    import onnx

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
