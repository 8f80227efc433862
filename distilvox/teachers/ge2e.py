"""`ge2e:` the LSTM speaker encoder whose weights ship in the PyPI package Resemblyzer (Apache-2.0).

Trained with the GE2E loss (Wan et al. 2018, arXiv 1710.10467) on 1.6 s pieces of speech. The package
itself is never imported (it wants a compiler); only its weights file is read.

An utterance becomes overlapping windows of 160 frames, 77 apart (1.3 a second); each is embedded, and
the mean of the unit vectors, made a unit vector again, is the utterance's. On chorus/dev.txt that gives
7.90 % EER (6.01 % with the dev mean removed), against 11.63 % (9.04 %) for the whole utterance in one
pass: the LSTM never saw more than 1.6 s. No trimming of silence and no volume normalisation.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from distilvox.errors import UserError, require
from distilvox.models.runfolder import match_tensors
from distilvox.teachers.base import Teacher, weights_id
from distilvox.teachers.installed import installed_file

SAMPLE_RATE, WINDOW, HOP, MELS = 16_000, 400, 160, 40
FRAMES, STEP, COVERAGE = 160, 77, 0.75
MEMBER = "resemblyzer/pretrained.pt"
UNUSED = ("similarity_weight", "similarity_bias")  # of the training loss
REMEDY = "pip install --no-deps resemblyzer, or give its weights file or wheel: ge2e:FILE"


def mel_filters(
    size: int = WINDOW, count: int = MELS, *, high: float = SAMPLE_RATE / 2, sample_rate: int = SAMPLE_RATE
) -> Float[np.ndarray, "F K"]:
    """The `count` triangles [F, K = size / 2 + 1] over 0 to `high` Hz, float64: linear below 1 kHz, logarithmic
    above (M. Slaney, Auditory Toolbox, 1998), each of unit area in Hz; `size` points has the transform."""
    linear, step = 3 / 200, np.log(6.4) / 27  # mels a Hz below 1 kHz; log-Hz a mel above
    top = 15 + np.log(high / 1000) / step
    mels = np.linspace(0, top, count + 2)
    edges = np.where(mels < 15, mels / linear, 1000 * np.exp((mels - 15) * step))
    bins = np.arange(size // 2 + 1) * (sample_rate / size)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return np.maximum(triangles, 0) * (2 / (right - left))


def window_starts(samples: int) -> list[int]:
    """First frames of the windows over an utterance of `samples`; the last may reach past its end.

    It is kept if at least 75 % of it is speech, or if it is the only one.
    """
    frames = -(-(samples + 1) // HOP)
    starts = list(range(0, max(1, frames - FRAMES + STEP + 1), STEP))
    if len(starts) > 1 and samples - starts[-1] * HOP < COVERAGE * FRAMES * HOP:
        starts.pop()
    return starts


class MelPower(nn.Module):
    """Waveform [B, N] → mel power [B, T, 40], T = N // 160 + 1: no log, frames centred, zeros beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "filters", torch.from_numpy(mel_filters()).float().T.contiguous(), persistent=False
        )
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        frames = F.pad(waves.float(), (WINDOW // 2, WINDOW // 2)).unfold(-1, WINDOW, HOP)
        spectrum = torch.fft.rfft(frames * self.get_buffer("window"))
        return (spectrum.real.square() + spectrum.imag.square()) @ self.get_buffer("filters")


class Ge2e(Teacher):
    """Mel power → 3 LSTM layers of 256 → last state → linear, ReLU → unit vectors [B, 256]."""

    def __init__(self, state: Mapping[str, Tensor], *, uri: str, where: str) -> None:
        id = weights_id(
            {name: state[name] for name in state if name not in UNUSED},
            recipe=f"ge2e windows {FRAMES} {STEP} {COVERAGE} zeros",
        )
        super().__init__(uri=uri, id=id, sample_rate=SAMPLE_RATE, embedding_dim=256)
        self.mel = MelPower()
        self.lstm = nn.LSTM(MELS, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.load_state_dict(match_tensors(state, self.state_dict(), where=where, optional=UNUSED))

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        starts = window_starts(waves.shape[1])
        missing = (starts[-1] + FRAMES) * HOP - waves.shape[1]
        mel = self.mel(F.pad(waves, (0, max(0, missing))))
        windows = torch.stack([mel[:, start : start + FRAMES] for start in starts], dim=1)
        _, (hidden, _) = self.lstm(windows.flatten(0, 1))
        units = F.normalize(torch.relu(self.linear(hidden[-1])), dim=-1)
        return F.normalize(units.unflatten(0, (-1, len(starts))).mean(1), dim=-1)

    def head(self) -> None:
        """None: its training speakers are not published."""
        return None


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a `pretrained.pt`, or of the one inside a wheel; nothing is unpickled or run.

    Errors:
        UserError if the file is missing, is no such file, or holds no model.
    """
    require(path.is_file(), "no such weights file for ge2e:", got=path, remedy=REMEDY)
    try:
        data = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                data = archive.read(MEMBER) if MEMBER in archive.namelist() else data
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"not the weights that ge2e: needs: {path}", got=reason, remedy=REMEDY) from None
    state = checkpoint.get("model_state") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"not the weights that ge2e: needs: {path} holds no model_state", remedy=REMEDY)
    return state


def load(rest: str) -> Teacher:
    """Loads `ge2e:` (the installed package's weights) or `ge2e:FILE` (its .pt or its wheel)."""
    path = (
        Path(rest)
        if rest
        else installed_file("resemblyzer", MEMBER, scheme="ge2e", noun="weights", remedy=REMEDY)
    )
    return Ge2e(read_state(path), uri=f"ge2e:{rest}", where=str(path))
