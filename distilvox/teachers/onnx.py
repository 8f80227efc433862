"""`onnx:FILE`: any speaker encoder as an ONNX graph, from waveforms or from 80 log-mels.

How it is fed is read from its inputs and its metadata (`onnx_feed`); what these leave open the URI says, and
nobody guesses. It runs on the GPU if it is asked to and the installed onnxruntime can, else on the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float
from onnxruntime import InferenceSession
from torch import Tensor, nn

from distilvox.errors import UserError, require
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import FrontEnd
from distilvox.teachers import session
from distilvox.teachers.base import Teacher
from distilvox.teachers.nemo import NemoFbank
from distilvox.teachers.onnx_feed import Feed, read_feed

REMEDY = "give an ONNX file of a speaker encoder: onnx:FILE"
TOLERANCE = 1e-4
"""Of the largest value: how far a batch may be from its items alone before items are run alone."""


class OnnxTeacher(Teacher):
    """Waveforms → features, if it takes them → the graph → [B, D]."""

    def __init__(self, path: Path, feed: Feed, *, uri: str) -> None:
        graph = session.open_session(path, where=path, threads=torch.get_num_threads())
        front = front_of(feed)
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
            frontend=feed.features if isinstance(feed.features, FrontEnd) else None,
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

    def under(self, frontend: FrontEnd) -> Teacher:
        return OnnxTeacher(self.path, replace(self.feed, features=frontend), uri=self.uri)


def front_of(feed: Feed) -> nn.Module:
    """Waveforms → what the graph takes, if it takes features."""
    if feed.features is None:
        return nn.Identity()
    return Fbank(feed.features) if isinstance(feed.features, FrontEnd) else NemoFbank(feed.features)


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


def load(
    rest: str,
    *,
    frontend: str = "",
    window: str = "",
    low: str = "",
    high: str = "",
    scale: str = "",
    floor: str = "",
    snip_edges: str = "",
    mean_norm: str = "",
) -> Teacher:
    """Loads `onnx:FILE`; the options say what its metadata leave open, see `features.said`.

    Errors:
        UserError if there is no such file, if it is no ONNX graph, if the graph takes or gives something
            that is no speech or no embedding, or if nobody says what features it takes.
    """
    require(rest != "", "an onnx teacher needs its file", got="onnx:", remedy=REMEDY)
    path = Path(rest)
    require(path.is_file(), "no such file for onnx:", got=path, remedy=REMEDY)
    options = {
        "frontend": frontend, "window": window, "low": low, "high": high, "scale": scale, "floor": floor,
        "snip_edges": snip_edges, "mean_norm": mean_norm,
    }  # fmt: skip
    feed = read_feed(session.open_session(path, where=path), rest, options)
    return OnnxTeacher(path, feed, uri=f"onnx:{rest}")
