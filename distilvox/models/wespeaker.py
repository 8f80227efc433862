"""Model folders of WeSpeaker: `config.yaml` and a state dict → a student, its class centres, their names.

Layout of wenet-e2e/wespeaker: the backbone's tensors under the names that ours have too, the classifier beside
them under `projection.`. Its features are ours: Kaldi log-mels of 25 ms every 10 ms, Hamming window, 16-bit
scale, mean over time removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.files import atomic_folder, sha256_file, write_json
from distilvox.locks import alone
from distilvox.models.foreign import read_torch
from distilvox.models.runfolder import CONFIG as RUN_CONFIG
from distilvox.models.runfolder import VERSION, match_tensors, model_record, save_tensors
from distilvox.models.student import Student
from distilvox.models.wespeaker_known import KNOWN, build_student, table

CONFIG = "config.yaml"
WEIGHTS = (
    "avg_model.pt",
    "model.pt",
    "models/avg_model.pt",
    "models/model.pt",
    "avg_model",
    "models/avg_model",
)
EPOCHS = "model_*.pt"
"""One epoch's weights, in the folder or in `models/`: the last is taken where none of `WEIGHTS` is there."""
NAMES = ("spk2id", "spk2id.txt", "spk2label")
REMEDY = "give a model folder of WeSpeaker: config.yaml and avg_model.pt or model.pt"
PROJECTION = "projection.weight"
ROWS = ("arc_margin", "add_margin", "sphere")
"""Kinds of classifier whose rows are class centres, one a class."""


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
        folder: with `config.yaml`, one of `WEIGHTS` or `EPOCHS` and perhaps one of `NAMES` (lines `name row`).

    Errors:
        UserError: no such folder or file, a model or features that are not ours, tensors that are missing,
            unexpected or misshapen (named), names that do not fit the rows.
    """
    folder = Path(folder)
    config = read_config(folder / CONFIG)
    path = find_weights(folder)
    tensors = read_torch(path, "the WeSpeaker checkpoint", remedy=REMEDY)
    student = build_student(config, tensors, folder / CONFIG)
    rename = KNOWN[config["model"]].rename
    backbone = {rename(name): value for name, value in tensors.items() if not name.startswith("projection.")}
    wanted = student.backbone.state_dict() | rows_of(config, tensors, student.embedding_dim)
    backbone |= {PROJECTION: tensors[PROJECTION]} if PROJECTION in wanted else {}
    fitting = match_tensors(backbone, wanted, where=path)
    student.backbone.load_state_dict({name: value for name, value in fitting.items() if name != PROJECTION})
    head, names, about = read_head(config, tensors, student.embedding_dim, folder)
    return WeSpeaker(student.eval(), head, names, config["model"], path, about)


def rows_of(config: dict[str, Any], tensors: dict[str, Tensor], dimension: int) -> dict[str, Tensor]:
    """`PROJECTION` in the shape that it must have, [C, D], where its rows are class centres; else nothing."""
    if table(config, "projection_args").get("project_type") not in ROWS or PROJECTION not in tensors:
        return {}
    return {PROJECTION: torch.empty(tensors[PROJECTION].shape[:1].numel(), dimension)}


def read_head(
    config: dict[str, Any], tensors: dict[str, Tensor], dimension: int, folder: Path
) -> tuple[Tensor, tuple[str, ...], str]:
    """Class centres [C, D], the speakers of the rows, and one clause about them: see `WeSpeaker`.

    Args:
        tensors: of the whole checkpoint; the classifier of the shape that `rows_of` says.
        dimension: D.
        folder: which may name the speakers.
    """
    kind, head = table(config, "projection_args").get("project_type"), torch.empty(0, dimension)
    if rows_of(config, tensors, dimension):
        head = tensors[PROJECTION].float()
    about = f"{len(head):,} classifier rows"
    if len(head) == 0:
        others = any(name.startswith("projection.") for name in tensors)
        about = f"none: {kind} rows are no class centres" if others else "none: the file holds no classifier"
    elif tripled(config) and len(head) % 3 == 0:
        # Speech at 0.9 and 1.1 times its speed counts as other speakers: classes C … 3 C − 1.
        about = f"the {len(head) // 3:,} rows of unchanged speed, of {len(head):,} classifier rows"
        head = head[: len(head) // 3].clone()
    names = read_names(folder, len(head)) if len(head) else ()
    return head, names, about + ("" if names or len(head) == 0 else ", unnamed")


def find_weights(folder: Path) -> Path:
    """The weights in a model folder: one of `WEIGHTS`, else the last of `EPOCHS` by its number."""
    epochs = [path for place in (folder, folder / "models") for path in place.glob(EPOCHS)]
    numbered = [path for path in epochs if path.stem.removeprefix("model_").isdecimal()]
    last = sorted(numbered, key=lambda path: int(path.stem.removeprefix("model_")))[-1:]
    found = [path for name in WEIGHTS if (path := folder / name).is_file()] + last
    if not found:
        raise UserError(f"no weights here: {folder}", allowed=", ".join((*WEIGHTS, EPOCHS)), remedy=REMEDY)
    return found[0]


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


def tripled(config: dict[str, Any]) -> bool:
    """Whether training had three classes a speaker. Large-margin fine-tuning keeps them, and says no more."""
    return bool(table(config, "dataset_args").get("speed_perturb") or config.get("do_lm"))


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
