"""The door of a run folder: what a run says about itself, and whether it may begin or go on there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distilvox import __version__, models
from distilvox.console import say as tell
from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN
from distilvox.errors import UserError, require
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json, write_json
from distilvox.locks import LOCK
from distilvox.models.runfolder import CONFIG, VERSION, WEIGHTS, model_record
from distilvox.teachers.base import Teacher
from distilvox.train import checkpoint
from distilvox.train.config import RunConfig
from distilvox.train.fields import differences, to_json
from distilvox.train.origin import code_commit, typed_command
from distilvox.train.start import Init
from distilvox.views.bank import Bank

FREE = frozenset(
    {
        "corpus.path",
        "teacher.uri",
        "teacher.licence",
        "corpus.licence",
        "init.uri",
        "distilvox",
        "command",
        "commit",
        "train.threads",
        "train.shard_head",
        "stages",
        "machine.device",
        "machine.processes",
    }
)
"""Where things lie, what was typed, what may be done with them, and how fast it is computed, may change between two
sessions of a run."""


def settings(config: RunConfig, student: models.Student, init: Init | None) -> dict[str, Any]:
    """The part of `config.json` that follows from the configuration alone, every default resolved.

    Fine-tuning that is not asked for is null, whatever its other fields say: they decide nothing. So is a subset
    that is all.
    """
    parts = {part: to_json(getattr(config, part)) for part in ("objective", "views", "targets", "train")}
    return {
        "model": model_record(student),
        "init": init.record() if init else None,
        **parts,
        "finetune": to_json(config.finetune) if config.finetune.epochs else None,
        "subset": None if config.subset.is_all else to_json(config.subset),
    }


def run_record(
    config: RunConfig,
    *,
    student: models.Student,
    init: Init | None,
    corpus: Corpus,
    bank: Bank,
    teacher: Teacher | None,
    judge: Judge | None,
    speakers: Sequence[str],
    machine: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What `config.json` holds: the settings, and the id of everything else that decides the result.

    Of a corpus that is part of another, `id` is that of the whole one, the size its own.
    """
    return {
        "version": VERSION,
        "distilvox": __version__,
        "commit": code_commit(),
        "command": typed_command(sys.argv),
        **settings(config, student, init),
        "corpus": {
            "path": str(corpus.path),
            "id": corpus.whole.id,
            "licence": corpus.whole.licence,
            "utterances": len(corpus),
            **without_speaker(corpus),
            "hours": corpus.seconds / 3600,
        },
        "bank": bank.id,
        "teacher": teacher.record() if teacher else None,
        "trials": judge.trials.name if judge else None,
        "trials_id": judge.trials.id if judge else None,
        "stages": [to_json(stage) for stage in config.stages],
        "machine": machine,
        "speakers": list(speakers) or None,
    }


def without_speaker(corpus: Corpus) -> dict[str, int]:
    """How many utterances have no speaker, said where there are any."""
    loose = int(np.count_nonzero(corpus.labels == UNKNOWN))
    return {"without_speaker": loose} if loose else {}


SAID_LATELY = ("machine", "trials_id", "stages")
"""What records say since they are of this form: of older ones, nobody knows it."""


def alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two records as they can be compared: what one of them does not say yet is in neither."""
    silent = [key for key in SAID_LATELY if a.get(key) is None or b.get(key) is None]
    made = [{key: value for key, value in record.items() if key not in silent} for record in (a, b)]
    for record in made:
        if tuning := record.get("finetune"):
            record["finetune"] = {"schedule": [], **tuning}
    return made[0], made[1]


def machine_of(device: torch.device, bf16: bool, processes: int) -> dict[str, Any]:
    """What a run was computed on and in."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "precision": "bf16" if bf16 else "float32", "processes": processes}


def open_run(out: Path, record: dict[str, Any], resume: bool, say: Callable[[str], None] = tell) -> None:
    """Writes the run's `config.json`, or checks the one of a run that was begun there against this run's.

    Another device, or number of processes, may go on with a run, and is said; another precision may not.

    Args:
        say: takes lines for people.

    Raises:
        UserError: the folder holds something else, or a run and `resume` is not given, or a run that was begun
            with other settings (names them).
    """
    path = out / CONFIG
    if (
        not path.exists()
        and out.exists()
        and [p for p in out.iterdir() if p.suffix != ".partial" and p.name != LOCK]
    ):
        raise UserError(
            f"{out} exists and is no run folder: it is left alone", remedy="choose another folder"
        )
    if not (out / checkpoint.NAME).exists() and not (out / WEIGHTS).exists():
        write_json(path, record)  # no step was done yet, or the pre-flight refused the teacher
        return
    require(
        resume,
        f"{out} holds a run already",
        remedy="give --resume to go on with it, or choose another folder",
    )
    begun = read_json(path, noun="run")
    before, now = alike(begun, record)
    changed = [name for name in differences(before, now) if name not in FREE]
    if "machine" in before:
        _refuse_precision(out, before["machine"], now["machine"])
        changed = [name for name in changed if name != "train.precision"]  # what it resolves to is the same
        for part in ("device", "processes"):
            if before["machine"].get(part) != now["machine"][part]:
                say(f"begun with {part} {before['machine'].get(part)}, goes on with {now['machine'][part]}")
    tuned = begun.get("finetune") and "stages" not in begun and (begun.get("objective") or {}).get("schedule")
    require(
        not tuned,
        f"{out} was begun by a version whose schedules went on in fine-tuning: it cannot be gone on with",
        got=f"schedule {tuned}",
        remedy="go on with that version, or choose another folder",
    )
    require(
        not changed,
        f"{out} was begun with other settings: its last steps would belong to another run",
        got="changed: " + ", ".join(changed[:8]),
        remedy="give the settings it was begun with, or choose another folder",
    )


def _refuse_precision(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    require(
        before.get("precision") == now["precision"],
        f"{out} was begun in another precision: its last steps would belong to another run",
        got=now["precision"],
        allowed=f"{before.get('precision')}, in which it was begun",
        remedy=f"give --precision {before.get('precision')}",
    )
