"""What a student begins with: weights drawn from the seed, or those of a trained run (`init`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distilvox import models
from distilvox.errors import require
from distilvox.files import sha256_file
from distilvox.models.frontend import DEFAULT, read_frontend
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import WEIGHTS, LoadedRun, load_student, model_record
from distilvox.train.config import RunConfig
from distilvox.train.fields import differences

DEFAULT_STUDENT = "xvector-s"
SCHEME = "run:"


@dataclass(frozen=True)
class Init:
    """A trained run that a student starts from.

    Attributes:
        uri: `run:FOLDER`.
        sha256: of its weights' file.
        run: its student, class centres and speakers.
    """

    uri: str
    sha256: str
    run: LoadedRun

    def record(self) -> dict[str, str]:
        """What `config.json` says about it."""
        return {"uri": self.uri, "sha256": self.sha256}

    def copy_centres(self, head: SpeakerHead) -> int:
        """Copies the class centres of speakers whose names both have; returns how many. The others stay."""
        row_of = {name: row for row, name in enumerate(self.run.names)}
        pairs = [(row, row_of[name]) for row, name in enumerate(head.names) if name in row_of]
        if pairs:
            ours, theirs = map(list, zip(*pairs, strict=True))
            with torch.no_grad():
                head.weight[ours] = self.run.head[theirs]
        return len(pairs)


def make_student(config: RunConfig) -> tuple[models.Student, Init | None]:
    """The student of a run before its first step, and the run that it starts from, if any.

    Without `init`, weights are drawn from torch's generator. With `init`, they are that run's; the student need not be
    named then, and one that is named (or given options) must be of the run's architecture.

    Raises:
        UserError: an unknown student or option; `init` is no run folder, or of another architecture (names the
            fields that differ).
    """
    if not config.init:
        front = read_frontend(config.frontend or DEFAULT)
        return models.build(config.student or DEFAULT_STUDENT, front, **config.student_options), None
    folder = config.init.removeprefix(SCHEME)
    require(
        config.init.startswith(SCHEME) and folder != "",
        "a student starts from a run folder",
        got=f"init {config.init!r}",
        allowed="run:FOLDER, written by distilvox train, distil or import",
    )
    run = load_student(Path(folder))
    if config.student or config.student_options or config.frontend:
        _check_same(config, run.student, folder)
    return run.student.train(), Init(config.init, sha256_file(Path(folder) / WEIGHTS), run)


def _check_same(config: RunConfig, theirs: models.Student, folder: str) -> None:
    there = model_record(theirs)
    front = read_frontend(config.frontend) if config.frontend else theirs.frontend.config
    base = {} if config.student else there["config"]
    ours = models.build(config.student or theirs.name, front, **{**base, **config.student_options})
    here = model_record(ours)
    different = [
        f"{field.rpartition('.')[2]} {_at(here, field)!r}, there {_at(there, field)!r}"
        for field in differences(here, there)
        if field != "name"
    ]
    if type(ours.config) is not type(theirs.config):
        different = [f"{ours.name}, there {theirs.name}"]
    require(
        not different,
        f"the student is not built as the one in {folder}, which it shall start from",
        got="; ".join(different),
        remedy="name no student, no front end and no options: they are then the run's own",
    )


def _at(record: Any, field: str) -> Any:
    """What stands under a dotted name."""
    for name in field.split("."):
        record = record.get(name)
    return record
