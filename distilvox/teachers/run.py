"""`run:FOLDER`: a model trained by distilvox teaches the next one."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from distilvox.errors import require
from distilvox.models import Student
from distilvox.models.frontend import FrontEnd
from distilvox.models.runfolder import load_student
from distilvox.teachers.base import Teacher, TeacherHead, weights_id
from distilvox.views.draws import ViewConfig


class RunTeacher(Teacher):
    """A trained student as a teacher, with its class centres and their speakers' names, where it has them."""

    def __init__(
        self,
        student: Student,
        weight: Float[Tensor, "C D"],
        names: tuple[str, ...],
        *,
        uri: str,
        sample_rate: int,
        views: ViewConfig | None,
        licence: str | None = None,
    ) -> None:
        super().__init__(
            uri=uri,
            id=weights_id(
                student.state_dict(), recipe=f"run {student.name} {student.config} {student.frontend.config}"
            ),
            sample_rate=sample_rate,
            embedding_dim=student.embedding_dim,
            views=views,
            frontend=student.frontend.config,
            licence=licence,
        )
        self.student = student
        self.register_buffer("centres", weight)
        self.names = names

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        return self.student(waves)

    def head(self) -> TeacherHead | None:
        return TeacherHead(self.get_buffer("centres"), self.names) if self.names else None

    def under(self, frontend: FrontEnd) -> Teacher:
        heard = Student(self.student.name, self.student.backbone, frontend).eval()
        return RunTeacher(
            heard,
            self.get_buffer("centres"),
            self.names,
            uri=self.uri,
            sample_rate=self.sample_rate,
            views=self.views,
            licence=self.licence,
        )

    def unnamed_head(self) -> Float[Tensor, "C D"] | None:
        centres = self.get_buffer("centres")
        return centres if len(centres) and not self.names else None


def load(rest: str) -> Teacher:
    """Loads `run:FOLDER`.

    Errors:
        UserError if the folder is no run folder, is damaged, or its tensors do not fit.
    """
    require(rest != "", "a run teacher needs its folder", got="run:", allowed="run:FOLDER")
    student, config, weight, names = load_student(Path(rest), torch.device("cpu"))
    views = ViewConfig.from_json(config["views"]) if config.get("views") else None
    return RunTeacher(student, weight, names, uri=f"run:{rest}", sample_rate=16_000, views=views)
