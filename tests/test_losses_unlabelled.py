"""Utterances without a speaker in the objective: they give the parts that need none; recordings are not contrasted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses.config import KINDS, ObjectiveConfig
from distilvox.losses.kd import non_target_kd, target_kd
from distilvox.losses.objective import EMBEDDING_PARTS, UTTERANCE_PARTS, Objective
from distilvox.losses.streaming import streaming_kd
from distilvox.losses.unlabelled import UNKNOWN, NoSpeakers, check_recordings
from distilvox.models.head import SpeakerHead, cosines

B, D, E, C, U = 6, 5, 7, 4, 20
FREE = ("cosine", "mse", "ukld", "unskd", "ukld+cosine")
OVER_SPEAKERS = ("kld", "nskd", "trkd", "nskd+cosine")


def an_objective(kind: str, head: SpeakerHead, recordings: Tensor | None = None, **more: Any) -> Objective:
    torch.manual_seed(3)
    return Objective(
        ObjectiveConfig(kind, **more), head, teacher_centres=torch.randn(C, E)[: len(head.names)],
        teacher_utterances=torch.randn(U, E), recordings=recordings,
    )  # fmt: skip


def run(
    objective: Objective, labels: Tensor, rows: slice = slice(None)
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(5)
    student, teacher = torch.randn(B, D, generator=generator), torch.randn(B, E, generator=generator)
    student = student[rows].requires_grad_()
    total, parts = objective(student, labels[rows], teacher[rows], (torch.arange(B) * 3)[rows], epoch=9.0)
    return total, parts, torch.autograd.grad(total, student)[0]


@pytest.mark.parametrize("kind", FREE)
def test_without_speakers_the_total_is_kd_alone(kind: str) -> None:
    free = an_objective(kind, NoSpeakers(D), kd_weight=3.0)
    labels = torch.full((B,), UNKNOWN)
    total, parts, _ = run(free, labels)
    kd = [part for one in kind.split("+") for part in KINDS[one]]
    assert set(parts) == {*kd, "kd_weight"}
    torch.testing.assert_close(total.detach(), 3.0 * sum((parts[name] for name in kd), torch.tensor(0.0)))
    with_speakers = an_objective(kind, SpeakerHead("abcd", D), kd_weight=3.0)
    _, known, _ = run(with_speakers, torch.arange(B) % C)
    for name in kd:
        torch.testing.assert_close(parts[name], known[name])


@pytest.mark.parametrize("kind", [*FREE, *OVER_SPEAKERS, "none"])
def test_in_a_mixed_batch_each_utterance_gives_what_it_can(kind: str) -> None:
    objective = an_objective(kind, SpeakerHead("abcd", D))
    labels = torch.tensor([0, 3, 1, UNKNOWN, UNKNOWN, UNKNOWN])
    total, parts, slope = run(objective, labels)
    known_total, known, known_slope = run(objective, labels, slice(0, 3))
    loose_total, loose, loose_slope = run(objective, labels, slice(3, 6))
    torch.testing.assert_close(total, (known_total + loose_total) / 2)  # the mean over the whole batch
    torch.testing.assert_close(slope, torch.cat([known_slope, loose_slope]) / 2)
    for name in (*(part for one in kind.split("+") for part in KINDS[one]), "ce", "accuracy"):
        free = name in EMBEDDING_PARTS or name in UTTERANCE_PARTS
        assert (loose[name] == 0) == (not free), name
        torch.testing.assert_close(parts[name], (known[name] + loose[name]) / 2)
    if kind in ("none", "kld", "nskd", "trkd"):
        assert not loose_slope.any()


@pytest.mark.parametrize("kind", ["none", *OVER_SPEAKERS])
def test_what_needs_speakers_is_refused_without_any(kind: str) -> None:
    with pytest.raises(UserError, match="needs speakers, and no utterance has one"):
        an_objective(kind, NoSpeakers(D))


def test_principal_axes_need_speakers() -> None:
    with pytest.raises(UserError, match="kd_projection=pca needs the teacher's class centres"):
        an_objective("ukld", NoSpeakers(D), kd_projection="pca")


@pytest.mark.parametrize("block", [1, 3, None])
@pytest.mark.parametrize("scale", [9.0, 90.0])  # with and without a reference
def test_cuts_of_one_recording_are_left_out_as_if_they_were_not_there(
    block: int | None, scale: float
) -> None:
    groups = torch.tensor([0, 0, -1, 1, 1, 1, -1, 2, 0, -1])
    student = torch.randn(4, E, dtype=torch.float64, requires_grad=True)
    teacher, centres = torch.randn(4, E, dtype=torch.float64), torch.randn(10, E, dtype=torch.float64)
    labels = torch.tensor([0, 4, 2, 7])
    found = streaming_kd(
        student, teacher, centres, labels, groups=groups, kd_scale=scale, temperature=2.0, block=block
    )
    for k, label in enumerate(labels.tolist()):
        left = [c for c in range(10) if c == label or groups[c] < 0 or groups[c] != groups[label]]
        z, t = (scale * cosines(e[k : k + 1], centres[left]) for e in (student, teacher))
        place = torch.tensor([left.index(label)])
        for name, loss in (("tskd", target_kd), ("nskd", non_target_kd)):
            wanted = loss(z, t, place, temperature=2.0)
            torch.testing.assert_close(found[name][k : k + 1], wanted)
            slopes = [
                torch.autograd.grad(value.sum(), student, retain_graph=True)[0][k]
                for value in (found[name][k], wanted)
            ]
            torch.testing.assert_close(*slopes)


def test_the_kernels_know_no_groups() -> None:
    given = torch.randn(2, E), torch.randn(2, E), torch.randn(5, E), torch.tensor([0, 1])
    with pytest.raises(UserError, match="the Triton kernels know no groups"):
        streaming_kd(*given, groups=torch.zeros(5, dtype=torch.int64), backend="triton")


@pytest.mark.parametrize(
    ("recordings", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "each training utterance needs its recording"),
        (torch.zeros(U, dtype=torch.int64), "all training utterances are of one recording"),
    ],
)
def test_recordings_that_leave_nothing_to_contrast_are_refused(recordings: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_recordings(recordings, U)
