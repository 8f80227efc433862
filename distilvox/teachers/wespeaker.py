"""`wespeaker:FOLDER` or `wespeaker:OWNER/NAME`: config.yaml and avg_model.pt, as WeSpeaker leaves them.

A configuration that WeSpeaker trained with has `fbank_args`, and says thereby that the features are WeSpeaker's. The
folders that it packages from elsewhere do not: `campplus_cn_common_200k` and `eres2net_cn_common_200k` are
3D-Speaker's networks, 192 and 512 dimensions, no classifier, and take a Povey window in ±1 (its command line
sets both for them, and for them alone). There the URI has to say it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distilvox.errors import UserError, require
from distilvox.models import Student
from distilvox.models.frontend import PRESETS, FrontEnd
from distilvox.models.wespeaker import (
    CONFIG,
    NAMES,
    REMEDY,
    WEIGHTS,
    WeSpeaker,
    read_config,
    read_wespeaker,
)
from distilvox.models.wespeaker_known import REDIMNET2, table
from distilvox.sound import SAMPLE_RATE
from distilvox.teachers.base import Teacher
from distilvox.teachers.features import FIND_OUT, choices, said
from distilvox.teachers.hub import folder_of
from distilvox.teachers.licence import of_folder
from distilvox.teachers.redimnet2_wespeaker import load_folder
from distilvox.teachers.run import RunTeacher

FILES = ((CONFIG,), WEIGHTS, NAMES)
ELSEWHERE = {"CAMPPlus": (192,), "ERes2Net34_Base": (192, 512), "ERes2Net34_Large": (192, 512)}
"""3D-Speaker's networks → the dimensions of its published embeddings."""


def fixed_features(folder: Path, found: WeSpeaker) -> FrontEnd | None:
    """WeSpeaker's features where the folder says that WeSpeaker trained on them; else None."""
    data = table(read_config(folder / CONFIG), "dataset_args")
    packaged = (
        found.student.embedding_dim in ELSEWHERE.get(found.model, ())
        and not len(found.head)
        and "window_type" not in table(data, "fbank_args")
    )
    return PRESETS["wespeaker"] if table(data, "fbank_args") and not packaged else None


def unsaid(found: WeSpeaker, rest: str) -> UserError:
    """The error for a folder that says nothing of its features."""
    return UserError(
        f"nothing says with which features the {found.model} in {rest} was trained",
        got=f"a {CONFIG} without fbank_args, or a network of 3D-Speaker's: {found.student.embedding_dim} numbers, "
        "no classifier",
        allowed=f"as a teacher, {choices('wespeaker', rest)}",
        remedy=f"campplus_cn_common_200k and eres2net_cn_common_200k are 3dspeaker; {FIND_OUT}",
    )


def load(
    rest: str, *, frontend: str = "", window: str = "", revision: str = "", offline: str = ""
) -> Teacher:
    """Loads `wespeaker:FOLDER`, or a repository of that layout. Nothing in it is executed.

    The id is that of `run:RUN` after `distilvox import wespeaker FOLDER RUN`: they are one network.

    Errors:
        UserError if the folder or a file is missing or damaged, wants to run code, or does not fit; if neither
        the folder nor the URI says which features it takes.
    """
    require(rest != "", "a wespeaker teacher needs its folder", got="wespeaker:", remedy=REMEDY)
    folder = folder_of(rest, scheme="wespeaker", files=FILES, revision=revision, offline=offline)
    config = read_config(folder / CONFIG)
    if config["model"].startswith(REDIMNET2):
        given = [f"{key}={value}" for key, value in (("frontend", frontend), ("window", window)) if value]
        require(
            not given, "a ReDimNet2 has its own features: the URI cannot say others", got=", ".join(given)
        )
        return load_folder(folder, config, uri=f"wespeaker:{rest}", licence=of_folder(folder))
    found = read_wespeaker(folder)
    front = said({"frontend": frontend, "window": window}, fixed_features(folder, found))
    if front is None:
        raise unsaid(found, rest)
    heard = replace(front, mels=found.student.config.mels)
    return RunTeacher(
        Student(found.student.name, found.student.backbone, heard).eval(),
        found.head,
        found.names,
        uri=f"wespeaker:{rest}",
        sample_rate=SAMPLE_RATE,
        views=None,
        licence=of_folder(folder),
    )
