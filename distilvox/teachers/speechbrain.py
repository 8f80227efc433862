"""`speechbrain:FOLDER`: an ECAPA-TDNN in the layout of SpeechBrain's spkrec-ecapa-voxceleb.

Read are `embedding_model.ckpt`, and if it is there `classifier.ckpt` with the names of its rows in
`label_encoder.txt`. `hyperparams.yaml`, which SpeechBrain would execute, is read as inert text, and only for
what it says of the features: 3D-Speaker publishes the same network with others, so without it the URI has to
say which (`?frontend=speechbrain`). Sizes are those of the tensors. SpeechBrain itself (Ravanelli et al., arXiv
2106.04624) is not needed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from distilvox.errors import UserError, require
from distilvox.models.fbank import Fbank
from distilvox.models.foreign import read_torch
from distilvox.models.frontend import FrontEnd
from distilvox.models.runfolder import match_tensors
from distilvox.teachers.base import Teacher, TeacherHead, weights_id
from distilvox.teachers.features import choices, said
from distilvox.teachers.hub import folder_of
from distilvox.teachers.licence import of_folder
from distilvox.teachers.speechbrain_net import MIN_FRAMES, SpeechBrainECAPA, sizes
from distilvox.teachers.speechbrain_settings import SETTINGS, own_features

SAMPLE_RATE, WINDOW, HOP = 16_000, 400, 160
POWER_FLOOR, DECIBELS = 1e-10, 80.0
MODEL, CLASSIFIER = "embedding_model.ckpt", "classifier.ckpt"
LABELS = ("label_encoder.txt", "label_encoder.ckpt")  # published; as SpeechBrain names its own download
FILES = ((MODEL,), (CLASSIFIER,), LABELS, (SETTINGS,))
OWN = "speechbrain"
COUNTER = "num_batches_tracked"  # of batch norms in training: of no use here, and not always there
REMEDY = "give the whole folder, as published under speechbrain/spkrec-ecapa-voxceleb"


def mel_filters(mels: int) -> Float[np.ndarray, "F K"]:
    """Triangles of height 1 [F, K = 201] with centres equally spaced in mel from 0 to 8 kHz, float64.

    mel = 2595 log10(1 + hertz / 700). Both sides of a triangle are straight in hertz and as wide as the
    distance to the centre before, so that a triangle does not reach the next centre.
    """
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    width = np.diff(centres)[:-1, None]
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    return np.maximum(1 - np.abs(bins - centres[1:-1, None]) / width, 0)


class LogMel(nn.Module):
    """Waveform [B, N] → log-mel features [B, T, F], T = N // 160 + 1, each bin's mean over time removed.

    Windows of 25 ms every 10 ms (periodic Hamming), centred, with zeros beyond the ends; power in decibels,
    at least 1e-10 and no more than 80 dB below the utterance's loudest.
    """

    def __init__(self, mels: int) -> None:
        super().__init__()
        filters = torch.from_numpy(mel_filters(mels)).float().T.contiguous()
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T F"]:
        frames = F.pad(waves.float(), (WINDOW // 2, WINDOW // 2)).unfold(-1, WINDOW, HOP)
        spectrum = torch.fft.rfft(frames * self.get_buffer("window"))
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.get_buffer("filters")
        levels = 10 * power.clamp(min=POWER_FLOOR).log10()
        levels = torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - DECIBELS)
        return levels - levels.mean(dim=1, keepdim=True)


class SpeechBrain(Teacher):
    """Log-mel features → ECAPA-TDNN → [B, D], not normalised.

    Args:
        state: the tensors of `embedding_model.ckpt`.
        where: that file, for messages.
        own: its class centres and their speakers, if known.
        frontend: what it was trained on, where that is not SpeechBrain's own features.

    Errors:
        UserError naming each tensor that is missing, unexpected, misshapen or not finite.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        uri: str,
        where: str,
        own: TeacherHead | None = None,
        frontend: FrontEnd | None = None,
        licence: str | None = None,
    ) -> None:
        size = sizes(state, where=where)
        network = SpeechBrainECAPA(size)
        fitting = match_tensors(without_counters(state), without_counters(network.state_dict()), where=where)
        network.load_state_dict(fitting, strict=False)  # the counters keep their zeros
        super().__init__(
            uri=uri,
            id=weights_id(fitting, recipe=f"speechbrain ecapa {frontend or 'log-mel'}"),
            sample_rate=SAMPLE_RATE,
            embedding_dim=size.embedding_dim,
            frontend=frontend,
            licence=licence,
        )
        self.features = LogMel(size.mels) if frontend is None else Fbank(frontend)
        self.least = (MIN_FRAMES - 1) * HOP + (0 if frontend is None else frontend.samples)
        self.network = network
        self.register_buffer("centres", None if own is None else own.weight)
        self.names = None if own is None else own.names

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        require(
            waves.shape[1] >= self.least,
            "an utterance is too short for SpeechBrain's ECAPA-TDNN",
            got=f"{waves.shape[1]} samples",
            allowed=f"{self.least} and more",
        )
        return self.network(self.features(waves))

    def head(self) -> TeacherHead | None:
        """The class centres with their speakers' names, where the folder holds both."""
        return None if self.names is None else TeacherHead(self.get_buffer("centres"), self.names)

    def under(self, frontend: FrontEnd) -> Teacher:
        return SpeechBrain(
            self.network.state_dict(), uri=self.uri, where=self.uri, own=self.head(), frontend=frontend
        )


def without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith(COUNTER)}


def read_labels(path: Path) -> tuple[str, ...]:
    """The speakers of a label encoder in the order of their numbers.

    Lines are `'name' => number`, names and numbers as Python writes them; after a line of equals signs
    follow settings, which are skipped.

    Errors:
        UserError naming the line that is none of these, or the numbers that are not 0 … C - 1 once each.
    """
    names: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text", allowed="'name' => number, one speaker a line") from None
    for count, line in enumerate(lines, 1):
        if line and not line.strip("="):
            break
        name, arrow, number = line.rpartition(" => ")
        try:
            label = ast.literal_eval(name)  # literals alone: nothing is run
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            label = None
        if not arrow or not isinstance(label, str | int) or not number.isascii() or not number.isdigit():
            raise UserError(f"line {count} of {path} names no speaker", got=repr(line[:80]), remedy=REMEDY)
        require(int(number) not in names, f"{path} gives a number twice", got=f"line {count}: {line[:80]}")
        names[int(number)] = str(label)
    gaps = [number for number in range(len(names)) if number not in names]
    require(not gaps, f"{path} leaves numbers out", got=f"{len(names)} speakers, none with number {gaps[:1]}")
    return tuple(names[number] for number in range(len(names)))


def read_head(folder: Path, embedding_dim: int) -> TeacherHead | None:
    """The class centres of a folder with their speakers' names; None where it holds no classifier.

    Errors:
        UserError if one of the two files is damaged, the names are missing, or the two do not fit.
    """
    path = folder / CLASSIFIER
    if not path.exists():
        return None
    found = read_torch(path, "SpeechBrain's classifier", remedy=REMEDY)
    rows = found["weight"].shape[0] if "weight" in found and found["weight"].dim() == 2 else 1
    weight = match_tensors(found, {"weight": torch.empty(rows, embedding_dim)}, where=path)["weight"]
    listed = next((folder / name for name in LABELS if (folder / name).is_file()), None)
    if listed is None:
        raise UserError(
            f"the rows of {path} have no names: {folder / LABELS[0]} does not exist",
            remedy=f"fetch it too, or take {CLASSIFIER} away to go without the teacher's own head",
        )
    names = read_labels(listed)
    require(
        len(names) == rows,
        f"{listed} does not name the rows of {CLASSIFIER}",
        got=f"{len(names)} names, {rows} rows",
        remedy=REMEDY,
    )
    return TeacherHead(weight.float(), names)


def features_of(folder: Path, mels: int, frontend: str, window: str, rest: str) -> FrontEnd | None:
    """The front end that the URI gives; None for SpeechBrain's own features, by its word or the folder's.

    Errors:
        UserError if neither says anything.
    """
    if frontend == OWN:
        require(
            not window, f"frontend={OWN} has its own window", got=f"window={window}", allowed="a Hamming one"
        )
        return None
    front = said({"frontend": frontend, "window": window}, None)
    if front is not None:
        return replace(front, mels=mels)
    if not own_features(folder, mels):
        raise UserError(
            f"nothing says with which features the network in {rest} was trained: there is no {SETTINGS} that does",
            allowed=f"speechbrain:{rest}?frontend={OWN}; {choices('speechbrain', rest)}",
            remedy=f"fetch {SETTINGS} too where SpeechBrain published it; a network of 3D-Speaker's is 3dspeaker",
        )
    return None


def load(
    rest: str, *, frontend: str = "", window: str = "", revision: str = "", offline: str = ""
) -> Teacher:
    """Loads `speechbrain:FOLDER`, or a repository of that layout. Nothing in it is executed.

    Errors:
        UserError if the folder or a file is missing or damaged, wants to run code, or does not fit; if neither
        the folder nor the URI says which features it takes.
    """
    require(
        rest != "", "a speechbrain teacher needs its folder", got="speechbrain:", allowed="speechbrain:FOLDER"
    )
    folder = folder_of(rest, scheme="speechbrain", files=FILES, revision=revision, offline=offline)
    require(folder.is_dir(), "no such folder for speechbrain:", got=folder, remedy=REMEDY)
    where = str(folder / MODEL)
    state = read_torch(folder / MODEL, "SpeechBrain's embedding model", remedy=REMEDY)
    size = sizes(state, where=where)
    own = read_head(folder, size.embedding_dim)
    front = features_of(folder, size.mels, frontend, window, rest)
    return SpeechBrain(
        state, uri=f"speechbrain:{rest}", where=where, own=own, frontend=front, licence=of_folder(folder)
    )
