from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses import aam
from distilvox.losses.margin import cross_entropy
from distilvox.models.head import cosines
from tests.reference.losses import naive_aam

MARGINS = (0.0, 0.1, 0.2, 0.5, 1.5)
float64 = torch.float64


def target_logits(angles: Tensor, margin: float) -> Tensor:
    """The target logit at scale 1 as a function of the angle."""
    pair = torch.stack([angles.cos(), torch.zeros_like(angles)], dim=1)
    return aam(pair, torch.zeros(len(angles), dtype=torch.long), margin=margin, scale=1.0)[:, 0]


def test_golden_logits(golden: Callable[[str], Any]) -> None:
    cases = golden("arc_margin")["cases"]
    assert len(cases) >= 3
    for case in cases:
        size = case["N"] * case["D"]
        centres = (0.37 * torch.arange(size, dtype=float64)).sin().reshape(case["N"], case["D"])
        labels = torch.tensor(case["labels"])
        expected = torch.tensor(case["logits"], dtype=float64)
        for dtype, tolerance in ((torch.float32, 1e-4), (float64, 3e-4)):  # golden in float32
            scores = cosines(torch.tensor(case["embeddings"], dtype=dtype), centres.to(dtype))
            logits = aam(scores, labels, margin=case["margin"], scale=case["scale"])
            assert (logits - expected).abs().max() < tolerance


@pytest.mark.parametrize("margin", MARGINS)
def test_target_logit_is_continuous_and_decreasing_in_the_angle(margin: float) -> None:
    angles = torch.linspace(0, math.pi, 5001, dtype=float64)
    logits = target_logits(angles, margin)
    falls = logits.diff()
    assert (falls < 0).all()
    assert falls.abs().max() < 1.01 * math.pi / 5000  # no step is steeper than cos(θ + m) can be
    rounded = target_logits(angles.float(), margin).diff()
    assert (rounded <= 2e-7).all()


@pytest.mark.parametrize("margin", MARGINS)
def test_past_the_last_angle_the_fallback_takes_over_where_the_two_meet(margin: float) -> None:
    around = torch.tensor([math.pi - margin - 1e-9, math.pi - margin + 1e-9], dtype=float64).clamp(
        max=math.pi
    )
    assert target_logits(around, margin).tolist() == pytest.approx([-1, -1], abs=1e-8)
    end = target_logits(torch.tensor([math.pi], dtype=float64), margin)
    assert end.item() == pytest.approx(-1 - (1 - math.cos(margin)))


def test_without_margin_logits_are_the_scaled_cosines() -> None:
    scores = torch.cat([torch.rand(20, 7) * 2 - 1, torch.ones(1, 7), -torch.ones(1, 7)])
    assert torch.equal(aam(scores, torch.arange(22) % 7, margin=0.0, scale=30.0), 30.0 * scores)


def test_only_the_target_column_changes_and_it_falls() -> None:
    scores, labels = torch.rand(20, 7) * 2 - 1, torch.arange(20) % 7
    is_target = torch.nn.functional.one_hot(labels, 7).bool()
    logits = aam(scores, labels, margin=0.3, scale=32.0)
    assert torch.equal(logits[~is_target], 32.0 * scores[~is_target])
    assert (logits[is_target] < 32.0 * scores[is_target]).all()
    assert scores._version == 0


@pytest.mark.parametrize("dtype", [torch.float32, float64, torch.bfloat16])
@pytest.mark.parametrize("margin", MARGINS)
def test_gradients_are_finite_at_the_ends_and_past_them(margin: float, dtype: torch.dtype) -> None:
    step = torch.finfo(dtype).eps
    ends = torch.tensor([1, 1 - step, 1 + step, 1.001, -1, -1 + step, -1 - step, -1.001], dtype=float64)
    pair = torch.stack([ends, torch.zeros_like(ends)], dim=1).to(dtype).requires_grad_()
    logits = aam(pair, torch.zeros(8, dtype=torch.long), margin=margin, scale=32.0)
    assert logits.isfinite().all()
    (grad,) = torch.autograd.grad(logits.square().sum(), pair)
    assert grad.isfinite().all()
    (slope,) = torch.autograd.grad(
        aam(pair, torch.zeros(8, dtype=torch.long), margin=margin, scale=1.0)[:, 0].sum(), pair
    )
    assert (slope[:, 0] > 0).all()  # pulled towards the centre, everywhere


@pytest.mark.parametrize("margin", MARGINS)
def test_at_the_class_centre_training_still_has_a_finite_gradient(margin: float) -> None:
    """Through the normalisation: embeddings that lie exactly on their centre, or opposite to it."""
    centres = torch.randn(4, 16)
    embeddings = torch.cat([3 * centres, -centres]).requires_grad_()
    labels = torch.arange(8) % 4
    loss = cross_entropy(aam(cosines(embeddings, centres), labels, margin=margin, scale=64.0), labels)
    (grad,) = torch.autograd.grad(loss.square().sum(), embeddings)
    assert grad.isfinite().all()


@pytest.mark.parametrize("shape", [(7, 503), (4, 64)])
def test_error_is_no_larger_than_that_of_the_formula_through_the_angle(shape: tuple[int, int]) -> None:
    scores, labels = torch.rand(shape) * 2 - 1, torch.randint(shape[1], shape[:1])
    scores[torch.arange(shape[0]), labels] = torch.linspace(-0.999, 0.9999, shape[0])
    results = {}
    for who, function, dtype in (
        ("ours", aam, torch.float32),
        ("naive", naive_aam, torch.float32),
        ("truth", naive_aam, float64),
    ):
        leaf = scores.to(dtype).requires_grad_()
        logits = function(leaf, labels, margin=0.2, scale=32.0)
        (grad,) = torch.autograd.grad(logits.logsumexp(1).square().sum(), leaf)
        results[who] = (logits.detach().to(float64), grad.to(float64))
    for ours, naive, truth in zip(results["ours"], results["naive"], results["truth"], strict=True):
        slack = 1e-6 * truth.abs().max()
        assert (ours - truth).abs().max() <= (naive - truth).abs().max() + slack


def test_gradcheck() -> None:
    scores = torch.tensor([[0.99, 0.1], [0.3, -0.999], [-0.5, 0.7]], dtype=float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda c: aam(c, labels, margin=0.2, scale=4.0), scores)
    assert torch.autograd.gradcheck(lambda c: cross_entropy(c, labels), scores)


def test_dtype_is_float32_or_better() -> None:
    for dtype, result in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (float64, float64),
    ):
        logits = aam(torch.zeros(2, 3, dtype=dtype), torch.tensor([0, 1]).int(), margin=0.2, scale=1)
        assert logits.dtype == result
        assert cross_entropy(torch.zeros(2, 3, dtype=dtype), torch.tensor([0, 1])).dtype == result


def test_cross_entropy_is_the_log_probability_it_says() -> None:
    logits, labels = torch.randn(5, 9, dtype=float64), torch.randint(9, (5,))
    expected = -logits.softmax(1)[torch.arange(5), labels].log()
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_an_empty_batch_gives_empty_logits() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert aam(torch.zeros(0, 3), none, margin=0.2, scale=32.0).shape == (0, 3)
    assert cross_entropy(torch.zeros(0, 3), none).shape == (0,)


def test_bad_input_is_refused_at_the_door() -> None:
    door: Callable[..., Tensor] = inspect.unwrap(aam)  # the door itself, not the tests' own checks
    scores, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    for margin in (-0.1, math.pi / 2, math.nan):
        with pytest.raises(UserError, match=r"margin is out of range\n.*\n.*0 <= margin < 1.571"):
            door(scores, labels, margin=margin, scale=32.0)
    for scale in (0.0, -1.0, math.inf):
        with pytest.raises(UserError, match="scale is out of range"):
            door(scores, labels, margin=0.2, scale=scale)
    with pytest.raises(UserError, match="with one speaker"):
        door(scores[:, :1], labels * 0, margin=0.2, scale=32.0)
    with pytest.raises(UserError, match=r"labels from 0 to 3"):
        door(scores, labels * 3, margin=0.2, scale=32.0)
    with pytest.raises(UserError, match=r"labels from 0 to 3"):
        inspect.unwrap(cross_entropy)(scores, labels * 3)
