from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses import label_kd, non_target_kd, target_kd
from tests.reference.losses import exact_kd, naive_label_kd, naive_non_target_kd, naive_target_kd

PAIRS = {
    "target": (target_kd, naive_target_kd),
    "non_target": (non_target_kd, naive_non_target_kd),
    "label": (label_kd, naive_label_kd),
}
each_loss = pytest.mark.parametrize("name", PAIRS)
float64 = torch.float64


def a_batch(
    batch: int, classes: int, *, scale: float = 16.0, dtype: torch.dtype = float64
) -> tuple[Tensor, ...]:
    """Scaled cosines of a student and of a better teacher, and the labels."""
    labels = torch.randint(classes, (batch,))
    rows = torch.arange(batch)
    student, teacher = (scale * (torch.rand(batch, classes, dtype=float64) * 1.2 - 0.6) for _ in range(2))
    student[rows, labels] += 0.2 * scale
    teacher[rows, labels] = 0.8 * scale
    return student.to(dtype).requires_grad_(), teacher.to(dtype), labels


def gradient(loss: Tensor, *leaves: Tensor) -> Tensor:
    """Of something after the loss, so that the upstream gradient is neither 1 nor the same for all rows."""
    upstream = torch.linspace(0.5, 2.0, len(loss), dtype=loss.dtype)
    (result,) = torch.autograd.grad((upstream * loss).sum().log1p(), leaves)
    return result


# ---- golden values and the truth ----


def test_golden_loss_and_gradient(golden: Callable[[str], Any]) -> None:
    cases = golden("nskd_loss")["cases"]
    assert len(cases) >= 8
    for case in cases:
        rows, columns = (torch.arange(case[k], dtype=float64) for k in "BN")
        b, n = rows[:, None], columns[None]
        labels = (7 * rows.long() + 3) % case["N"]
        student = 6 * (0.7 * b + 0.13 * n).sin() + 3 * (0.031 * n * (b + 1)).cos()
        teacher = 7 * (0.5 * b + 0.17 * n).cos() + 2 * (0.011 * n * (b + 2)).sin()
        student[rows.long(), labels] += 4
        teacher[rows.long(), labels] += 9
        student.requires_grad_()
        tskd = target_kd(student, teacher, labels, temperature=case["temperature"])
        nskd = non_target_kd(student, teacher, labels, temperature=case["temperature"])
        loss = (tskd + case["gamma"] * nskd).mean()
        (grad,) = torch.autograd.grad(loss, student)
        assert loss.item() == pytest.approx(case["loss"], abs=1e-9, rel=1e-9)
        assert grad.norm().item() == pytest.approx(case["grad_norm"], abs=1e-9, rel=1e-9)
        assert grad[0, :5].tolist() == pytest.approx(case["grad_row0_first5"], abs=1e-9, rel=1e-9)


@each_loss
def test_gradients_stay_finite_and_values_true_where_the_naive_formula_fails(name: str) -> None:
    """Scale 64 and temperature 0.5: probabilities down to e^-250, in float32 and in bfloat16."""
    ours, naive = PAIRS[name]
    for dtype in (torch.float32, torch.bfloat16):
        cosines = torch.linspace(-1, 1, 8, dtype=float64).expand(4, 8)
        labels = torch.tensor([7, 7, 3, 0])
        teacher = (64 * cosines).to(dtype)
        student = (64 * cosines[:, torch.tensor([1, 0, 3, 2, 6, 5, 4, 7])]).to(dtype).requires_grad_()
        broken = naive(student, teacher, labels, temperature=0.5)
        assert not gradient(broken, student).isfinite().all()
        loss = ours(student, teacher, labels, temperature=0.5)
        assert loss.dtype == torch.float32
        assert gradient(loss, student).isfinite().all()
        truth = [
            getattr(exact_kd(*row, temperature=0.5), name)
            for row in zip(student, teacher, labels.tolist(), strict=True)
        ]
        assert loss.tolist() == pytest.approx(truth, rel=1e-4, abs=1e-30)


@each_loss
@pytest.mark.parametrize(("batch", "classes"), [(7, 503), (4, 64), (3, 3), (1, 2)])
def test_error_is_no_larger_than_the_naive_formulas_own(name: str, batch: int, classes: int) -> None:
    ours, naive = PAIRS[name]
    student, teacher, labels = a_batch(batch, classes, dtype=torch.float32)
    results = {}
    for who, function, dtype in (
        ("ours", ours, torch.float32),
        ("naive", naive, torch.float32),
        ("truth", naive, float64),
    ):
        leaf = student.detach().to(dtype).requires_grad_()
        loss = function(leaf, teacher.to(dtype), labels, temperature=2.0)
        results[who] = (loss.detach().to(float64), gradient(loss, leaf).to(float64))
    for ours_, naive_, truth in zip(results["ours"], results["naive"], results["truth"], strict=True):
        slack = 1e-6 * truth.abs().max().item() + 1e-9
        assert (ours_ - truth).abs().max() <= (naive_ - truth).abs().max() + slack


def test_a_confident_teacher_costs_no_digits() -> None:
    """p_y = 1 − e^-30: the target part is tiny but right to float32's precision, its gradient too."""
    teacher = torch.tensor([[30.0, 0.0, -40.0]])
    student = torch.tensor([[20.0, 0.0, -40.0]], requires_grad=True)
    loss = target_kd(student, teacher, torch.tensor([0]))
    assert loss.item() == pytest.approx(exact_kd(student[0], teacher[0], 0).target, rel=1e-5)
    (grad,) = torch.autograd.grad(loss, student)
    assert grad[0, 0].item() == pytest.approx(math.exp(-30) - math.exp(-20), rel=1e-5)


@each_loss
def test_gradcheck(name: str) -> None:
    student, teacher, labels = a_batch(3, 5, scale=3.0)
    assert torch.autograd.gradcheck(lambda z: PAIRS[name][0](z, teacher, labels, temperature=1.5), student)


# ---- laws ----


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_label_kd_is_target_kd_plus_what_the_teacher_leaves_of_non_target_kd(temperature: float) -> None:
    student, teacher, labels = a_batch(6, 11)
    target, others, whole = (
        loss(student, teacher, labels, temperature=temperature)
        for loss in (target_kd, non_target_kd, label_kd)
    )
    p_target = (teacher / temperature).softmax(1)[torch.arange(6), labels]
    torch.testing.assert_close(whole, target + (1 - p_target) * others, rtol=1e-12, atol=1e-12)


@each_loss
def test_a_model_with_itself_is_zero_with_zero_gradient(name: str) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (float64, 1e-14)):
        _, logits, labels = a_batch(5, 9, dtype=dtype)
        student = logits.clone().requires_grad_()
        loss = PAIRS[name][0](student, logits, labels)
        assert loss.eq(0).all()
        assert gradient(loss, student).abs().max() < tolerance


@each_loss
def test_never_negative_and_positive_for_another_model(name: str) -> None:
    student, teacher, labels = a_batch(200, 7)
    assert (PAIRS[name][0](student, teacher, labels) > 0).all()
    near = teacher + 1e-6 * torch.randn(200, 7, dtype=float64)
    assert (PAIRS[name][0](near, teacher, labels) > -1e-14).all()


def test_non_target_kd_does_not_see_the_target_logits() -> None:
    student, teacher, labels = a_batch(6, 11)
    before = non_target_kd(student, teacher, labels)
    rows = torch.arange(6)
    for move_student, move_teacher in ((50.0, 0.0), (0.0, 50.0)):
        z, t = student.detach().clone(), teacher.clone()
        z[rows, labels] += move_student
        t[rows, labels] += move_teacher
        assert torch.equal(non_target_kd(z, t, labels), before)
        assert not torch.allclose(target_kd(z, t, labels), target_kd(student, teacher, labels))
    assert gradient(before, student)[rows, labels].eq(0).all()


def test_target_kd_sees_the_others_only_through_their_total() -> None:
    student, teacher, labels = a_batch(6, 11)
    others = ~torch.nn.functional.one_hot(labels, 11).bool()
    swapped = student.detach().clone()
    swapped[others] = student.detach()[others].view(6, 10).flip(1).flatten()
    torch.testing.assert_close(target_kd(swapped, teacher, labels), target_kd(student, teacher, labels))
    assert not torch.allclose(
        non_target_kd(swapped, teacher, labels), non_target_kd(student, teacher, labels)
    )


@each_loss
def test_order_of_speakers_and_a_constant_on_a_row_change_nothing(name: str) -> None:
    loss = PAIRS[name][0]
    student, teacher, labels = a_batch(6, 11)
    before = loss(student, teacher, labels)
    order = torch.randperm(11)
    permuted = loss(student[:, order], teacher[:, order], order.argsort()[labels])
    torch.testing.assert_close(permuted, before, rtol=1e-12, atol=1e-13)
    shift = torch.randn(6, 1, dtype=float64)
    torch.testing.assert_close(
        loss(student + 9 * shift, teacher - 5 * shift, labels), before, rtol=1e-11, atol=1e-13
    )
    assert gradient(before, student).sum(1).abs().max() < 1e-14


@each_loss
def test_a_batch_is_its_rows_alone(name: str) -> None:
    student, teacher, labels = a_batch(6, 11, dtype=torch.float32)
    alone = [PAIRS[name][0](student[i : i + 1], teacher[i : i + 1], labels[i : i + 1]) for i in range(6)]
    assert torch.equal(torch.cat(alone), PAIRS[name][0](student, teacher, labels))


@each_loss
def test_temperature_keeps_the_size_of_the_gradient(name: str) -> None:
    student, teacher, labels = a_batch(6, 11)
    sizes = []
    for temperature in (100.0, 1000.0, 10000.0):
        loss = PAIRS[name][0](student, teacher, labels, temperature=temperature)
        sizes.append(torch.autograd.grad(loss.sum(), student)[0].norm().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.05)


def test_label_kd_at_high_temperature_compares_centred_logits() -> None:
    """Hinton et al., arXiv 1503.02531, equation 4: the gradient tends to (z − t) / C, both centred."""
    student, teacher, labels = a_batch(4, 6)
    (grad,) = torch.autograd.grad(label_kd(student, teacher, labels, temperature=1e5).sum(), student)
    z, t = (logits - logits.mean(1, keepdim=True) for logits in (student.detach(), teacher))
    torch.testing.assert_close(grad, (z - t) / 6, rtol=1e-3, atol=1e-4)


# ---- edges ----


@each_loss
def test_an_empty_batch_gives_an_empty_loss(name: str) -> None:
    loss = PAIRS[name][0](torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert loss.shape == (0,)


def test_with_two_speakers_there_is_nothing_to_compare_among_the_others() -> None:
    student, teacher, labels = a_batch(5, 2)
    loss = non_target_kd(student, teacher, labels)
    assert loss.eq(0).all()
    assert gradient(loss, student).eq(0).all()
    torch.testing.assert_close(target_kd(student, teacher, labels), label_kd(student, teacher, labels))


@each_loss
def test_speakers_of_probability_zero_contribute_nothing(name: str) -> None:
    """−inf in both, and −inf in the teacher only: no 0 · inf, forwards or backwards."""
    loss = PAIRS[name][0]
    student, teacher, labels = a_batch(5, 6)
    hole = torch.full((5, 1), -math.inf, dtype=float64)
    with_hole = torch.cat([student, hole], dim=1)
    before = loss(student, teacher, labels)
    both = loss(with_hole, torch.cat([teacher, hole], dim=1), labels)
    assert torch.equal(both, before)
    assert torch.equal(gradient(both, student), gradient(before, student))
    one = loss(torch.cat([student, 0 * hole.exp()], dim=1), torch.cat([teacher, hole], dim=1), labels)
    assert one.isfinite().all()
    assert gradient(one, student).isfinite().all()


@each_loss
def test_the_teacher_receives_no_gradient_and_no_input_is_written(name: str) -> None:
    student, teacher, labels = a_batch(5, 9)
    teacher.requires_grad_()
    inputs = (student, teacher, labels)
    versions = [tensor._version for tensor in inputs]
    PAIRS[name][0](*inputs).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert [tensor._version for tensor in inputs] == versions


@each_loss
def test_a_teacher_run_in_inference_mode_is_welcome(name: str) -> None:
    student, teacher, labels = a_batch(5, 9)
    expected = gradient(PAIRS[name][0](student, teacher, labels), student)
    with torch.inference_mode():
        frozen = teacher * 1
    assert torch.equal(gradient(PAIRS[name][0](student, frozen, labels), student), expected)


@each_loss
def test_dtype_is_float32_or_better(name: str) -> None:
    student, teacher, labels = a_batch(3, 5)
    for dtype, result in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (float64, float64),
    ):
        assert PAIRS[name][0](student.to(dtype), teacher.to(dtype), labels.int()).dtype == result


@each_loss
def test_bad_input_is_refused_at_the_door(name: str) -> None:
    loss: Callable[..., Tensor] = inspect.unwrap(PAIRS[name][0])  # the door itself, not the tests' own checks
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 2])
    for arguments, message in (
        ((logits, torch.zeros(2, 4), labels), r"differ in shape\n.*student \[2, 3\], teacher \[2, 4\]"),
        ((logits[0], logits[0], labels), r"must be a matrix\n.*\[3\]"),
        ((logits[:, :1], logits[:, :1], labels * 0), "with one speaker there is nothing to tell apart"),
        ((logits, logits, labels[:1]), r"one integer for each row of logits\n.*\[1\]"),
        ((logits, logits, labels.float()), r"one integer for each row of logits\n.*float32"),
        ((logits, logits, labels + 1), r"not in the head\n.*labels from 1 to 3\n.*0 to 2"),
        ((logits, logits, labels - 1), r"not in the head\n.*labels from -1 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            loss(*arguments)
    for temperature in (0, 0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="temperature is out of range"):
            loss(logits, logits, labels, temperature=temperature)
