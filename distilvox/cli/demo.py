"""demo: the journey from synthetic voices to a report."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distilvox.console import err
from distilvox.demo import Size
from distilvox.demo import demo as run_demo
from distilvox.locks import alone


def demo(
    out: Annotated[Positional[Path], arg(metavar="OUT")] = Path("demo"),
    /,
    *,
    device: str = "auto",
    seed: int = 0,
    speakers: int = Size.speakers,
    unseen_speakers: int = Size.unseen_speakers,
    utterances: int = Size.utterances,
    teacher_epochs: int = Size.teacher_epochs,
    student_epochs: int = Size.student_epochs,
    jobs: int = Size.jobs,
) -> None:
    """The whole journey in minutes, with no download: synthetic voices, a teacher, students distilled from it
    with each objective, judged on unseen speakers, exported, and shown on one HTML page, which opens at the end.

    Examples:
        distilvox demo
        distilvox demo small/ --speakers 40 --unseen-speakers 20 --student-epochs 3

    Args:
        out: the folder to work in; what an earlier demo finished there is kept.
        device: auto, cpu, cuda, cuda:N.
        seed: of the voices and of training.
        speakers: voices to learn from.
        unseen_speakers: other voices, to be judged on.
        utterances: sentences of each voice.
        teacher_epochs: passes of the teacher over the corpus.
        student_epochs: passes of each student.
        jobs: students trained at a time.
    """
    size = Size(speakers, unseen_speakers, utterances, teacher_epochs, student_epochs, jobs)
    with alone(out, inside=True):
        page = run_demo(out, size=size, device=device, seed=seed)
    if err.is_terminal:
        webbrowser.open(page.resolve().as_uri())
