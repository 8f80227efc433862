"""A run folder on disk: `config.json` says what was trained, `model.safetensors` holds the weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from distilvox.errors import UserError, require
from distilvox.files import read_json, write_bytes
from distilvox.models.frontend import FrontEnd
from distilvox.models.head import SpeakerHead
from distilvox.models.student import Student
from distilvox.models.table import build

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
VERSION = 1
REMEDY = "give a folder written by `distilvox train`, `distilvox distil` or `distilvox import`"


class LoadedRun(NamedTuple):
    """A trained model: the student (evaluation mode), the run's configuration, the class centres.

    `head` is [C, D] float32 and `names` its C speakers in row order. An imported model may have no centres
    (C = 0), or centres whose speakers nobody names: then `names` is empty.
    """

    student: Student
    config: dict[str, Any]
    head: Tensor
    names: tuple[str, ...]


def read_config(folder: Path | str) -> dict[str, Any]:
    """Reads and checks `config.json`: the version, the model's name and options, the speakers.

    Errors:
        UserError if it is missing, damaged, of another version, or lacks a field that loading needs.
    """
    path = Path(folder) / CONFIG
    config = read_json(path, noun="run folder", remedy=REMEDY)
    require(isinstance(config, dict), f"this run folder is damaged: {path} holds no table", remedy=REMEDY)
    require(
        config.get("version") == VERSION,
        f"{path} was written by another version",
        got=config.get("version"),
        allowed=str(VERSION),
    )
    model, speakers = config.get("model"), config.get("speakers")
    well_made = isinstance(model, dict) and isinstance(model.get("name"), str)
    require(
        well_made and isinstance(model.get("config"), dict),
        f"{path} does not say which model was trained",
        got=model,
        allowed='"model": {"name": …, "config": {…}}',
    )
    if "speakers" in config and speakers is None:  # imported from a file without names
        return config
    require(
        isinstance(speakers, list) and bool(speakers) and all(isinstance(name, str) for name in speakers),
        f"{path} does not list the training speakers",
        allowed='"speakers": [names in the order of the head\'s rows], or null where nobody knows them',
    )
    require(len(set(speakers)) == len(speakers), f"{path} lists a speaker twice")
    return config


def model_record(student: Student) -> dict[str, Any]:
    """What `config.json` says about a model: enough to build it again."""
    return {
        "name": student.name,
        "config": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(student.config).items()
        },
        "frontend": student.frontend.config.to_json(),
    }


def frontend_of(model: Mapping[str, Any], folder: Path) -> FrontEnd:
    """The front end that a run's record states; runs of before it was stated have WeSpeaker's."""
    return FrontEnd.from_json(model.get("frontend", {}), f"the front end in {folder / CONFIG}")


def read_weights(folder: Path | str) -> dict[str, Tensor]:
    """Reads every tensor of `model.safetensors`, on the CPU; what we wrote is what we read, or an error."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        begun = (Path(folder) / "checkpoint").exists()
        raise UserError(
            f"no weights here: {path} does not exist",
            got="a training that has not finished" if begun else None,
            remedy="finish it: the same command with --resume goes on from its checkpoint"
            if begun
            else REMEDY,
        )
    try:
        with safe_open(path, framework="pt") as file:
            stated = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"these weights are damaged: {path}", got=str(error), remedy=REMEDY) from None
    measured = tensors_sha256(tensors)
    require(
        stated in (None, measured),  # what others wrote has none
        f"these weights are damaged: {path}",
        got=f"sha256 {measured}",
        allowed=f"sha256 {stated}, stated in the file",
        remedy="copy the run again, or resume it",
    )
    return tensors


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 (hex) of tensors on the CPU: names in order, kinds, shapes and every bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(folder: Path, *, student: Student, head: SpeakerHead, projection: nn.Linear | None) -> None:
    """Writes `model.safetensors`: `student.*`, `head.weight` [C, D], and `projection.weight` [D_t, D] if any."""
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors["head.weight"] = head.weight
    if projection is not None:
        tensors["projection.weight"] = projection.weight
    save_tensors(folder, tensors)


def save_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes `model.safetensors` with these tensors, under the names that `save_model` lists."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"sha256": tensors_sha256(plain)}
    write_bytes(
        folder / WEIGHTS, save(plain, metadata)
    )  # in memory first: a full disk is then the system's error


def match_tensors(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    where: Path | str,
    optional: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """The wanted tensors out of the found ones, or an error that names each that does not fit.

    Args:
        found: what the file holds.
        wanted: what the model has, for the names and shapes.
        where: the file, for the message.
        optional: names that the file may hold beside them; left out of the result.

    Errors:
        UserError naming missing, unexpected, misshapen and non-finite tensors.
    """
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is unexpected" for name in found if name not in wanted and name not in optional]
    for name in wanted.keys() & found.keys():
        got, expected = tuple(found[name].shape), tuple(wanted[name].shape)
        if got != expected:
            problems.append(f"{name} has shape {list(got)}, expected {list(expected)}")
        elif found[name].is_floating_point() and not bool(torch.isfinite(found[name]).all()):
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        shown = sorted(problems)[:6] + ([f"and {len(problems) - 6} more"] if len(problems) > 6 else [])
        raise UserError(f"the weights in {where} do not fit the model", got="; ".join(shown))
    return {name: found[name] for name in wanted}


def load_student(folder: Path | str, device: torch.device | str = "cpu") -> LoadedRun:
    """Loads the student of a run folder and its class centres.

    Args:
        folder: a run folder (`config.json`, `model.safetensors`).
        device: where the student and the head go.

    Returns:
        student in evaluation mode, config, head [C, D] float32, speaker names; a tuple of four.
        C = 0 and no names where the model came without centres, no names where it came without names.

    Errors:
        UserError if the folder is none of ours, damaged, or its tensors do not fit its configuration.
    """
    folder = Path(folder)
    config = read_config(folder)
    found = read_weights(folder)
    student = build(
        config["model"]["name"], frontend_of(config["model"], folder), **config["model"]["config"]
    )
    names = tuple(config["speakers"] or ())
    wanted = {f"student.{name}": value for name, value in student.state_dict().items()}
    if names or "head.weight" in found:
        rows = len(names) or found["head.weight"].shape[:1].numel()
        wanted["head.weight"] = torch.empty(rows, student.embedding_dim)
    fitting = match_tensors(found, wanted, where=folder / WEIGHTS, optional=("projection.weight",))
    head = fitting.pop("head.weight", torch.empty(0, student.embedding_dim)).float().to(device)
    student.load_state_dict({name.removeprefix("student."): value for name, value in fitting.items()})
    return LoadedRun(student.to(device).eval(), config, head, names)
