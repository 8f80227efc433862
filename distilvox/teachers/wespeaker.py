"""`wespeaker:FOLDER`: a model folder of WeSpeaker (config.yaml, avg_model.pt or model.pt) as a teacher."""

from __future__ import annotations

from pathlib import Path

from distilvox.audio import SAMPLE_RATE
from distilvox.errors import require
from distilvox.models.wespeaker import REMEDY, read_wespeaker
from distilvox.teachers.base import Teacher
from distilvox.teachers.run import RunTeacher


def load(rest: str) -> Teacher:
    """Loads `wespeaker:FOLDER`. Nothing in the folder is executed.

    The id is that of `run:RUN` after `distilvox import wespeaker FOLDER RUN`: they are one network.

    Errors:
        UserError if the folder or a file is missing or damaged, wants to run code, or does not fit.
    """
    require(rest != "", "a wespeaker teacher needs its folder", got="wespeaker:", remedy=REMEDY)
    found = read_wespeaker(Path(rest))
    return RunTeacher(
        found.student, found.head, found.names, uri=f"wespeaker:{rest}", sample_rate=SAMPLE_RATE, views=None
    )
