from __future__ import annotations

import inspect

import pytest
import torch

from distilvox.errors import UserError
from distilvox.losses import cosine, mse
from tests.reference.losses import naive_cosine, naive_mse

PAIRS = {"cosine": (cosine, naive_cosine), "mse": (mse, naive_mse)}
each_loss = pytest.mark.parametrize("name", PAIRS)
float64 = torch.float64


@each_loss
def test_same_as_the_reference_and_gradcheck(name: str) -> None:
    ours, naive = PAIRS[name]
    student, teacher = (
        torch.randn(5, 17, dtype=float64, requires_grad=True),
        torch.randn(5, 17, dtype=float64),
    )
    torch.testing.assert_close(ours(student, teacher), naive(student, teacher))
    assert torch.autograd.gradcheck(lambda s: ours(s, teacher), student)


@each_loss
def test_zero_with_zero_gradient_at_the_teacher_and_positive_elsewhere(name: str) -> None:
    teacher = torch.randn(5, 17, dtype=float64)
    student = teacher.clone().requires_grad_()
    loss = PAIRS[name][0](student, teacher)
    (grad,) = torch.autograd.grad(loss.sum(), student)
    assert loss.abs().max() < 1e-15
    assert grad.abs().max() < 1e-15
    assert (PAIRS[name][0](torch.randn(5, 17, dtype=float64), teacher) > 0).all()


def test_cosine_sees_directions_only() -> None:
    student, teacher = torch.randn(5, 17, dtype=float64), torch.randn(5, 17, dtype=float64)
    before = cosine(student, teacher)
    torch.testing.assert_close(cosine(7 * student, 0.01 * teacher), before)
    torch.testing.assert_close(cosine(-student, teacher), 2 - before)


def test_mse_is_in_units_of_the_teacher() -> None:
    student, teacher = torch.randn(5, 17, dtype=float64), torch.randn(5, 17, dtype=float64)
    torch.testing.assert_close(mse(100 * student, 100 * teacher), mse(student, teacher))
    assert mse(torch.zeros(5, 17), teacher.float()).tolist() == pytest.approx([1.0] * 5)
    unit_power = teacher / teacher.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(mse(student, unit_power), (student - unit_power).square().mean(1))
    unit_student, unit_teacher = (e / e.norm(dim=1, keepdim=True) for e in (student, teacher))
    torch.testing.assert_close(mse(unit_student, unit_teacher), 2 * cosine(student, teacher))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zero_vectors_stay_finite(name: str, dtype: torch.dtype) -> None:
    student = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], dtype=dtype)
    loss = PAIRS[name][0](student, teacher)
    (grad,) = torch.autograd.grad(loss.square().sum(), student)
    assert loss.isfinite().all()
    assert grad.isfinite().all()
    assert cosine(student, teacher).tolist() == [1, 1]


@each_loss
def test_edges_and_hygiene(name: str) -> None:
    loss = PAIRS[name][0]
    assert loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss(student, teacher).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    with torch.inference_mode():
        frozen = teacher.detach() * 1
    assert torch.autograd.grad(loss(student, frozen).sum(), student)[0].isfinite().all()
    assert loss(student.bfloat16(), teacher.bfloat16()).dtype == torch.float32
    assert loss(student.double(), teacher.double()).dtype == float64
    with pytest.raises(
        UserError, match=r"embeddings .*differ in shape\n.*student \[3, 4\], teacher \[3, 5\]"
    ):
        inspect.unwrap(loss)(student, torch.zeros(3, 5))
