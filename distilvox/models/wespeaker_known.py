"""WeSpeaker's models by name: how each is built here, and which of its settings are ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.models.eres2net import from_wespeaker
from distilvox.models.frontend import PRESETS
from distilvox.models.student import Student
from distilvox.models.table import build

SHARED = {"feat_dim": ("mels",), "embed_dim": ("embedding_dim",)}


class Layout(NamedTuple):
    """How one of WeSpeaker's models is built here.

    Attributes:
        model, options: of `distilvox.models.build`.
        fields: its `model_args` → our options, besides `shared`; none for one that changes no embedding.
        fixed: its `model_args` that must have one value, the default.
        pooling: its `pooling_func` → our options, where there is a choice.
        shared: its `model_args` for mels and dimensions → our options; they are obligatory where they are
            `SHARED`, for then WeSpeaker has no default.
        rename: a name of its state dict in our terms.
    """

    model: str
    options: Mapping[str, Any]
    fields: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any]
    pooling: Mapping[str, Mapping[str, Any]] = {}
    shared: Mapping[str, tuple[str, ...]] = SHARED
    rename: Callable[[str], str] = str


STATISTICS = {"pooling_func": "TSTP"}
ATTENTIVE = {"pooling_func": "ASTP"}
NORM = {"emb_bn": ("embedding_norm",)}
WIDTHS = {"hid_dim": ("channels",), "stats_dim": ("last_channels",), "embed_dim": ("embedding_dim", "hidden")}
DENSE = {"growth_rate": ("growth",), "bn_size": ("bottleneck",), "init_channels": ("channels",)}
DEPTH = {"two_emb_layer": ("two_emb_layer",)}
EITHER: dict[str, dict[str, Any]] = {"TSTP": {}, "ASTP": {"attentive": True}}
PLANES = {"acoustic_dim": ("mels",), "embed_dim": ("embedding_dim",)}
WIDTH: dict[str, tuple[str, ...]] = {"in_planes": ("channels",), "dropout": ()}
ONE = {**STATISTICS, "two_emb_layer": False}

KNOWN: dict[str, Layout] = {
    "XVEC": Layout("xvector", {}, WIDTHS, STATISTICS),
    "ResNet18": Layout("resnet18", {}, DEPTH, {}, EITHER),
    "ResNet34": Layout("resnet34", {}, DEPTH, {}, EITHER),
    "ResNet50": Layout("resnet152", {"blocks": (3, 4, 6, 3)}, DEPTH, {}, EITHER),
    "ResNet101": Layout("resnet152", {"blocks": (3, 4, 23, 3)}, DEPTH, {}, EITHER),
    "ResNet152": Layout("resnet152", {}, DEPTH, {}, EITHER),
    "ResNet221": Layout("resnet293", {"blocks": (6, 16, 48, 3)}, DEPTH, {}, EITHER),
    "ResNet293": Layout("resnet293", {}, DEPTH, {}, EITHER),
    "CAMPPlus": Layout("campplus", {}, DENSE, {**STATISTICS, "config_str": "batchnorm-relu"}),
    "ECAPA_TDNN_c512": Layout("ecapa512", {"global_context": False}, NORM, ATTENTIVE),
    "ECAPA_TDNN_c1024": Layout("ecapa512", {"channels": 1024, "global_context": False}, NORM, ATTENTIVE),
    "ECAPA_TDNN_GLOB_c512": Layout("ecapa512", {}, NORM, ATTENTIVE),
    "ECAPA_TDNN_GLOB_c1024": Layout("ecapa512", {"channels": 1024}, NORM, ATTENTIVE),
    "SimAM_ResNet34_ASP": Layout("simam34", {}, WIDTH, {}, shared=PLANES),
    "SimAM_ResNet100_ASP": Layout("simam34", {"blocks": (6, 16, 24, 3)}, WIDTH, {}, shared=PLANES),
    "ERes2Net34_Base": Layout("eres2net", {}, {}, ONE, rename=from_wespeaker),
    "ERes2Net34_Large": Layout("eres2net", {"channels": 64}, {}, ONE, rename=from_wespeaker),
}
"""`model` of its config.yaml → how it is built here."""

REDIMNET2 = "ReDimNet2"
"""How the names of a family begin that has other features: `distilvox.teachers.redimnet2_wespeaker`."""

FEATURES: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("frontend",): ("fbank",),
    ("resample_rate",): (16_000,),
    ("fbank_args", "frame_length"): (25,),
    ("fbank_args", "frame_shift"): (10,),
    ("fbank_args", "window_type"): ("hamming",),
    ("cmvn",): (True,),
    ("cmvn_args", "norm_mean"): (True,),
    ("cmvn_args", "norm_var"): (False,),
}
"""Keys under `dataset_args` → the values that our front end has; a key that is absent has them."""


def table(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A table inside a table; empty where there is none."""
    part = config.get(key)
    return part if isinstance(part, dict) else {}


def build_student(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Student:
    """The student that the configuration describes, freshly initialised, or what is not ours in it."""
    name = config["model"]
    require(
        not name.startswith(REDIMNET2),
        f"{where} holds a {name}, whose features are not Kaldi's",
        remedy=f"it can teach as it is: wespeaker:{where.parent}",
    )
    if name not in KNOWN:
        raise UserError(
            f"no model of WeSpeaker that is known here, in {where}",
            got=f"model: {name}",
            allowed=", ".join(KNOWN),
            remedy="another architecture is another network, however alike the names: export it to ONNX, onnx:FILE",
        )
    layout = KNOWN[name]
    args, fields = table(config, "model_args"), {**layout.shared, **layout.fields}
    if layout.fields is DEPTH:
        args = {"two_emb_layer": "seg_2.weight" in tensors, **args}
    pooling, fixed = args.get("pooling_func", "TSTP"), layout.fixed
    problems = [f"model_args lacks {key}" for key in SHARED if layout.shared is SHARED and key not in args]
    problems += [
        f"{key}: {value} (known is {fixed[key]})" if key in fixed else f"{key} is unknown"
        for key, value in args.items()
        if key not in fields and fixed.get(key) != value and not (key == "pooling_func" and layout.pooling)
    ]
    if layout.pooling and pooling not in tuple(layout.pooling):
        problems.append(f"pooling_func: {pooling} (known are {', '.join(layout.pooling)})")
    data, bins = (
        table(config, "dataset_args"),
        next(key for key, ours in layout.shared.items() if "mels" in ours),
    )
    mels = table(data, "fbank_args").get("num_mel_bins", args.get(bins))
    if mels != args.get(bins, mels):
        problems.append(f"num_mel_bins {mels} and {bins} {args.get(bins)} differ")
    for keys, allowed in FEATURES.items():
        value = table(data, keys[0]).get(keys[1], allowed[0]) if keys[1:] else data.get(keys[0], allowed[0])
        if value not in allowed:
            problems.append(f"{'.'.join(keys)}: {value} (known is {allowed[0]})")
    require(not problems, f"{where}: not a {name} that is known here", got="; ".join(problems))
    options = {ours: args[key] for key in fields if key in args for ours in fields[key]}
    chosen = layout.pooling.get(pooling, {})
    return build(layout.model, PRESETS["wespeaker"], **{**layout.options, **chosen, **options})
