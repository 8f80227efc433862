from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses.kd import label_kd, non_target_kd, target_kd
from distilvox.losses.triage import confusion_set, triage_kd
from tests.reference.triage import slow_confusion_set, slow_triage_kd
from tests.test_losses_kd import a_batch, gradient

float64 = torch.float64


def mass_kd(*logits: Tensor, **settings: Any) -> Tensor:
    return triage_kd(*logits, **settings)[0]


def confusion_kd(*logits: Tensor, **settings: Any) -> Tensor:
    return triage_kd(*logits, **settings)[1]


LOSSES = {"mass": mass_kd, "confusion": confusion_kd}
each_loss = pytest.mark.parametrize("name", LOSSES)
each_cutoff = pytest.mark.parametrize("cutoff", [0.05, 0.5, 0.9, 0.999, 1])


def masked(logits: Tensor, group: Tensor) -> Tensor:
    return logits.masked_fill(~group, -math.inf)


# ---- the reference, and kd.py ----


@each_cutoff
@pytest.mark.parametrize(("batch", "classes"), [(9, 41), (4, 3), (2, 2)])
@pytest.mark.parametrize("temperature", [1, 4.0])
def test_the_slow_reference_says_the_same(
    batch: int, classes: int, temperature: float, cutoff: float
) -> None:
    student, teacher, labels = a_batch(batch, classes)
    ours = triage_kd(student, teacher, labels, cutoff=cutoff, temperature=temperature)
    rows = zip(student.detach().numpy(), teacher.numpy(), labels.tolist(), strict=True)
    truth = [slow_triage_kd(*row, cutoff=cutoff, temperature=temperature) for row in rows]
    for found, name in zip(ours, LOSSES, strict=True):
        assert found.tolist() == pytest.approx([row[name] for row in truth], rel=1e-9, abs=1e-13)
        alone = LOSSES[name](student, teacher, labels, cutoff=cutoff, temperature=temperature)
        assert torch.equal(alone, found)


@each_cutoff
def test_label_kd_is_the_two_parts_and_what_they_leave_out(cutoff: float) -> None:
    """By the losses of kd.py alone: the background's conditional is non_target_kd with all else removed."""
    student, teacher, labels = a_batch(8, 30, scale=6.0)
    mass, confusion = triage_kd(student, teacher, labels, cutoff=cutoff, temperature=2.0)
    confused = confusion_set(teacher / 2, labels, cutoff=cutoff)
    target = torch.nn.functional.one_hot(labels, 30).bool()
    background = ~confused & ~target
    p = (teacher / 2).softmax(1)
    left_out = torch.zeros(8, dtype=float64)
    some = background.any(1)
    if cutoff < 0.99:
        assert some.all()
    left_out[some] = non_target_kd(
        masked(student, background)[some], masked(teacher, background)[some], labels[some], temperature=2.0
    )
    whole = mass + (p * confused).sum(1) * confusion + (p * background).sum(1) * left_out
    torch.testing.assert_close(
        whole, label_kd(student, teacher, labels, temperature=2.0), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, float64])
def test_at_cutoff_1_it_is_decoupled_kd(dtype: torch.dtype) -> None:
    """Values and gradients, also where probabilities round to 0 and 1."""
    for scale in (1.0, 16.0, 150.0):
        student, teacher, labels = a_batch(6, 23, scale=scale, dtype=dtype)
        for ours, theirs in ((mass_kd, target_kd), (confusion_kd, non_target_kd)):
            loss = ours(student, teacher, labels, cutoff=1, temperature=1.5)
            expected = theirs(student, teacher, labels, temperature=1.5)
            assert torch.equal(loss, expected)
            torch.testing.assert_close(gradient(loss, student), gradient(expected, student))


def test_a_cutoff_just_below_1_is_nearly_decoupled_kd() -> None:
    student, teacher, labels = a_batch(6, 23, scale=4.0)
    for ours, theirs in ((mass_kd, target_kd), (confusion_kd, non_target_kd)):
        near = ours(student, teacher, labels, cutoff=1 - 1e-12)
        torch.testing.assert_close(near, theirs(student, teacher, labels), rtol=1e-9, atol=1e-9)


# ---- the confusion set ----


@each_cutoff
def test_the_set_is_the_smallest_that_holds_the_cutoff(cutoff: float) -> None:
    _, teacher, labels = a_batch(20, 50, scale=5.0)
    confused = confusion_set(teacher, labels, cutoff=cutoff)
    p = teacher.softmax(1)
    for row, found in enumerate(confused):
        chosen = found.nonzero().flatten().tolist()
        assert chosen == slow_confusion_set(p[row].numpy(), int(labels[row]), cutoff)
        assert int(labels[row]) not in chosen
        others = 1 - p[row, labels[row]]
        masses = sorted(p[row, chosen].tolist())
        if cutoff < 1:
            assert sum(masses) >= cutoff * others
            assert sum(masses[1:]) < cutoff * others


def test_the_set_knows_a_case_by_hand() -> None:
    """Non-targets of 0.4, 0.3, 0.2 and 0.1: the target's own probability, however large, changes nothing."""
    p = torch.tensor([[0.1, 0.4, 5.0, 0.3, 0.2]], dtype=float64)
    for boost in (1.0, 1e6):
        logits = (p * torch.tensor([[1.0, 1.0, boost, 1.0, 1.0]])).log()
        for cutoff, expected in (
            (1e-9, [1]),
            (0.39, [1]),
            (0.41, [1, 3]),
            (0.69, [1, 3]),
            (0.71, [1, 3, 4]),
            (0.91, [0, 1, 3, 4]),
            (1, [0, 1, 3, 4]),
        ):
            found = confusion_set(logits, torch.tensor([2]), cutoff=cutoff)
            assert found[0].nonzero().flatten().tolist() == expected, cutoff


def test_speakers_equally_probable_enter_together() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, 0.0]])
    found = confusion_set(logits, torch.tensor([1]), cutoff=0.5)
    assert found.tolist() == [[False, False, True, True, True, False]]
    flat = confusion_set(torch.zeros(1, 5), torch.tensor([0]), cutoff=0.1)
    assert flat.tolist() == [[False, True, True, True, True]]


def test_a_falling_cutoff_only_takes_away() -> None:
    _, teacher, labels = a_batch(10, 40, scale=5.0)
    sets = [confusion_set(teacher, labels, cutoff=c) for c in (1, 0.99, 0.7, 0.3, 0.01)]
    for larger, smaller in pairwise(sets):
        assert (larger | ~smaller).all()
        assert larger.sum() > smaller.sum()
    assert (sets[-1].sum(1) >= 1).all()


# ---- laws ----


@each_loss
@each_cutoff
def test_gradcheck(name: str, cutoff: float) -> None:
    student, teacher, labels = a_batch(3, 6, scale=3.0)
    assert torch.autograd.gradcheck(
        lambda z: LOSSES[name](z, teacher, labels, cutoff=cutoff, temperature=1.5), student
    )


@each_loss
@each_cutoff
def test_order_of_speakers_and_a_constant_on_a_row_change_nothing(name: str, cutoff: float) -> None:
    student, teacher, labels = a_batch(6, 12)
    teacher[:, 4] = teacher[:, 7]  # equally probable, differently so for the student
    loss = LOSSES[name]
    before = loss(student, teacher, labels, cutoff=cutoff)
    order = torch.randperm(12)
    permuted = loss(student[:, order], teacher[:, order], order.argsort()[labels], cutoff=cutoff)
    torch.testing.assert_close(permuted, before, rtol=1e-11, atol=1e-13)
    shift = torch.randn(6, 1, dtype=float64)
    moved = loss(student + 9 * shift, teacher - 5 * shift, labels, cutoff=cutoff)
    torch.testing.assert_close(moved, before, rtol=1e-10, atol=1e-12)
    assert gradient(before, student).sum(1).abs().max() < 1e-13


@each_loss
def test_a_model_with_itself_is_zero_with_zero_gradient(name: str) -> None:
    _, logits, labels = a_batch(5, 9, dtype=torch.float32)
    student = logits.clone().requires_grad_()
    loss = LOSSES[name](student, logits, labels, cutoff=0.6)
    assert loss.eq(0).all()
    assert gradient(loss, student).abs().max() < 1e-6


@each_loss
def test_never_negative_and_positive_for_another_model(name: str) -> None:
    student, teacher, labels = a_batch(200, 7, scale=3.0)
    loss = LOSSES[name](student, teacher, labels, cutoff=0.8)
    several = confusion_set(teacher, labels, cutoff=0.8).sum(1) > 1
    assert several.sum() > 100
    assert (loss[several] > 0).all()
    assert (loss >= 0).all()


def test_each_part_sees_only_its_own() -> None:
    """Masses see groups through their totals; the conditional sees the confusion set alone."""
    student, teacher, labels = a_batch(6, 20, scale=4.0)
    confused = confusion_set(teacher, labels, cutoff=0.6)
    mass, inside = triage_kd(student, teacher, labels, cutoff=0.6)
    for group in (confused, ~confused):
        assert ((confused.sum(1) >= 2) & (confused.sum(1) <= 17)).all()
        turned = student.detach().clone()
        for row in range(6):
            own = group[row].clone()
            own[labels[row]] = False
            turned[row, own] = student.detach()[row, own].roll(1)
        after_mass, after_inside = triage_kd(turned, teacher, labels, cutoff=0.6)
        torch.testing.assert_close(after_mass, mass.detach(), rtol=1e-11, atol=1e-13)
        assert torch.equal(after_inside, inside) == (group is not confused)
    assert gradient(inside, student)[~confused].eq(0).all()


@each_loss
def test_a_batch_is_its_rows_alone(name: str) -> None:
    student, teacher, labels = a_batch(6, 11, dtype=torch.float32)
    loss = LOSSES[name]
    alone = [loss(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1], cutoff=0.7) for i in range(6)]
    assert torch.equal(torch.cat(alone), loss(student, teacher, labels, cutoff=0.7))


@each_loss
def test_temperature_keeps_the_size_of_the_gradient(name: str) -> None:
    student, teacher, labels = a_batch(6, 40)
    sizes = []
    for temperature in (100.0, 1000.0, 10000.0):
        loss = LOSSES[name](student, teacher, labels, cutoff=0.51, temperature=temperature)
        sizes.append(torch.autograd.grad(loss.sum(), student)[0].norm().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.1)


# ---- edges ----


@each_cutoff
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_gradients(dtype: torch.dtype, cutoff: float) -> None:
    """Scale 64 at temperature 0.5: probabilities that round to 1 and to 0, teacher right, wrong and torn."""
    cosines = torch.linspace(-1, 1, 8).expand(4, 8)
    labels = torch.tensor([7, 7, 3, 0])
    teacher = (64 * cosines).to(dtype)
    student = (64 * cosines[:, [1, 0, 3, 2, 6, 5, 4, 7]]).to(dtype).requires_grad_()
    assert teacher.float().softmax(1)[0, 7] == 1
    for part in LOSSES.values():
        loss = part(student, teacher, labels, cutoff=cutoff, temperature=0.5)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        assert gradient(loss, student).isfinite().all()


def test_a_confident_teacher_costs_no_digits() -> None:
    """p_y = 1 − e^-30 rounds to 1 in float32; the masses still compare as in float64."""
    teacher = torch.tensor([[30.0, 0.0, -4.0, -40.0]])
    student = torch.tensor([[20.0, -1.0, 1.0, -40.0]], requires_grad=True)
    double = student.detach().to(float64).requires_grad_()
    labels = torch.tensor([0])
    loss = mass_kd(student, teacher, labels, cutoff=0.9)
    truth = mass_kd(double, teacher.to(float64), labels, cutoff=0.9)
    assert confusion_set(teacher, labels, cutoff=0.9).tolist() == [[False, True, False, False]]
    assert loss.item() == pytest.approx(truth.item(), rel=1e-5)
    slow = slow_triage_kd(double[0].detach().numpy(), teacher[0].double().numpy(), 0, cutoff=0.9)
    assert truth.item() == pytest.approx(slow["mass"], rel=1e-3)
    (grad,), (expected,) = (torch.autograd.grad(x, leaf) for x, leaf in ((loss, student), (truth, double)))
    torch.testing.assert_close(grad.double(), expected, rtol=1e-5, atol=0)


def test_a_set_of_one_speaker_has_nothing_to_compare() -> None:
    student, teacher, labels = a_batch(5, 9)
    loss = confusion_kd(student, teacher, labels, cutoff=1e-6)
    assert loss.eq(0).all()
    assert gradient(loss, student).eq(0).all()
    assert (mass_kd(student, teacher, labels, cutoff=1e-6) > 0).all()


@pytest.mark.parametrize("cutoff", [0.1, 1])
def test_with_two_speakers_the_masses_are_the_two(cutoff: float) -> None:
    student, teacher, labels = a_batch(5, 2)
    mass, inside = triage_kd(student, teacher, labels, cutoff=cutoff)
    assert torch.equal(mass, target_kd(student, teacher, labels))
    assert inside.eq(0).all()
    assert gradient(mass + inside, student).isfinite().all()


@each_loss
@each_cutoff
def test_speakers_of_probability_zero_contribute_nothing(name: str, cutoff: float) -> None:
    """−inf in both, where a background may hold them alone; and −inf in the teacher only."""
    loss = LOSSES[name]
    student, teacher, labels = a_batch(5, 6)
    hole = torch.full((5, 1), -math.inf, dtype=float64)
    with_hole = torch.cat([student, hole], dim=1)
    before = loss(student, teacher, labels, cutoff=cutoff)
    both = loss(with_hole, torch.cat([teacher, hole], dim=1), labels, cutoff=cutoff)
    torch.testing.assert_close(both, before, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(both, student), gradient(before, student), rtol=1e-12, atol=1e-300)
    one = torch.cat([student, 0 * hole.exp()], dim=1)
    one = loss(one, torch.cat([teacher, hole], dim=1), labels, cutoff=cutoff)
    assert one.isfinite().all()
    assert gradient(one, student).isfinite().all()


@each_loss
def test_an_empty_batch_gives_an_empty_loss(name: str) -> None:
    for cutoff in (0.5, 1):
        empty = torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
        assert LOSSES[name](*empty, cutoff=cutoff).shape == (0,)


@each_loss
def test_the_teacher_receives_no_gradient_and_no_input_is_written(name: str) -> None:
    student, teacher, labels = a_batch(5, 9)
    teacher.requires_grad_()
    inputs = (student, teacher, labels)
    versions = [tensor._version for tensor in inputs]
    LOSSES[name](*inputs, cutoff=0.8).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert [tensor._version for tensor in inputs] == versions


@each_cutoff
def test_the_host_never_waits_for_the_device(cutoff: float) -> None:
    """On the meta device there are shapes and no values: reading one, or a shape that hangs on one, raises."""
    student, teacher = (torch.empty(4, 9, device="meta", requires_grad=True) for _ in range(2))
    labels = torch.empty(4, dtype=torch.long, device="meta")
    mass, inside = triage_kd(student, teacher, labels, cutoff=cutoff)
    (mass.sum() + inside.sum()).backward()
    assert student.grad is not None
    assert student.grad.shape == (4, 9)


def test_dtype_is_float32_or_better() -> None:
    student, teacher, labels = a_batch(3, 5)
    for dtype, result in ((torch.bfloat16, torch.float32), (float64, float64)):
        for loss in triage_kd(student.to(dtype), teacher.to(dtype), labels.int(), cutoff=0.5):
            assert loss.dtype == result


@each_loss
def test_bad_input_is_refused_at_the_door(name: str) -> None:
    loss: Callable[..., Tensor] = inspect.unwrap(LOSSES[name])  # the door itself, not the tests' own checks
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 2])
    for cutoff in (0, 0.0, -0.1, 1.01, math.nan, math.inf):
        with pytest.raises(UserError, match=r"cutoff is out of range\n.*\n.*0 < cutoff <= 1"):
            loss(logits, logits, labels, cutoff=cutoff)
    with pytest.raises(UserError, match="temperature is out of range"):
        loss(logits, logits, labels, cutoff=0.5, temperature=0)
    with pytest.raises(UserError, match=r"not in the head\n.*labels from 1 to 3"):
        loss(logits, logits, labels + 1, cutoff=0.5)
