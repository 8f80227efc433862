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
        got, remedy = diagnose(str(error).splitlines()[0], start_of(model))
        what = f"not an ONNX model that onnxruntime can run: {where}"
        raise UserError(what, got=got, remedy=remedy) from None


STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (git lfs pull fetches it)",
    b"<": "a web page or another text in angle brackets",
    b"PK": "a zip archive",
}
"""What a download often is instead of the file → in words."""


def start_of(model: bytes | Path) -> bytes:
    """The first bytes of a graph, or of what was taken for one."""
    if isinstance(model, bytes):
        return model[:64]
    with model.open("rb") as file:
        return file.read(64)


def diagnose(said: str, start: bytes) -> tuple[str, str]:
    """What is wrong with a graph that does not open, and what to do about it.

    Args:
        said: by onnxruntime, one line.
        start: of the file.
    """
    if "IR version" in said or "ONNX model version" in said or "opset" in said:
        newer = f"update it (pip install -U onnxruntime; this is {onnxruntime.__version__}), or export at a lower opset"
        return said.rpartition(") ")[2], f"the file is newer than this onnxruntime: {newer}"
    words = next((words for begin, words in STARTS.items() if start.lstrip().startswith(begin)), said)
    return words if start else "an empty file", "export the model again, or fetch the file again"


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
