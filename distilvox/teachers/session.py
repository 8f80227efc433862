"""ONNX graphs under onnxruntime: opened with clear errors, run in batches or one utterance at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from onnxruntime import InferenceSession
from onnxruntime.capi import onnxruntime_pybind11_state as state

from distilvox.errors import UserError, require

BROKEN = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
"""What onnxruntime raises for a graph, or an input, that it cannot use; they share no base of their own."""


def read_file(path: Path, *, scheme: str, remedy: str) -> bytes:
    """The bytes of a file that a teacher's URI names."""
    require(path.is_file(), f"no such file for {scheme}:", got=path, remedy=remedy)
    return path.read_bytes()


def graph_id(*parts: bytes, recipe: str) -> str:
    """16 hex digits over the bytes of a graph (and of its weights' files), and the recipe around it."""
    digest = hashlib.sha256(recipe.encode())
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def open_session(
    model: bytes | Path, *, where: Path | str, threads: int = 1, cuda: bool = False
) -> InferenceSession:
    """Readies a graph.

    Args:
        model: its bytes, or its path where it keeps its weights in files beside it.
        where: for messages.
        threads: processor cores for one call.
        cuda: on the GPU where this onnxruntime can, else on the CPU.

    Errors:
        UserError if these are no bytes of ONNX, or of a graph that this onnxruntime cannot run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if cuda and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers = ["CUDAExecutionProvider", *providers]
    held = str(model) if isinstance(model, Path) else model
    try:
        return InferenceSession(held, options, providers=providers)
    except BROKEN as error:
        raise UserError(
            f"not an ONNX model that onnxruntime can run: {where}",
            got=str(error).splitlines()[0],
            remedy="export the model again, or fetch the file again",
        ) from None


def run(
    session: InferenceSession, value: Float[np.ndarray, "*shape"], output: str
) -> Float[np.ndarray, "B D"]:
    """One call: the graph's input in, `output` out.

    A second input, as NeMo's graphs have it, is the number of frames of each item: all of them, behind which
    nothing is padded.

    Errors:
        UserError if the graph refuses the input, with its own words.
    """
    first, *more = session.get_inputs()
    lengths = {put.name: np.full(len(value), value.shape[-1], dtype=np.int64) for put in more}
    try:
        return session.run([output], {first.name: value, **lengths})[0]
    except BROKEN as error:
        raise UserError(
            f"the ONNX model refuses an input of shape {list(value.shape)}", got=str(error).splitlines()[0]
        ) from None


def run_each(
    session: InferenceSession, values: Iterable[Float[np.ndarray, "*shape"]], output: str
) -> Iterator[Float[np.ndarray, "B D"]]:
    """One call a value, as many at a time as torch has threads; results in order.

    For a session of one thread: calls side by side use the cores better than threads inside a small call.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(lambda value: run(session, value, output), values)
