"""Model folders of WeSpeaker: `config.yaml` and a state dict → a student, its class centres, their names.

Layout of wenet-e2e/wespeaker: the backbone's tensors under the names that ours have too, the classifier beside
them under `projection.`. Its features are ours: Kaldi log-mels of 25 ms every 10 ms, Hamming window, 16-bit
scale, mean over time removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from distilvox.errors import UserError, require, unknown
from distilvox.files import atomic_folder, sha256_file, write_json
from distilvox.locks import alone
from distilvox.models.foreign import read_torch
from distilvox.models.frontend import PRESETS
from distilvox.models.runfolder import CONFIG as RUN_CONFIG
from distilvox.models.runfolder import VERSION, match_tensors, model_record, save_tensors
from distilvox.models.student import Student
from distilvox.models.table import build

CONFIG = "config.yaml"
WEIGHTS = ("avg_model.pt", "model.pt", "models/avg_model.pt", "models/model.pt")
NAMES = ("spk2id", "spk2id.txt", "spk2label")
REMEDY = "give a model folder of WeSpeaker: config.yaml and avg_model.pt or model.pt"
PROJECTION = "projection.weight"
ROWS = ("arc_margin", "add_margin", "sphere")
"""Kinds of classifier whose rows are class centres, one a class."""


class Layout(NamedTuple):
    """How one of WeSpeaker's models is built here.

    Attributes:
        model, options: of `distilvox.models.build`.
        fields: its `model_args` → our options, besides `SHARED`.
        fixed: its `model_args` that must have one value, the default.
    """

    model: str
    options: Mapping[str, Any]
    fields: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any]


SHARED = {"feat_dim": ("mels",), "embed_dim": ("embedding_dim",)}
STATISTICS = {"pooling_func": "TSTP"}
ATTENTIVE = {"pooling_func": "ASTP", "emb_bn": False}
WIDTHS = {"hid_dim": ("channels",), "stats_dim": ("last_channels",), "embed_dim": ("embedding_dim", "hidden")}
DENSE = {"growth_rate": ("growth",), "bn_size": ("bottleneck",), "init_channels": ("channels",)}
DEPTH = {"two_emb_layer": ("two_emb_layer",)}

KNOWN: dict[str, Layout] = {
    "XVEC": Layout("xvector", {}, WIDTHS, STATISTICS),
    "ResNet18": Layout("resnet18", {}, DEPTH, STATISTICS),
    "ResNet34": Layout("resnet34", {}, DEPTH, STATISTICS),
    "ResNet50": Layout("resnet152", {"blocks": (3, 4, 6, 3)}, DEPTH, STATISTICS),
    "ResNet101": Layout("resnet152", {"blocks": (3, 4, 23, 3)}, DEPTH, STATISTICS),
    "ResNet152": Layout("resnet152", {}, DEPTH, STATISTICS),
    "ResNet221": Layout("resnet293", {"blocks": (6, 16, 48, 3)}, DEPTH, STATISTICS),
    "ResNet293": Layout("resnet293", {}, DEPTH, STATISTICS),
    "CAMPPlus": Layout("campplus", {}, DENSE, {**STATISTICS, "config_str": "batchnorm-relu"}),
    "ECAPA_TDNN_c512": Layout("ecapa512", {"global_context": False}, {}, ATTENTIVE),
    "ECAPA_TDNN_c1024": Layout("ecapa512", {"channels": 1024, "global_context": False}, {}, ATTENTIVE),
    "ECAPA_TDNN_GLOB_c512": Layout("ecapa512", {}, {}, ATTENTIVE),
    "ECAPA_TDNN_GLOB_c1024": Layout("ecapa512", {"channels": 1024}, {}, ATTENTIVE),
}
"""`model` of its config.yaml → how it is built here."""

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


class WeSpeaker(NamedTuple):
    """A model folder, read.

    Attributes:
        student: in evaluation mode, on the CPU.
        head: class centres [C, D] float32, C = 0 where the file holds none.
        names: the speakers of the C rows, in row order; empty where the folder does not name them.
        model: its name there.
        weights: the file that was read.
        about_head: one clause on where the rows came from, or why there are none.
    """

    student: Student
    head: Tensor
    names: tuple[str, ...]
    model: str
    weights: Path
    about_head: str


def read_wespeaker(folder: Path | str) -> WeSpeaker:
    """Reads a model folder; nothing in it is executed.

    Args:
        folder: with `config.yaml`, one of `WEIGHTS` and perhaps one of `NAMES` (lines `name row`).

    Errors:
        UserError: no such folder or file, a model or features that are not ours, tensors that are missing,
            unexpected or misshapen (named), names that do not fit the rows.
    """
    folder = Path(folder)
    config = read_config(folder / CONFIG)
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"no weights here: {folder}", allowed=", ".join(WEIGHTS), remedy=REMEDY)
    tensors = read_torch(path, "the WeSpeaker checkpoint", remedy=REMEDY)
    student = build_student(config, tensors, folder / CONFIG)
    backbone = {name: value for name, value in tensors.items() if not name.startswith("projection.")}
    wanted = dict(student.backbone.state_dict())
    kind = table(config, "projection_args").get("project_type")
    if kind in ROWS and PROJECTION in tensors:
        rows = tensors[PROJECTION].shape[:1].numel()
        wanted[PROJECTION] = torch.empty(rows, student.embedding_dim)
        backbone[PROJECTION] = tensors[PROJECTION]
    fitting = match_tensors(backbone, wanted, where=path)
    head = fitting.pop(PROJECTION, torch.empty(0, student.embedding_dim)).float()
    student.backbone.load_state_dict(fitting)
    about = f"{len(head):,} classifier rows"
    if len(head) == 0:
        others = any(name.startswith("projection.") for name in tensors)
        about = f"none: {kind} rows are no class centres" if others else "none: the file holds no classifier"
    elif tripled(config) and len(head) % 3 == 0:
        # Speech at 0.9 and 1.1 times its speed counts as other speakers: classes C … 3 C − 1.
        about = f"the {len(head) // 3:,} rows of unchanged speed, of {len(head):,} classifier rows"
        head = head[: len(head) // 3].clone()
    names = read_names(folder, len(head)) if len(head) else ()
    about += "" if names or len(head) == 0 else ", unnamed"
    return WeSpeaker(student.eval(), head, names, config["model"], path, about)


def import_wespeaker(folder: Path | str, run: Path | str) -> WeSpeaker:
    """Writes a run folder with the model in `folder`: `run` exists whole afterwards, or not at all.

    Its class centres come along if the file has them; where nobody names their speakers, `speakers` is null
    in its config.json. Nothing is said there of corpus, objective or training, for nothing is known.

    Errors:
        UserError: see `read_wespeaker`; or `run` exists already.
    """
    run = Path(run)
    require(
        not run.exists() or (run.is_dir() and not any(run.iterdir())),
        f"{run} exists: it is left alone",
        remedy="choose another folder for the imported run",
    )
    found = read_wespeaker(folder)
    config = {
        "version": VERSION,
        "model": model_record(found.student),
        "speakers": list(found.names) or None,
        "imported": {
            "from": f"wespeaker {found.model}",
            "folder": Path(folder).resolve().name,
            "file": found.weights.name,
            "sha256": sha256_file(found.weights),
            "head": found.about_head,
        },
    }
    tensors = {f"student.{name}": value for name, value in found.student.state_dict().items()}
    if len(found.head):
        tensors["head.weight"] = found.head
    with alone(run), atomic_folder(run) as temporary:
        save_tensors(temporary, tensors)
        write_json(temporary / RUN_CONFIG, config)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """`config.yaml` as a table of plain values; tags that build objects are refused."""
    require(path.is_file(), f"no WeSpeaker model here: {path} does not exist", remedy=REMEDY)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"this configuration is damaged: {path}", got=" ".join(str(error).split())) from None
    said = config.get("model") if isinstance(config, dict) else None
    require(
        isinstance(said, str),
        f"{path} does not say which model was trained",
        got=said,
        allowed="model: " + ", ".join(KNOWN),
        remedy=REMEDY,
    )
    return config


def table(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A table inside a table; empty where there is none."""
    part = config.get(key)
    return part if isinstance(part, dict) else {}


def tripled(config: dict[str, Any]) -> bool:
    """Whether training had three classes a speaker. Large-margin fine-tuning keeps them, and says no more."""
    return bool(table(config, "dataset_args").get("speed_perturb") or config.get("do_lm"))


def build_student(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> Student:
    """The student that the configuration describes, freshly initialised, or what is not ours in it."""
    if config["model"] not in KNOWN:
        raise unknown(f"model of WeSpeaker in {where}", config["model"], KNOWN)
    layout = KNOWN[config["model"]]
    args, fields = table(config, "model_args"), {**SHARED, **layout.fields}
    if layout.fields is DEPTH:
        args = {"two_emb_layer": "seg_2.weight" in tensors, **args}
    problems = [f"model_args lacks {name}" for name in SHARED if name not in args]
    problems += [
        f"{name}: {value} (known is {layout.fixed[name]})" if name in layout.fixed else f"{name} is unknown"
        for name, value in args.items()
        if name not in fields and layout.fixed.get(name) != value
    ]
    data = table(config, "dataset_args")
    mels = table(data, "fbank_args").get("num_mel_bins", args.get("feat_dim"))
    if mels != args.get("feat_dim"):
        problems.append(f"num_mel_bins {mels} and feat_dim {args.get('feat_dim')} differ")
    for keys, allowed in FEATURES.items():
        value = table(data, keys[0]).get(keys[1], allowed[0]) if keys[1:] else data.get(keys[0], allowed[0])
        if value not in allowed:
            problems.append(f"{'.'.join(keys)}: {value} (known is {allowed[0]})")
    require(not problems, f"{where}: not a {config['model']} that is known here", got="; ".join(problems))
    options = {ours: args[name] for name in fields if name in args for ours in fields[name]}
    return build(layout.model, PRESETS["wespeaker"], **{**layout.options, **options})


def read_names(folder: Path, rows: int) -> tuple[str, ...]:
    """The speakers of the rows, from one of `NAMES`; empty where there is no such file."""
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        return ()
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    row_of = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdecimal()}
    require(
        len(row_of) == len(lines) and sorted(row_of.values()) == list(range(rows)),
        f"the speakers in {path} do not fit the classifier",
        got=f"{len(lines)} lines, {len(row_of)} names with a row",
        allowed=f"one line `name row` for each of the rows 0 to {rows - 1}",
        remedy="remove the file: the rows are then unnamed",
    )
    return tuple(sorted(row_of, key=row_of.__getitem__))
