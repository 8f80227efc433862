"""`onnx:FILE`: any speaker encoder as an ONNX graph, from waveforms or from 80 log-mels.

What the graph takes is read from its input: [B, N] is a waveform, [B, T, 80] or [B, 80, T] are Kaldi log-mels.
How these are made is read from the metadata that WeSpeaker, 3D-Speaker and sherpa-onnx files carry; a graph
without metadata is fed as WeSpeaker does (Hamming window, 16-bit scale, mean over time removed). It runs on
the GPU if it is asked to and the installed onnxruntime can, else on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float
from onnxruntime import InferenceSession
from torch import Tensor, nn

from distilvox.audio import SAMPLE_RATE
from distilvox.errors import UserError, require, unknown
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import FrontEnd
from distilvox.teachers import session
from distilvox.teachers.base import Teacher

MELS = 80
SHAPES = "a waveform [B, N], or log-mels [B, T, 80] or [B, 80, T]"
REMEDY = "give an ONNX file of a speaker encoder: onnx:FILE"
TOLERANCE = 1e-4
"""Of the largest value: how far a batch may be from its items alone before items are run alone."""


@dataclass(frozen=True)
class Feed:
    """How a graph is fed.

    Attributes:
        output: the name of the embedding among the graph's outputs.
        kind: `waves` [B, N], `frames` [B, T, 80], `planes` [B, 80, T].
        scale: of a full-scale sample, 1 or 32768.
        mean: whether each bin's mean over time is removed.
        window: of the frames, `hamming` or `povey`.
        sample_rate: in hertz.
        alone: whether the graph takes one utterance at a time.
    """

    output: str
    kind: str
    scale: float
    mean: bool
    window: str
    sample_rate: int
    alone: bool


def read_feed(graph: InferenceSession, where: str) -> Feed:
    """What the graph and its metadata say.

    Errors:
        UserError: several inputs, one that is neither waveform nor 80 log-mels, features of other makers,
            no output [B, D].
    """
    inputs = graph.get_inputs()
    shown = ", ".join(f"{put.name} {put.type} {put.shape}" for put in inputs)
    kind = kind_of(inputs[0].shape) if len(inputs) == 1 and inputs[0].type == "tensor(float)" else None
    if kind is None:
        raise UserError(
            f"an ONNX model that takes something else than speech: {where}",
            got=shown,
            allowed=f"one float32 input: {SHAPES}, with free N or T",
        )
    said = graph.get_modelmeta().custom_metadata_map
    framework = said.get("framework", "wespeaker")
    if framework not in WINDOW_OF and kind != "waves":
        raise unknown(f"framework in the metadata of {where}", framework, WINDOW_OF)
    scales = {"0": 32768.0, "1": 1.0}
    usual = "1" if kind == "waves" or framework == "3d-speaker" else "0"
    means = {"global-mean": True, "": False}
    return Feed(
        output=pick_output(graph, where),
        kind=kind,
        scale=choose(said, "normalize_samples", usual, scales, where),
        mean=choose(said, "feature_normalize_type", "global-mean", means, where),
        window=said.get("window_type", WINDOW_OF.get(framework, "hamming")),
        sample_rate=int(said.get("sample_rate", SAMPLE_RATE)),
        alone=inputs[0].shape[0] == 1,
    )


WINDOW_OF = {"wespeaker": "hamming", "3d-speaker": "povey"}
"""Framework in the metadata → the window of the features that its models were trained on."""


def kind_of(shape: list[Any]) -> str | None:
    """Which input this is: numbers are fixed sizes, anything else is free; None for none of ours."""
    fixed = [size if isinstance(size, int) else None for size in shape]
    if not fixed or fixed[0] not in (None, 1):
        return None
    if fixed[1:] == [None]:
        return "waves"
    if fixed[1:] in ([None, MELS], [None, None]):
        return "frames"
    return "planes" if fixed[1:] == [MELS, None] else None


def choose(said: dict[str, str], key: str, usual: str, known: dict[str, Any], where: str) -> Any:
    value = said.get(key, usual)
    if value not in known:
        raise unknown(f"{key} in the metadata of {where}", value, known)
    return known[value]


def pick_output(graph: InferenceSession, where: str) -> str:
    """The output [B, D]; of several, the one with `emb` in its name."""
    outputs = [put.name for put in graph.get_outputs() if len(put.shape) in (0, 2)]
    named = [name for name in outputs if "emb" in name.lower()]
    found = outputs if len(outputs) == 1 else named
    require(
        len(found) == 1,
        f"an ONNX model without one embedding: {where}",
        got=", ".join(f"{put.name} {put.shape}" for put in graph.get_outputs()),
        allowed="one output [B, D], or one of them with `emb` in its name",
    )
    return found[0]


class OnnxTeacher(Teacher):
    """Waveforms → features, if it takes them → the graph → [B, D]."""

    def __init__(self, path: Path, *, uri: str) -> None:
        graph = session.open_session(path, where=path, threads=torch.get_num_threads())
        feed = read_feed(graph, str(path))
        front = Fbank(features_of(feed))
        alone = feed.alone or not batches(graph, feed, front)
        if alone:
            graph = session.open_session(path, where=path)
        found = session.run(graph, prepare(noises(feed.sample_rate)[:1], feed, front), feed.output)
        require(found.ndim == 2, f"the output {feed.output} is no [B, D]: {path}", got=list(found.shape))
        super().__init__(
            uri=uri,
            id=session.graph_id(*(part.read_bytes() for part in files_of(path)), recipe=f"onnx {feed}"),
            sample_rate=feed.sample_rate,
            embedding_dim=found.shape[1],
        )
        self.path, self.feed, self.alone = path, feed, alone
        self.front = front
        self.graphs = {"cpu": graph}

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        values, graph = prepare(waves, self.feed, self.front), self._graph(waves.device.type)
        if self.alone:
            rows = [*session.run_each(graph, np.split(values, len(values)), self.feed.output)]
            found = np.concatenate(rows)
        else:
            found = session.run(graph, values, self.feed.output)
        return torch.from_numpy(found).to(waves.device)

    def _graph(self, device: str) -> InferenceSession:
        if device not in self.graphs:
            self.graphs[device] = session.open_session(self.path, where=self.path, cuda=device == "cuda")
        return self.graphs[device]

    def head(self) -> None:
        """None: a graph keeps no class centres."""
        return None


def features_of(feed: Feed) -> FrontEnd:
    """The features that a graph with such a feed was trained on."""
    return FrontEnd(
        sample_rate=feed.sample_rate,
        mels=MELS,
        window=feed.window,
        high=feed.sample_rate / 2,
        scale=feed.scale,
        mean_norm=feed.mean,
    )


def prepare(waves: Float[Tensor, "B N"], feed: Feed, front: nn.Module) -> Float[np.ndarray, "B ..."]:
    """What the graph takes, on the CPU."""
    if feed.kind == "waves":
        return (waves.float() * feed.scale).cpu().numpy()
    features = front(waves)
    return (features.transpose(1, 2) if feed.kind == "planes" else features).cpu().contiguous().numpy()


def noises(sample_rate: int) -> Float[Tensor, "B N"]:
    """Two different seconds of noise, one loud and one soft."""
    made = np.random.default_rng(0).standard_normal((2, sample_rate)) * np.array([[0.3], [0.02]])
    return torch.from_numpy(made).float()


def batches(graph: InferenceSession, feed: Feed, front: nn.Module) -> bool:
    """Whether two utterances in one call get what each gets alone.

    Some graphs take one only, whatever they declare; those with 8-bit layers of dynamic range fit that range
    to the whole batch.
    """
    values = prepare(noises(feed.sample_rate), feed, front)
    alone = np.concatenate([*session.run_each(graph, np.split(values, 2), feed.output)])
    try:
        together = session.run(graph, values, feed.output)
    except UserError:
        return False
    close = (
        together.shape == alone.shape and np.abs(together - alone).max() <= TOLERANCE * np.abs(alone).max()
    )
    return bool(close)


def files_of(path: Path) -> list[Path]:
    """The file of the graph, and those beside it that hold its weights."""
    graph = onnx.load(str(path), load_external_data=False).graph
    beside = {
        entry.value for held in graph.initializer for entry in held.external_data if entry.key == "location"
    }
    return [path, *(path.parent / name for name in sorted(beside))]


def load(rest: str) -> Teacher:
    """Loads `onnx:FILE`.

    Errors:
        UserError if there is no such file, if it is no ONNX graph, or if the graph takes or gives something
            that is no speech or no embedding.
    """
    require(rest != "", "an onnx teacher needs its file", got="onnx:", remedy=REMEDY)
    path = Path(rest)
    require(path.is_file(), "no such file for onnx:", got=path, remedy=REMEDY)
    return OnnxTeacher(path, uri=f"onnx:{rest}")
