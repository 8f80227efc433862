"""How an ONNX graph is fed: read from its inputs, its metadata and its URI; nothing is guessed.

Two frameworks' names in the metadata (as sherpa-onnx's scripts write them) say whose features a network of log-mels
was trained on: "wespeaker" a Hamming window at 16-bit scale, "3d-speaker" a Povey window in ±1, both up to half the
rate and of whole windows only. What sherpa-onnx itself computes for them is something else (`?frontend=sherpa`).
"nemo" means NeMo's two inputs, fed as sherpa-onnx does. Our own exports carry their front end whole. Anything else has
to be said in the URI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxruntime import InferenceSession

from distilvox.errors import UserError, require, unknown
from distilvox.models.frontend import PRESETS, FrontEnd
from distilvox.sound import SAMPLE_RATE
from distilvox.teachers.features import FIND_OUT, choices, said
from distilvox.teachers.nemo import NemoFeatures

MELS = 80
SHAPES = "a waveform [B, N], or log-mels [B, T, 80] or [B, 80, T]"
FRAMEWORKS = {"wespeaker": PRESETS["wespeaker"], "3d-speaker": PRESETS["3dspeaker"]}
SCALES = {"0": 32768.0, "1": 1.0}
NEMO = "nemo"
OURS = "frontend"
"""Key of the metadata under which our own exports carry their front end, as JSON."""


@dataclass(frozen=True)
class Feed:
    """How a graph is fed.

    Attributes:
        output: the name of the embedding among the graph's outputs.
        kind: `waves` [B, N], `frames` [B, T, 80], `planes` [B, 80, T].
        scale: of the samples of `waves`, 1 or 32768.
        features: of the others.
        sample_rate: in hertz.
        alone: whether the graph takes one utterance at a time.
    """

    output: str
    kind: str
    scale: float
    features: FrontEnd | NemoFeatures | None
    sample_rate: int
    alone: bool


def read_feed(graph: InferenceSession, path: str, options: Mapping[str, str]) -> Feed:
    """What the graph, its metadata and its URI say.

    Errors:
        UserError: inputs that are neither waveform nor 80 log-mels, features that nobody says, metadata or options
            that cannot be, no output [B, D].
    """
    inputs = graph.get_inputs()
    kind = kind_of(inputs[0].shape) if inputs[0].type == "tensor(float)" else None
    meta = graph.get_modelmeta().custom_metadata_map
    two = len(inputs) == 2 and inputs[1].type == "tensor(int64)" and kind == "planes"
    if kind is None or not (len(inputs) == 1 or two):
        raise UserError(
            f"an ONNX model that takes something else than speech: {path}",
            got=", ".join(f"{put.name} {put.type} {put.shape}" for put in inputs),
            allowed=f"one float32 input: {SHAPES}, with free N or T",
        )
    rate = whole(meta, "sample_rate", SAMPLE_RATE, path)
    features: FrontEnd | NemoFeatures | None = None
    if two:
        features = of_nemo(meta, path, rate, options)
    elif kind != "waves":
        features = of_log_mels(meta, path, rate, options)
    else:
        given = [key for key, value in options.items() if value]
        require(
            not given,
            "a graph from waveforms makes its features itself: the URI has nothing to say of them",
            got=", ".join(given),
            remedy="leave the options out",
        )
    return Feed(
        output=graph.get_outputs()[1].name if two else pick_output(graph, path),
        kind=kind,
        scale=choose(meta, "normalize_samples", "1", SCALES, path) if kind == "waves" else 1.0,
        features=features,
        sample_rate=rate,
        alone=inputs[0].shape[0] == 1,
    )


def of_log_mels(meta: Mapping[str, str], path: str, rate: int, options: Mapping[str, str]) -> FrontEnd:
    """The front end of a graph that takes log-mels."""
    found = said(options, of_metadata(meta, path, rate))
    if found is None:
        raise UserError(
            f"nothing says with which features this ONNX model was trained: {path}",
            got=f"no framework in its metadata ({', '.join(sorted(meta)) or 'which are empty'})",
            allowed=choices("onnx", path),
            remedy=f"say it in the URI; {FIND_OUT}",
        )
    return found


def of_metadata(meta: Mapping[str, str], path: str, rate: int) -> FrontEnd | None:
    """The front end that the metadata fix; None where they name no framework."""
    if OURS in meta:
        where = f"{OURS} in the metadata of {path}"
        try:
            held = json.loads(meta[OURS])
        except json.JSONDecodeError as error:
            raise UserError(f"{where} is damaged", got=str(error)) from None
        require(isinstance(held, dict), f"{where} is no table", got=type(held).__name__)
        return replace(FrontEnd.from_json(held, where), gate_db=0.0)  # the graph itself leaves frames out
    if "framework" not in meta:
        return None
    if meta["framework"] not in FRAMEWORKS:
        raise unknown(f"framework in the metadata of {path}", meta["framework"], FRAMEWORKS)
    base = FRAMEWORKS[meta["framework"]]
    scale = choose(meta, "normalize_samples", "0" if base.scale > 1 else "1", SCALES, path)
    mean = choose(meta, "feature_normalize_type", "global-mean", {"global-mean": True, "": False}, path)
    return replace(
        base,
        sample_rate=rate,
        high=rate / 2,
        window=meta.get("window_type", base.window),
        scale=scale,
        mean_norm=mean,
    )


def of_nemo(meta: Mapping[str, str], path: str, rate: int, options: Mapping[str, str]) -> NemoFeatures:
    """The features of a graph with a second input, the number of frames.

    What its metadata leave out is as sherpa-onnx has it, a Povey window and no normalisation. `?frontend=nemo`
    says it where there are none; then it is as NeMo's models were exported, a Hann window and normalised.
    """
    frontend = options.get("frontend", "") or meta.get("framework", "")
    others = [key for key, value in options.items() if value and key not in ("frontend", "window")]
    require(
        not others, "NeMo's features have no such option", got=", ".join(others), allowed="frontend, window"
    )
    if frontend != NEMO:
        raise UserError(
            f"nothing says with which features this ONNX model was trained: {path}",
            got=f"{frontend or 'no framework in its metadata'}, and a second input for the number of frames",
            allowed=f"onnx:{path}?frontend={NEMO} (a TitaNet or SpeakerNet of NeMo, fed as sherpa-onnx does)",
        )
    exported = (
        meta if "framework" in meta else {"window_type": "hann", "feature_normalize_type": "per_feature"}
    )
    normalise = {"per_feature": True, "": False}
    return NemoFeatures(
        sample_rate=rate,
        window=options.get("window", "") or exported.get("window_type", "povey"),
        normalise=choose(exported, "feature_normalize_type", "", normalise, path),
    )


def whole(meta: Mapping[str, str], key: str, usual: int, path: str) -> int:
    """A positive whole number of the metadata.

    Errors:
        UserError naming the key, the value and the file.
    """
    text = meta.get(key, str(usual))
    require(
        text.isascii() and text.isdigit() and int(text) > 0,
        f"{key} in the metadata of {path} is no whole number",
        got=repr(text),
        allowed=f"{key}={usual}, digits alone",
        remedy="export the file again, or write its metadata anew",
    )
    return int(text)


def choose(meta: Mapping[str, str], key: str, usual: str, known: Mapping[str, Any], path: str) -> Any:
    value = meta.get(key, usual)
    if value not in known:
        raise unknown(f"{key} in the metadata of {path}", value, known)
    return known[value]


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


def pick_output(graph: InferenceSession, path: str) -> str:
    """The output [B, D]; of several, the one with `emb` in its name."""
    outputs = [put.name for put in graph.get_outputs() if len(put.shape) in (0, 2)]
    named = [name for name in outputs if "emb" in name.lower()]
    found = outputs if len(outputs) == 1 else named
    require(
        len(found) == 1,
        f"an ONNX model without one embedding: {path}",
        got=", ".join(f"{put.name} {put.shape}" for put in graph.get_outputs()),
        allowed="one output [B, D], or one of them with `emb` in its name",
    )
    return found[0]
