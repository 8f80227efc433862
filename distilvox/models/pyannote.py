"""pyannote.audio's checkpoints of WeSpeaker's ResNets → students: `pytorch_model.bin`, alone or in its folder.

The network lies under `resnet.` in WeSpeaker's names; its depth is read off them. pyannote computes WeSpeaker's
features itself, with the settings under `hyper_parameters`. Source: pyannote/pyannote-audio,
`pyannote/audio/models/embedding/wespeaker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.models.frontend import PRESETS
from distilvox.models.lightning import read_lightning
from distilvox.models.runfolder import match_tensors
from distilvox.models.student import Student
from distilvox.models.table import build

WEIGHTS = ("pytorch_model.bin", "embedding/pytorch_model.bin")
PREFIX = "resnet."
SETTINGS: dict[str, Any] = {
    "sample_rate": 16_000,
    "num_channels": 1,
    "num_mel_bins": 80,
    "frame_length": 25,
    "frame_shift": 10,
    "window_type": "hamming",
    "use_energy": False,
}
"""Under `hyper_parameters` → the value that WeSpeaker's features have; what is absent has it."""

REMEDY = "give pytorch_model.bin of pyannote/wespeaker-voxceleb-resnet34-LM, or the folder around it"


class Pyannote(NamedTuple):
    """A checkpoint, read.

    Attributes:
        student: in evaluation mode, on the CPU, with WeSpeaker's features.
        weights: the file that was read.
        skipped: what it asks for by name beside tensors; none of it was looked up.
    """

    student: Student
    weights: Path
    skipped: tuple[str, ...]


def read_pyannote(path: Path | str) -> Pyannote:
    """Reads a checkpoint or the folder around it; nothing in it is executed.

    Errors:
        UserError: no such file, no network under `resnet.`, other features, tensors that are missing,
            unexpected or misshapen (named).
    """
    path = Path(path)
    weights = path if not path.is_dir() else find_weights(path)
    found = read_lightning(weights, "pyannote's checkpoint", remedy=REMEDY)
    problems = [
        f"{key}: {found.settings[key]} (expected {value})"
        for key, value in SETTINGS.items()
        if found.settings.get(key, value) != value
    ]
    require(not problems, f"{weights} wants other features", got="; ".join(problems), remedy=REMEDY)
    inside = {
        name.removeprefix(PREFIX): value for name, value in found.tensors.items() if name.startswith(PREFIX)
    }
    if not inside:
        others = sorted({name.partition(".")[0] for name in found.tensors})
        raise UserError(
            f"{weights} holds none of the networks that are known here",
            got=f"tensors under {', '.join(others[:5])}",
            allowed=f"one of WeSpeaker's ResNets under {PREFIX}",
            remedy=REMEDY,
        )
    inside |= {name: value for name, value in found.tensors.items() if not name.startswith(PREFIX)}
    name, options = recognise(inside, weights)
    student = build(name, PRESETS["wespeaker"], **options)
    student.backbone.load_state_dict(match_tensors(inside, student.backbone.state_dict(), where=weights))
    return Pyannote(student.eval(), weights, found.skipped)


def find_weights(folder: Path) -> Path:
    """The checkpoint of a model's folder, or of the embedding inside a pipeline's."""
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise UserError(
            f"no checkpoint of pyannote here: {folder}", allowed=", ".join(WEIGHTS), remedy=REMEDY
        )
    return found


def recognise(tensors: Mapping[str, Tensor], where: Path) -> tuple[str, dict[str, Any]]:
    """Name and options of `distilvox.models.build` for a ResNet in WeSpeaker's names.

    Errors:
        UserError: it lacks the first or the last layer.
    """
    first, last = tensors.get("conv1.weight"), tensors.get("seg_1.weight")
    if first is None or last is None or first.dim() != 4 or last.dim() != 2:
        raise UserError(f"{where} holds no ResNet of WeSpeaker: conv1 or seg_1 is missing", remedy=REMEDY)
    deep = "layer1.0.conv3.weight" in tensors
    options = {
        "channels": len(first),
        "embedding_dim": len(last),
        "blocks": tuple(max(1, blocks(tensors, f"layer{k}.")) for k in (1, 2, 3, 4)),
        "bottleneck": deep,
        "two_emb_layer": "seg_2.weight" in tensors,
    }
    return ("resnet293" if deep else "resnet34"), options


def blocks(tensors: Mapping[str, Tensor], stage: str) -> int:
    """Blocks of a stage, counted by their first convolution."""
    return sum(name.startswith(stage) and name.endswith(".conv1.weight") for name in tensors)
