from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses import Objective, ObjectiveConfig, aam, cosine, label_kd, mse, non_target_kd, target_kd
from distilvox.losses.config import KINDS, SCHEDULED, ramp
from distilvox.losses.ensemble import teacher_logits
from distilvox.losses.margin import cross_entropy
from distilvox.losses.objective import (
    EMBEDDING_PARTS,
    LABEL_PARTS,
    TRIAGE_PARTS,
    UTTERANCE_PARTS,
    principal_axes,
)
from distilvox.losses.triage import triage_kd
from distilvox.models.head import SpeakerHead, cosines, unit

B, C, D, E, U = 6, 4, 10, 7, 13
NAMES = ("ann", "bob", "cyd", "dan")
DISTILLING = [kd for kd in KINDS if kd != "none"]
SUMS = ["nskd+cosine", "trkd+mse", "kld+cosine+mse", "nskd+ukld"]


class Batch:
    """The same embeddings, labels and centres for every objective of a test."""

    def __init__(self, teacher_dim: int = E) -> None:
        self.student = torch.randn(B, D, requires_grad=True)
        self.labels = torch.arange(B) % C
        self.teacher = torch.randn(B, teacher_dim)
        self.centres = torch.randn(C, teacher_dim)
        self.head = SpeakerHead(NAMES, D)
        self.bank = torch.randn(U, teacher_dim)
        self.utterances = torch.arange(B) * 2

    def objective(self, teacher_sizes: tuple[int, ...] = (), **config: Any) -> Objective:
        torch.manual_seed(0)  # the same projection each time
        return Objective(
            ObjectiveConfig(**config), self.head, teacher_centres=self.centres, teacher_sizes=teacher_sizes,
            teacher_utterances=self.bank,
        )  # fmt: skip

    def run(self, objective: Objective, epoch: float = 9.0) -> tuple[Tensor, dict[str, Tensor]]:
        return objective(self.student, self.labels, self.teacher, self.utterances, epoch=epoch)


# ---- what the total is ----


def test_without_kd_the_total_is_the_cross_entropy_of_the_margin_logits() -> None:
    batch = Batch()
    objective = batch.objective(objective="none", margin=0.3, scale=20.0)
    total, parts = objective(batch.student, batch.labels, epoch=9.0)
    logits = aam(batch.head(batch.student), batch.labels, margin=0.3, scale=20.0)
    torch.testing.assert_close(total, cross_entropy(logits, batch.labels).mean())
    assert torch.equal(parts["ce"], total)
    assert parts["kd_weight"] == 0
    assert set(parts) == {"ce", "kd_weight", "accuracy"}


@pytest.mark.parametrize("kd", [*DISTILLING, *SUMS])
@pytest.mark.parametrize("centres", ["own", "teacher"])
def test_the_total_is_the_sum_of_its_logged_parts(kd: str, centres: str) -> None:
    batch = Batch()
    weights: dict[str, Any] = {"kd_weight": 0.7, "gamma": 2.0, "alpha": 0.3}
    weights |= {"embedding_weight": 5.0, "utterance_weight": 0.6}
    total, parts = batch.run(batch.objective(objective=kd, kd_centres=centres, **weights), epoch=0.25)
    named = [name for kind in kd.split("+") for name in KINDS[kind]]
    assert set(parts) == {"ce", *named, "kd_weight", "accuracy"}
    assert parts["kd_weight"].item() == pytest.approx(0.7 * 0.25)
    factors = {
        "nskd": 2.0,
        "confusion": 2.0,
        "tskd": 0.3,
        "masses": 0.3,
        "kld": 1.0,
        "cosine": 5.0,
        "mse": 5.0,
    }
    factors |= {"ukld": 0.6, "utskd": 0.6, "unskd": 0.6}
    distilled = sum(factors[name] * parts[name].item() for name in named)
    assert total.item() == pytest.approx(parts["ce"].item() + 0.7 * 0.25 * distilled, rel=1e-6)
    assert distilled > 0
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("kd", DISTILLING)
def test_the_total_is_continuous_as_the_weight_vanishes(kd: str) -> None:
    batch = Batch()
    plain, _ = batch.run(batch.objective(objective="none"))
    at_zero, _ = batch.run(batch.objective(objective=kd, kd_weight=0.0))
    assert torch.equal(at_zero, plain)
    before, _ = batch.run(batch.objective(objective=kd, margin_warmup_epochs=0.0), epoch=0.0)
    assert torch.equal(before, plain)
    gaps = [
        abs(batch.run(batch.objective(objective=kd, kd_weight=w))[0] - plain).item()
        for w in (1.0, 1e-1, 1e-2, 1e-3)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == pytest.approx(1e-3 * gaps[0], rel=0.05)


def test_parts_are_the_losses_of_the_logits_that_the_options_name() -> None:
    batch = Batch()
    head, labels = batch.head, batch.labels
    own, teachers = cosines(batch.student, head.weight), cosines(batch.teacher, batch.centres)
    for sees, (student_margin, teacher_margin) in {
        "none": (0.0, 0.0),
        "student": (0.4, 0.0),
        "both": (0.4, 0.4),
    }.items():
        for centres in ("own", "teacher"):
            settings: dict[str, Any] = {
                "kd_margin": sees,
                "kd_centres": centres,
                "margin": 0.4,
                "kd_scale": 8.0,
                "temperature": 2.0,
            }
            objective = batch.objective(objective="nskd", **settings)
            _, parts = batch.run(objective)
            _, whole = batch.run(batch.objective(objective="kld", **settings))
            z = own
            if objective.projection is not None:
                z = cosines(objective.projection(batch.student), batch.centres)
            z = aam(z, labels, margin=student_margin, scale=8.0)
            t = aam(teachers, labels, margin=teacher_margin, scale=8.0)
            for name, loss, got in (
                ("tskd", target_kd, parts),
                ("nskd", non_target_kd, parts),
                ("kld", label_kd, whole),
            ):
                torch.testing.assert_close(got[name], loss(z, t, labels, temperature=2.0).mean().detach())


@pytest.mark.parametrize("sizes", [(3, 4), (1, 2, 4)])
def test_several_teachers_probabilities_are_averaged(sizes: tuple[int, ...]) -> None:
    batch = Batch()
    settings: dict[str, Any] = {"kd_scale": 8.0, "kd_margin": "both", "margin": 0.4, "temperature": 2.0}
    objective = batch.objective(objective="nskd", teacher_sizes=sizes, **settings)
    assert objective.projection is not None
    p, start = torch.zeros(B, C, dtype=torch.float64), 0
    for size in sizes:
        part = slice(start, start + size)
        scores = cosines(batch.teacher.double()[:, part], batch.centres.double()[:, part])
        p += aam(scores, batch.labels, margin=0.4, scale=8.0).softmax(1) / len(sizes)
        start += size
    z = aam(
        cosines(objective.projection(batch.student), batch.centres), batch.labels, margin=0.4, scale=8.0
    ).detach()
    _, parts = batch.run(objective)
    for name, loss in (("tskd", target_kd), ("nskd", non_target_kd)):
        expected = loss(z.double(), p.log(), batch.labels, temperature=2.0).mean()
        assert parts[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_size_is_one_teacher_and_sizes_must_add_up() -> None:
    batch = Batch()
    plain, _ = batch.run(batch.objective(objective="kld"))
    assert torch.equal(batch.run(batch.objective(objective="kld", teacher_sizes=(E,)))[0], plain)
    assert not torch.equal(batch.run(batch.objective(objective="kld", teacher_sizes=(3, 4)))[0], plain)
    with pytest.raises(UserError, match=r"do not add up\n.*3 \+ 3 = 6\n.*D_t = 7"):
        batch.objective(objective="kld", teacher_sizes=(3, 3))


def test_concatenated_unit_vectors_have_the_mean_of_the_cosines_as_their_cosine() -> None:
    parts = [(torch.randn(B, size), torch.randn(C, size)) for size in (5, 3)]
    embeddings, centres = (torch.cat([unit(part[k]) for part in parts], 1) for k in (0, 1))
    expected = torch.stack([cosines(*part) for part in parts]).mean(0)
    labels = torch.arange(B) % C
    torch.testing.assert_close(teacher_logits(embeddings, centres, labels, scale=16.0), 16 * expected)


@pytest.mark.parametrize(("kd", "loss"), [("cosine", cosine), ("mse", mse)])
def test_embeddings_are_compared_directly_where_the_sizes_agree(kd: str, loss: Callable[..., Tensor]) -> None:
    same = Batch(teacher_dim=D)
    objective = same.objective(objective=kd)
    assert objective.projection is None
    torch.testing.assert_close(same.run(objective)[1][kd], loss(same.student, same.teacher).mean().detach())
    other = Batch()
    objective = other.objective(objective=kd)
    assert objective.projection is not None
    projected = objective.projection(other.student)
    torch.testing.assert_close(other.run(objective)[1][kd], loss(projected, other.teacher).mean().detach())


def test_accuracy_counts_nearest_centres_without_margin() -> None:
    batch = Batch()
    directions = batch.head.weight.detach()[
        torch.tensor([0, 1, 2, 3, 0, 0])
    ]  # the last of labels 0 1 2 3 0 1
    objective = batch.objective(objective="none", margin=1.5, margin_warmup_epochs=0.0)
    _, parts = objective(2 * directions, batch.labels, epoch=0.0)
    assert parts["accuracy"].item() == pytest.approx(5 / 6)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it() -> None:
    batch = Batch(teacher_dim=D)
    batch.teacher, batch.centres = batch.student.detach().clone(), batch.head.weight.detach().clone()
    for kd in DISTILLING:
        if set(KINDS[kd]) <= set(UTTERANCE_PARTS):
            continue  # always through a projection
        _, parts = batch.run(batch.objective(objective=kd, kd_centres="own"))
        assert max(abs(parts[name].item()) for name in KINDS[kd]) < 1e-6


# ---- schedules ----


def test_ramp_rises_linearly_and_stays() -> None:
    assert [ramp(e, 2) for e in (-1, 0, 0.5, 1, 2, 100)] == [0, 0, 0.25, 0.5, 1, 1]
    assert [ramp(e, 0) for e in (0, 3)] == [1, 1]


def test_margin_and_weight_warm_up_each_over_its_own_epochs() -> None:
    batch = Batch()
    objective = batch.objective(
        objective="kld", kd_weight=2.0, kd_warmup_epochs=4.0, margin=0.4, margin_warmup_epochs=2.0
    )
    for epoch, weight, margin in ((0, 0.0, 0.0), (1, 0.5, 0.2), (2.0, 1.0, 0.4), (50, 2.0, 0.4)):
        _, parts = batch.run(objective, epoch)
        logits = aam(batch.head(batch.student), batch.labels, margin=margin, scale=32.0)
        torch.testing.assert_close(parts["ce"], cross_entropy(logits, batch.labels).mean().detach())
        assert parts["kd_weight"].item() == pytest.approx(weight)


def test_whatever_is_scheduled_moves_and_is_logged() -> None:
    batch = Batch()
    moving = batch.objective(objective="nskd", schedule=("gamma=1:3@10", "alpha=1:0@4"), kd_warmup_epochs=0.0)
    for epoch, gamma, alpha in ((0, 1.0, 1.0), (2.5, 1.5, 0.375), (10, 3.0, 0.0), (99, 3.0, 0.0)):
        total, parts = batch.run(moving, epoch)
        still = batch.objective(objective="nskd", gamma=gamma, alpha=alpha, kd_warmup_epochs=0.0)
        torch.testing.assert_close(total, batch.run(still, epoch)[0])
        assert (parts["gamma"].item(), parts["alpha"].item()) == pytest.approx((gamma, alpha))
    for name in SCHEDULED:
        assert getattr(ObjectiveConfig(schedule=(f"{name}=0.5:0.25@8",)).at(4), name) == pytest.approx(0.375)


def test_a_schedule_acts_under_the_warm_up() -> None:
    config = ObjectiveConfig(schedule=("kd_weight=4:0@10",), kd_warmup_epochs=2.0)
    assert [config.at(epoch).kd_weight for epoch in (0, 1, 5, 10)] == pytest.approx([0.0, 1.8, 2.0, 0.0])


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        (("gamma",), "field=start:end@epochs"),
        (("scale=1:2@3",), "unknown scheduled field"),
        (("gamma=1:2@3", "gamma=1:2@4"), "given twice"),
        (("gamma=1@3",), "cannot be read"),
        (("gamma=1:-1@3",), "gamma is out of range"),
        (("cutoff=0:0.5@3",), "cutoff is out of range"),
    ],
)
def test_a_wrong_schedule_is_refused_at_the_door(schedule: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        ObjectiveConfig(schedule=schedule)


def test_triage_is_that_of_the_written_out_logits() -> None:
    batch = Batch()
    objective = batch.objective(objective="trkd", cutoff=0.6, kd_scale=8.0, temperature=2.0)
    _, parts = batch.run(objective)
    assert objective.projection is not None
    z = 8 * cosines(objective.projection(batch.student), batch.centres)
    expected = triage_kd(
        z, 8 * cosines(batch.teacher, batch.centres), batch.labels, cutoff=0.6, temperature=2.0
    )
    for name, loss in zip(TRIAGE_PARTS, expected, strict=True):
        torch.testing.assert_close(parts[name], loss.mean().detach())


def test_over_utterances_every_utterance_is_a_class_of_its_own() -> None:
    batch = Batch()
    for kind, losses in {"ukld": (label_kd,), "unskd": (target_kd, non_target_kd)}.items():
        objective = batch.objective(objective=kind, kd_scale=8.0, temperature=2.0)
        _, parts = batch.run(objective)
        assert objective.projection is not None
        z, t = (8 * cosines(e, batch.bank) for e in (objective.projection(batch.student), batch.teacher))
        for name, loss in zip(KINDS[kind], losses, strict=True):
            expected = loss(z, t, batch.utterances, temperature=2.0).mean().detach()
            torch.testing.assert_close(parts[name], expected)
    objective = batch.objective(objective="ukld")
    with pytest.raises(UserError, match="which utterances this batch is"):
        objective(batch.student, batch.labels, batch.teacher, epoch=9.0)


def test_principal_axes_keep_the_cosines_of_what_lies_in_them() -> None:
    batch = Batch(teacher_dim=D + 3)
    objective = batch.objective(objective="nskd", kd_projection="pca")
    assert objective.projection is not None
    axes = objective.projection.weight
    torch.testing.assert_close(axes.T @ axes, torch.eye(D))
    inside = objective.projection(batch.student)
    torch.testing.assert_close(cosines(inside, inside), cosines(batch.student, batch.student))
    assert not axes.requires_grad
    flat = torch.randn(50, D) @ torch.randn(D, 20)  # all that these centres are lies in D dimensions
    axes = principal_axes(flat, D)
    torch.testing.assert_close(flat @ axes @ axes.T, flat, rtol=1e-3, atol=1e-3)
    assert principal_axes(torch.randn(2, 9), 5).shape == (9, 5)


def test_principal_axes_need_a_teacher_that_is_not_smaller() -> None:
    with pytest.raises(UserError, match="not longer"):
        Batch(teacher_dim=D - 1).objective(objective="nskd", kd_projection="pca")


# ---- what it owns and what it trains ----


@pytest.mark.parametrize("kd", KINDS)
def test_it_owns_a_projection_only_where_one_is_needed(kd: str) -> None:
    for teacher_dim in (D, E):
        for centres in ("own", "teacher"):
            objective = Batch(teacher_dim).objective(objective=kd, kd_centres=centres)
            by_label = kd in ("ukld", "unskd") or (kd in ("kld", "nskd", "trkd") and centres == "teacher")
            needed = by_label or (kd in ("cosine", "mse") and teacher_dim != D)
            expected = {"head.weight"} | ({"projection.weight"} if needed else set())
            assert set(objective.state_dict()) == expected  # the teacher's centres are never saved
            assert {name for name, _ in objective.named_parameters()} == expected


@pytest.mark.parametrize("kd", DISTILLING)
@pytest.mark.parametrize("centres", ["own", "teacher"])
def test_every_parameter_learns_and_the_teacher_never_does(kd: str, centres: str) -> None:
    batch = Batch()
    batch.teacher.requires_grad_()
    batch.centres.requires_grad_()
    objective = batch.objective(objective=kd, kd_centres=centres)
    total, _ = batch.run(objective, epoch=0.0)
    total.backward()  # a weight of 0 leaves no parameter without a gradient: DDP counts on it
    assert all(parameter.grad is not None for parameter in objective.parameters())
    total, _ = batch.run(objective)
    total.backward()
    grads = [batch.student.grad, *(parameter.grad for parameter in objective.parameters())]
    assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in grads)
    assert batch.teacher.grad is None
    assert batch.centres.grad is None


@pytest.mark.parametrize("kd", KINDS)
@pytest.mark.parametrize("centres", ["own", "teacher"])
def test_autocast_changes_nothing(kd: str, centres: str) -> None:
    batch = Batch()
    objective = batch.objective(objective=kd, kd_centres=centres)
    expected, _ = batch.run(objective)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = batch.run(objective)
    assert torch.equal(total, expected)
    assert all(part.dtype == torch.float32 and part.shape == () for part in parts.values())
    batch.student, batch.teacher = (
        batch.student.detach().bfloat16().requires_grad_(),
        batch.teacher.bfloat16(),
    )
    total, _ = batch.run(objective)
    assert total.dtype == torch.float32
    assert torch.autograd.grad(total, batch.student)[0].isfinite().all()


# ---- the door ----


def test_every_kind_has_its_parts_in_the_tables() -> None:
    named = {name for names in KINDS.values() for name in names}
    assert named == {*EMBEDDING_PARTS, *LABEL_PARTS, *TRIAGE_PARTS, *UTTERANCE_PARTS}


def test_a_sum_of_kinds_is_one_of_different_known_ones() -> None:
    assert ObjectiveConfig("nskd+cosine").parts == ("tskd", "nskd", "cosine")
    for wrong, complaint in (
        ("nskd+nskd", "not a sum of different kinds"),
        ("none+nskd", "not a sum of different kinds"),
        ("nskd+", "unknown objective"),
        ("nskd + cosine", "unknown objective"),
    ):
        with pytest.raises(UserError, match=complaint):
            ObjectiveConfig(wrong)


def test_config_survives_a_round_trip_and_cannot_be_changed() -> None:
    config = ObjectiveConfig(objective="kld", temperature=4.0)
    assert ObjectiveConfig(**asdict(config)) == config
    for field in asdict(config):
        with pytest.raises(FrozenInstanceError):
            setattr(config, field, None)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "objective",
            "nksd",
            r"unknown objective\n.*\n.*cosine, kld, mse, none, nskd, trkd, ukld, unskd\n.*did you mean 'nskd'",
        ),
        ("kd_margin", "teacher", r"unknown kd_margin\n.*'teacher'\n.*both, none, student"),
        ("kd_centres", "teachers", r"unknown kd_centres\n.*\n.*\n.*did you mean 'teacher'"),
        ("kd_weight", -1.0, r"kd_weight is out of range\n.*-1.0\n.*0 <= kd_weight"),
        ("kd_weight", math.nan, "kd_weight is out of range"),
        ("kd_warmup_epochs", -0.5, "kd_warmup_epochs is out of range"),
        ("margin_warmup_epochs", math.inf, "margin_warmup_epochs is out of range"),
        ("gamma", -2.0, "gamma is out of range"),
        ("temperature", 0.0, r"temperature is out of range\n.*0.0\n.*0 < temperature"),
        ("scale", 0.0, "scale is out of range"),
        ("kd_scale", -16.0, "kd_scale is out of range"),
        ("margin", 1.6, r"margin is out of range\n.*1.6\n.*0 <= margin < 1.571"),
    ],
)
def test_a_bad_setting_is_refused(field: str, value: object, message: str) -> None:
    door: Callable[..., None] = inspect.unwrap(ObjectiveConfig.__init__)  # not the tests' own checks
    with pytest.raises(UserError, match=message):
        door(object.__new__(ObjectiveConfig), **{field: value})


def test_a_teacher_that_is_missing_or_does_not_fit_is_refused() -> None:
    batch = Batch()
    for kd in ("kld", "nskd"):
        with pytest.raises(UserError, match=rf"'{kd}' needs the teacher's class centres"):
            Objective(ObjectiveConfig(objective=kd), batch.head, teacher_centres=None)
    with pytest.raises(UserError, match=r"not those of the head's speakers\n.*5 rows\n.*4 rows"):
        Objective(ObjectiveConfig(), batch.head, teacher_centres=torch.zeros(5, E))
    with pytest.raises(UserError, match="needs the teacher's embeddings"):
        batch.objective(objective="cosine")(batch.student, batch.labels, epoch=1.0)
    objective = Objective(ObjectiveConfig(objective="cosine"), batch.head, teacher_centres=None)
    with pytest.raises(UserError, match=r"do not have the size .*\n.*D_t = 7\n.*D_t = 10"):
        objective(batch.student, batch.labels, batch.teacher, epoch=1.0)


def test_an_empty_batch_is_refused() -> None:
    batch = Batch()
    empty = torch.zeros(0, D), torch.zeros(0, dtype=torch.long), torch.zeros(0, E)
    with pytest.raises(UserError, match="at least one utterance"):
        inspect.unwrap(Objective.forward)(batch.objective(), *empty, epoch=1.0)
