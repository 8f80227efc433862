"""Speakers of the trials that the student, its teacher or what it starts from have seen: their EER would flatter."""

from __future__ import annotations

from collections.abc import Sequence

from distilvox.evaluation.judge import Judge
from distilvox.teachers.base import Teacher
from distilvox.teachers.ensemble import members_of
from distilvox.train.start import Init


def refuse_seen(
    judge: Judge | None, speakers: Sequence[str], teacher: Teacher | None, init: Init | None
) -> None:
    """Raises a UserError if a speaker of the trials was trained on, by any of them, as far as they know by name."""
    if judge is None:
        return
    judge.refuse_training_speakers(set(speakers))
    if init is not None:
        judge.refuse_training_speakers(set(init.run.names), f"among those that {init.uri} was trained on")
    if teacher is not None:
        refuse_taught(judge, teacher)


def refuse_taught(judge: Judge, teacher: Teacher) -> None:
    """The same for a teacher alone, or for each of an ensemble."""
    for member in members_of(teacher):
        judge.refuse_training_speakers(
            member.training_speakers, f"among those that {member.uri} was trained on"
        )
