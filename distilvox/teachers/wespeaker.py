"""`wespeaker:FOLDER` or `wespeaker:OWNER/NAME`: config.yaml and avg_model.pt, as WeSpeaker leaves them."""

from __future__ import annotations

from distilvox.audio import SAMPLE_RATE
from distilvox.errors import require
from distilvox.models.wespeaker import CONFIG, NAMES, REMEDY, WEIGHTS, read_wespeaker
from distilvox.teachers.base import Teacher
from distilvox.teachers.hub import folder_of
from distilvox.teachers.run import RunTeacher

FILES = ((CONFIG,), WEIGHTS, NAMES)


def load(rest: str, *, revision: str = "", offline: str = "") -> Teacher:
    """Loads `wespeaker:FOLDER`, or a repository of that layout. Nothing in it is executed.

    The id is that of `run:RUN` after `distilvox import wespeaker FOLDER RUN`: they are one network.

    Errors:
        UserError if the folder or a file is missing or damaged, wants to run code, or does not fit.
    """
    require(rest != "", "a wespeaker teacher needs its folder", got="wespeaker:", remedy=REMEDY)
    found = read_wespeaker(
        folder_of(rest, scheme="wespeaker", files=FILES, revision=revision, offline=offline)
    )
    return RunTeacher(
        found.student, found.head, found.names, uri=f"wespeaker:{rest}", sample_rate=SAMPLE_RATE, views=None
    )
