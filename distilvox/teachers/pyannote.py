"""`pyannote:FILE`, `pyannote:FOLDER` or `pyannote:OWNER/NAME`: pyannote.audio's checkpoint of a WeSpeaker ResNet."""

from __future__ import annotations

import torch

from distilvox.console import say
from distilvox.errors import require
from distilvox.models.pyannote import REMEDY, WEIGHTS, read_pyannote
from distilvox.sound import SAMPLE_RATE
from distilvox.teachers.base import Teacher
from distilvox.teachers.hub import folder_of
from distilvox.teachers.licence import of_folder
from distilvox.teachers.run import RunTeacher


def load(rest: str, *, revision: str = "", offline: str = "") -> Teacher:
    """Loads a checkpoint of pyannote.audio. Nothing in it is executed; what it asks for is skipped, and said.

    Errors:
        UserError if what it names is missing or damaged, holds another network, or was trained on other
            features.
    """
    require(rest != "", "a pyannote teacher needs its file or folder", got="pyannote:", remedy=REMEDY)
    path = folder_of(rest, scheme="pyannote", files=(WEIGHTS,), revision=revision, offline=offline)
    found = read_pyannote(path)
    if found.skipped:
        say(f"{found.weights}: skipped what is pickled beside the tensors: {', '.join(found.skipped)}")
    return RunTeacher(
        found.student,
        torch.empty(0, found.student.embedding_dim),
        (),
        uri=f"pyannote:{rest}",
        sample_rate=SAMPLE_RATE,
        views=None,
        licence=of_folder(path) if path.is_dir() else None,
    )
