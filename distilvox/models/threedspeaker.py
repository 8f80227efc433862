"""3D-Speaker's published networks: a weights file, or a folder of ModelScope or FunASR → a student.

A published file is a bare state dict; which network it is, and how wide, is read off its names and shapes.
A folder names the file (`configuration.json`) and perhaps the network (FunASR's `config.yaml`); what either
says is compared with the tensors. The features are 3D-Speaker's own whatever FunASR's `frontend` says, for
FunASR computes these too. Source: modelscope/3D-Speaker, `speakerlab/bin/infer_sv.py`; Chen et al., arXiv
2403.19971. Its largest ERes2Net ("huge", `pretrained_eres2net_aug.ckpt`) differs from the base in its widths
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.files import read_json
from distilvox.models.foreign import read_torch
from distilvox.models.frontend import PRESETS
from distilvox.models.runfolder import match_tensors
from distilvox.models.student import Student
from distilvox.models.table import build
from distilvox.sound import SAMPLE_RATE

MODELSCOPE, FUNASR = "configuration.json", "config.yaml"
PUBLISHED = (
    "campplus_cn_common.bin",
    "campplus_cn_en_common.pt",
    "campplus_voxceleb.bin",
    "pretrained_eres2netv2.ckpt",
    "pretrained_eres2netv2w24s4ep4.ckpt",
    "pretrained_eres2net.pt",
    "pretrained_eres2net.ckpt",
    "pretrained_eres2net_aug.ckpt",
    "eres2net_base_model.ckpt",
    "eres2net_large_model.ckpt",
    "model.pt",
)
"""Weights that a folder may hold without saying so, in this order; the last is FunASR's."""

FIELDS = {
    "feat_dim": "mels",
    "embedding_size": "embedding_dim",
    "growth_rate": "growth",
    "bn_size": "bottleneck",
    "init_channels": "channels",
}
"""FunASR's `model_conf` → the option of our CAM++ that it must equal."""

STEM, GROUP, LEAVES, LAST = "conv1.weight", "layer1.0.convs.0.weight", "layer1.0.conv3.weight", "seg_1.weight"
"""Of an ERes2Net: the tensors whose shapes say how wide it is."""

FIXED = {"config_str": "batchnorm-relu", "output_level": "segment"}
REMEDY = "give a published weights file of 3D-Speaker, or the model folder of ModelScope or FunASR around it"


class ThreeDSpeaker(NamedTuple):
    """A published network, read.

    Attributes:
        student: in evaluation mode, on the CPU, with 3D-Speaker's features.
        weights: the file that was read.
    """

    student: Student
    weights: Path


def read_threedspeaker(path: Path | str) -> ThreeDSpeaker:
    """Reads a weights file or a model folder; nothing in either is executed.

    Errors:
        UserError: no such file or folder, a folder that does not say which file it means, another network,
            tensors that are missing, unexpected or misshapen (named), settings that contradict them.
    """
    path = Path(path)
    weights = find_weights(path) if path.is_dir() else path
    tensors = read_torch(weights, "3D-Speaker's weights", remedy=REMEDY)
    name, options = recognise(tensors, weights)
    student = build(name, PRESETS["3dspeaker"], **options)
    if path.is_dir():
        problems = modelscope_problems(path / MODELSCOPE, student)
        problems += funasr_problems(path / FUNASR, student)
        require(
            not problems,
            f"the settings in {path} do not fit its weights",
            got="; ".join(problems),
            remedy=f"give the weights alone: 3dspeaker:{weights}",
        )
    student.backbone.load_state_dict(match_tensors(tensors, student.backbone.state_dict(), where=weights))
    return ThreeDSpeaker(student.eval(), weights)


def recognise(tensors: Mapping[str, Tensor], where: Path) -> tuple[str, dict[str, Any]]:
    """Name and options of `distilvox.models.build` for these tensors.

    Errors:
        UserError: a network that is not known here.
    """
    if "xvector.dense.linear.weight" in tensors:
        return "campplus", {"embedding_dim": rows(tensors["xvector.dense.linear.weight"])}
    if "layer3_ds.weight" in tensors or "layer1_downsample.weight" in tensors:
        return eres2net(tensors, where)
    ecapa = "blocks.0.conv.conv.weight" in tensors
    raise UserError(
        f"{where} holds no network of 3D-Speaker that is known here",
        got="an ECAPA-TDNN" if ecapa else f"{len(tensors)} tensors, the first {next(iter(tensors))}",
        allowed="CAM++, ERes2Net, ERes2NetV2",
        remedy=REMEDY,
    )


def eres2net(tensors: Mapping[str, Tensor], where: Path) -> tuple[str, dict[str, Any]]:
    """`recognise` for an ERes2Net of either version: its widths, from the first block and the last layer."""
    needed = {name: tensors.get(name) for name in (STEM, GROUP, LEAVES, LAST)}
    shapes = {
        name: tuple(value.shape) for name, value in needed.items() if value is not None and value.dim() > 1
    }
    missing = ", ".join(name for name in needed if name not in shapes)
    require(not missing, f"{where} holds a damaged ERes2Net", got=f"{missing} missing or no weight")
    channels, group, leaves = shapes[STEM][0], shapes[GROUP][0], shapes[LEAVES]
    options = {
        "embedding_dim": shapes[LAST][0],
        "channels": channels,
        "base_width": -(-64 * group // channels),
        "scale": leaves[1] // group,
        "expansion": leaves[0] // channels,
    }
    return ("eres2netv2" if "layer3_ds.weight" in tensors else "eres2net"), options


def rows(weight: Tensor) -> int:
    return weight.shape[:1].numel()


def find_weights(folder: Path) -> Path:
    """The weights file that a folder names, or the one of a published name in it.

    Errors:
        UserError: there is none, or the folder names one that is not there, or not beside its settings.
    """
    settings = read_modelscope(folder / MODELSCOPE)
    named = table(settings, "model").get("pretrained_model")
    named = table(settings, "file_path_metas").get("init_param") or named
    if named is None:
        found = next((folder / name for name in PUBLISHED if (folder / name).is_file()), None)
        if found is None:
            raise UserError(
                f"no weights of 3D-Speaker here: {folder}", allowed=", ".join(PUBLISHED), remedy=REMEDY
            )
        return found
    require(
        isinstance(named, str) and Path(named).name == named,
        f"{folder / MODELSCOPE} does not name a file beside it",
        got=repr(named),
        remedy=REMEDY,
    )
    require(
        (folder / named).is_file(),
        f"{folder / MODELSCOPE} names {named}, which is not there",
        remedy="fetch the whole folder, or give the weights file alone",
    )
    return folder / named


def modelscope_problems(path: Path, student: Student) -> list[str]:
    """What ModelScope's settings say otherwise than the tensors."""
    said = table(table(read_modelscope(path), "model"), "model_config")
    wanted = {
        "sample_rate": SAMPLE_RATE,
        "fbank_dim": student.config.mels,
        "emb_size": student.embedding_dim,
    }
    return [
        f"{key}: {said[key]} (expected {value})"
        for key, value in wanted.items()
        if said.get(key, value) != value
    ]


def funasr_problems(path: Path, student: Student) -> list[str]:
    """What FunASR's settings say otherwise than the tensors; its `frontend` it ignores itself."""
    settings = read_funasr(path)
    if not settings:
        return []
    if settings.get("model") != "CAMPPlus" or student.name != "campplus":
        return [f"model: {settings.get('model')} (expected CAMPPlus)"]
    wanted = FIXED | {theirs: getattr(student.config, ours) for theirs, ours in FIELDS.items()}
    said = table(settings, "model_conf")
    return [
        f"{key}: {said[key]} (expected {value})"
        for key, value in wanted.items()
        if said.get(key, value) != value
    ]


def read_modelscope(path: Path) -> dict[str, Any]:
    """`configuration.json`; empty where there is none."""
    if not path.exists():
        return {}
    settings = read_json(path, noun="ModelScope configuration", remedy=REMEDY)
    require(isinstance(settings, dict), f"this ModelScope configuration is damaged: {path} holds no table")
    return settings


def read_funasr(path: Path) -> dict[str, Any]:
    """FunASR's `config.yaml` as a table of plain values; empty where there is none."""
    if not path.exists():
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"this configuration is damaged: {path}", got=" ".join(str(error).split())) from None
    require(isinstance(settings, dict), f"this configuration is damaged: {path} holds no table")
    return settings


def table(settings: dict[str, Any], key: str) -> dict[str, Any]:
    """A table inside a table; empty where there is none."""
    part = settings.get(key)
    return part if isinstance(part, dict) else {}
