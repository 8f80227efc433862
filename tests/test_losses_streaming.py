"""The objective without a matrix [B, C]: the numbers of the one with it, whatever the blocks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses import trained
from distilvox.losses.kd import label_kd, non_target_kd, target_kd
from distilvox.losses.margin import aam, cross_entropy
from distilvox.losses.passes import Alone, Walk, frozen_sums
from distilvox.losses.statistics import LN2, hide, nothing
from distilvox.losses.streaming import streaming_kd, streaming_objective
from distilvox.models.head import cosines
from tests.reference.objective import naive_objective

float64 = torch.float64
PARTS = ("ce", "tskd", "nskd")


def a_batch(
    batch: int, classes: int, dim: int, teacher_dim: int, *, own: bool = False, dtype: torch.dtype = float64
) -> dict[str, Any]:
    """Embeddings near their class centres, and centres, none of length 1."""
    labels = torch.randint(classes, (batch,))
    head, centres = torch.randn(classes, dim, dtype=dtype), torch.randn(classes, teacher_dim, dtype=dtype)
    student = torch.randn(batch, dim, dtype=dtype) + head[labels]
    teacher, projected = (torch.randn(batch, teacher_dim, dtype=dtype) + k * centres[labels] for k in (2, 1))
    found = {"student": student.requires_grad_(), "head": head.requires_grad_(), "labels": labels}
    found |= {"teacher": teacher, "teacher_centres": centres}
    return found | {"projected": None if own else projected.requires_grad_()}


def leaves(given: dict[str, Any]) -> list[Tensor]:
    return [v for v in given.values() if v is not None and v.requires_grad]


def cast(given: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The same values as leaves of another dtype."""
    return {
        name: value
        if value is None or name == "labels"
        else value.detach().to(dtype).requires_grad_(value.requires_grad)
        for name, value in given.items()
    }


def results(
    function: Any, given: dict[str, Any], names: tuple[str, ...] = PARTS, **settings: Any
) -> list[Tensor]:
    """The parts, then gradients of something after them: an upstream of its own for every row and part."""
    parts = function(**given, **settings)
    upstream = torch.zeros(())
    for k, name in enumerate(names):
        upstream = upstream + (torch.linspace(0.5, 2.0, len(parts[name])) * parts[name]).sum() * (1.5 + k)
    grads = torch.autograd.grad(upstream.log1p(), leaves(given))
    return [parts[name].detach().to(float64) for name in names] + [g.to(float64) for g in grads]


def a_digit(parts: list[Tensor], leaf: Tensor, *, steepness: float) -> float:
    """Four last digits of the terms that the gradients of `results` are differences of.

    Such a term is a softmax times the steepness of its logits, κτ or the cross entropy's scale. Where it cancels,
    with one non-target speaker altogether, the naive code is exact, because it subtracts before it sums over
    classes; sums that are kept apart for student and teacher keep their digits' error. The upstream gradient is at
    most 2 (1.5 + k), k the last part, over one plus the total.
    """
    total = sum(
        float((torch.linspace(0.5, 2.0, len(part)) * part).sum()) * (1.5 + k) for k, part in enumerate(parts)
    )
    return (
        4 * 2**-23 * steepness * (1 + 2 * len(parts)) / (1 + total) / float(leaf.detach().norm(dim=1).min())
    )


def readable(
    student: Tensor,
    head: Tensor,
    labels: Tensor,
    teacher: Tensor,
    teacher_centres: Tensor,
    projected: Tensor | None,
    *,
    margin: float,
    scale: float,
    kd_scale: float,
    temperature: float,
    kd_margins: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Tensor]:
    """What the module's docstring says that it computes."""
    scores = cosines(student, head)
    z = scores if projected is None else cosines(projected, teacher_centres)
    z = aam(z, labels, margin=kd_margins[0], scale=kd_scale)
    t = aam(cosines(teacher, teacher_centres), labels, margin=kd_margins[1], scale=kd_scale)
    kinds = {"tskd": target_kd, "nskd": non_target_kd, "kld": label_kd}
    parts = {name: kd(z, t, labels, temperature=temperature) for name, kd in kinds.items()}
    ce = cross_entropy(aam(scores, labels, margin=margin, scale=scale), labels)
    return parts | {"ce": ce, "correct": scores.argmax(1) == labels}


# ---- the same numbers ----


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("batch", "classes", "block"),
    [(1, 2, None), (1, 2, 1), (7, 30, 1), (7, 30, 11), (7, 30, 30), (7, 30, 1000), (0, 5, 2), (40, 3, 2)],
)
@pytest.mark.parametrize(("scale", "temperature"), [(16.0, 2.0), (64.0, 0.5)])
def test_blocks_change_nothing(
    batch: int, classes: int, block: int | None, own: bool, scale: float, temperature: float
) -> None:
    given = a_batch(batch, classes, 6, 5, own=own)
    settings: dict[str, Any] = {"margin": 0.3, "scale": 32.0, "kd_scale": scale, "temperature": temperature}
    for kd_margins in ((0.0, 0.0), (0.3, 0.3)):
        names = (*PARTS, "kld")
        truth = results(readable, given, names, kd_margins=kd_margins, **settings)
        ours = results(streaming_objective, given, names, kd_margins=kd_margins, block=block, **settings)
        for mine, right in zip(ours, truth, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-9, atol=1e-11)
    correct = streaming_objective(**given, block=block, margin=0.3, scale=32.0)["correct"]
    assert correct.equal(cosines(given["student"], given["head"]).argmax(1) == given["labels"])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("batch", "classes", "dim"), [(252, 507, 123), (8, 64, 16), (1, 2, 3)])
@pytest.mark.parametrize("scale", [16.0, 32.0])
def test_error_is_about_that_of_the_naive_code(
    batch: int, classes: int, dim: int, own: bool, scale: float
) -> None:
    given = a_batch(batch, classes, dim, dim + 1, own=own, dtype=torch.float32)
    settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0, "kd_scale": scale, "temperature": 1.0}
    naive = results(naive_objective, given, **settings)
    ours = results(streaming_objective, given, **settings)
    truth = results(naive_objective, cast(given, float64), **settings)
    for k, (mine, theirs, right) in enumerate(zip(ours, naive, truth, strict=True)):
        slack = 2**-23 * (scale + 4 * float(right.abs().max()))  # last digits of a logit and of the part
        if k >= len(PARTS):
            slack = a_digit(truth[: len(PARTS)], leaves(given)[k - len(PARTS)], steepness=32.0)
            slack += 3e-7 * float(right.abs().max())
        assert (mine - right).abs().max() <= 2 * (theirs - right).abs().max() + slack


def test_a_frozen_head_and_no_teacher() -> None:
    given = a_batch(9, 20, 6, 5)
    alone = {name: given[name] for name in ("student", "head", "labels")}
    parts = streaming_objective(**alone, margin=0.2, scale=32.0, block=7)
    assert set(parts) == {"ce", "correct"}
    whole = torch.autograd.grad(parts["ce"].sum(), leaves(alone))
    alone["head"] = alone["head"].detach()
    (frozen,) = torch.autograd.grad(
        streaming_objective(**alone, margin=0.2, scale=32.0, block=7)["ce"].sum(), leaves(alone)
    )
    assert frozen.equal(whole[0])
    with torch.no_grad():
        assert streaming_objective(**alone, margin=0.2, scale=32.0)["ce"].allclose(parts["ce"])


def test_keeping_blocks_for_the_backward_pass_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = a_batch(7, 30, 6, 5)
    settings: dict[str, Any] = {"margin": 0.3, "scale": 32.0, "block": 8}
    kept = results(streaming_objective, given, **settings)
    monkeypatch.setattr(trained, "KEPT", {})
    for mine, right in zip(results(streaming_objective, given, **settings), kept, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-12)
    settings["scale"] = 64.0  # its powers may leave the range, so they are never kept
    assert all(part.isfinite().all() for part in results(streaming_objective, given, **settings))


@pytest.mark.parametrize("own", [False, True])
def test_one_part_alone_sends_its_own_gradient(own: bool) -> None:
    given = a_batch(9, 20, 6, 6, own=own)
    settings: dict[str, Any] = {
        "margin": 0.2,
        "scale": 32.0,
        "kd_scale": 16.0,
        "temperature": 1.5,
        "kd_margins": (0.0, 0.0),
    }
    for name in (*PARTS, "kld"):
        ours, right = (
            torch.autograd.grad(function(**given, **settings)[name].sum(), leaves(given), allow_unused=True)
            for function in (streaming_objective, readable)
        )
        for mine, theirs in zip(ours, right, strict=True):
            if mine is None or theirs is None:
                assert theirs is None
                assert mine is None or not mine.any()
            else:
                torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


# ---- laws ----


@pytest.mark.parametrize("own", [False, True])
def test_a_student_that_is_its_teacher_learns_nothing(own: bool) -> None:
    given = a_batch(9, 40, 6, 6, own=own)
    if own:
        given["student"] = given["teacher"].clone().requires_grad_()
        given["head"] = given["teacher_centres"].clone().requires_grad_()
    else:
        given["projected"] = given["teacher"].clone().requires_grad_()
    parts = streaming_objective(**given, margin=0.2, scale=32.0, block=7)
    for name in ("tskd", "nskd", "kld"):
        assert parts[name].abs().max() < 1e-12
        grads = torch.autograd.grad(parts[name].sum(), leaves(given), retain_graph=True, allow_unused=True)
        assert all(grad is None or grad.abs().max() < 1e-11 for grad in grads)


def test_the_teacher_gets_no_gradient() -> None:
    for own in (False, True):
        given = a_batch(3, 5, 4, 4, own=own)
        given |= {name: given[name].requires_grad_() for name in ("teacher", "teacher_centres")}
        parts = streaming_objective(**given, margin=0.2, scale=32.0)
        torch.cat([parts[name] for name in PARTS]).sum().backward()
        assert given["teacher"].grad is None
        assert given["teacher_centres"].grad is None
        assert given["student"].grad is not None


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, float64])
def test_finite_at_both_ends_in_every_precision(own: bool, dtype: torch.dtype) -> None:
    """Embeddings on class centres and opposite to them, a centre that is zero, an embedding that is zero."""
    given = a_batch(6, 9, 4, 4, own=own)
    head = given["head"].detach().clone()
    head[8] = 0
    given["student"] = torch.stack([head[0], -head[0], head[1], -head[1], 0 * head[0], head[2]])
    given |= {"teacher": given["student"].flip(0), "teacher_centres": head.clone(), "head": head}
    given["labels"] = torch.tensor([0, 0, 2, 1, 8, 3])
    for name in ("student", "head", *([] if own else ["projected"])):
        given[name] = given[name].detach().requires_grad_()
    found = cast(given, dtype)
    wanted = float64 if dtype == float64 else torch.float32
    for block in (1, 4, None):
        parts = streaming_objective(
            **found, margin=0.5, scale=64.0, kd_scale=64.0, temperature=0.5, block=block
        )
        total = torch.cat([parts[name] for name in PARTS]).sum()
        grads = torch.autograd.grad(total, leaves(found))
        assert all(parts[name].dtype == wanted and parts[name].isfinite().all() for name in PARTS)
        assert all(grad.dtype == dtype and grad.isfinite().all() for grad in grads)


def test_autocast_changes_nothing() -> None:
    given = a_batch(6, 9, 4, 4, dtype=torch.float32)
    settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0}
    plain = results(streaming_objective, given, **settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_to = results(streaming_objective, given, **settings)
    for left, right in zip(plain, cast_to, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("own", [False, True])
def test_gradcheck(own: bool) -> None:
    given = a_batch(3, 5, 4, 4, own=own)
    names = [name for name, value in given.items() if value is not None and value.requires_grad]

    def parts(*values: Tensor) -> tuple[Tensor, ...]:
        found = streaming_objective(
            **(given | dict(zip(names, values, strict=True))), margin=0.2, scale=8.0, kd_scale=4.0, block=2
        )
        return tuple(found[name] for name in PARTS)

    assert torch.autograd.gradcheck(parts, [given[name] for name in names], fast_mode=True)


# ---- the merge ----


def splits(rng: np.random.Generator, classes: int) -> Iterator[list[int]]:
    """Places to cut classes into ordered parts, some of them empty."""
    for pieces in (1, 2, 3, 5, 9):
        yield sorted(rng.integers(0, classes + 1, pieces - 1).tolist())


@pytest.mark.parametrize("width", [1.0, 400.0])
def test_sums_merge_in_any_order_and_any_grouping(rng: np.random.Generator, width: float) -> None:
    rows, classes = 6, 23
    logits = width * torch.randn(rows, classes, dtype=float64)
    logits[0] = -math.inf
    logits[0, 4] = -900 * (width > 1)
    values = torch.randn(classes, 3, dtype=float64)
    wide = {"in_range": width == 1.0}
    log_sum = (LN2 * logits).logsumexp(1)
    mean = (LN2 * logits).softmax(1) @ values
    for cuts in splits(rng, classes):
        parts = []
        for x, v in zip(logits.tensor_split(cuts, 1), values.tensor_split(cuts), strict=True):
            filled = torch.zeros(rows, 3, dtype=float64)
            part = nothing(filled, 3, **wide)
            if x.shape[1]:
                x = x.clone()
                part = part.add(x, **wide)
                part = part._replace(moments=part.moments + x @ v)
            parts.append(part)
        while len(parts) > 1:  # merges two neighbours, or two strangers, in a drawn order
            left, right = parts.pop(rng.integers(len(parts))), parts.pop(rng.integers(len(parts)))
            one, other = left.merge(right), right.merge(left)
            assert all(a.equal(b) for a, b in zip(one, other, strict=True))
            parts.append(one)
        torch.testing.assert_close(parts[0].log_sum(), log_sum, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parts[0].mean(), mean, rtol=1e-12, atol=1e-12)


def test_hide_reaches_the_targets_of_its_own_block_alone() -> None:
    logits = torch.randn(5, 4)
    before = logits.clone()
    hide(logits, torch.tensor([-1, 0, 3, 4, 900]))
    hidden = torch.zeros(5, 4, dtype=torch.bool)
    hidden[1, 0] = hidden[2, 3] = True
    assert logits.equal(before.masked_fill(hidden, -1e30))
    assert logits.exp2()[hidden].eq(0).all()


def test_frozen_sums_are_a_softmax_and_its_mean_centre() -> None:
    given = a_batch(5, 12, 4, 4)
    queries = torch.nn.functional.normalize(given["teacher"])
    centres = torch.nn.functional.normalize(given["teacher_centres"])
    for over in (20.0, 200.0):
        logits = (over * queries @ centres.T).scatter(1, given["labels"][:, None], -math.inf)
        sums = frozen_sums(
            queries, given["teacher_centres"], given["labels"], over=over, walk=Walk(5, Alone())
        )
        torch.testing.assert_close(sums.log_sum(), logits.logsumexp(1))
        torch.testing.assert_close(sums.mean(), logits.softmax(1) @ centres)


# ---- at the door ----


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.tensor([0, 5, 1])}, r"a label names a speaker that is not in the head"),
        ({"head": torch.randn(1, 4)}, r"at least two"),
        ({"head": torch.randn(5, 3)}, r"embeddings do not fit the head[\s\S]*D = 4 and 3"),
        ({"teacher": None}, r"needs the teacher's embeddings and the teacher's class centres"),
        ({"teacher_centres": None}, r"needs the teacher's embeddings and the teacher's class centres"),
        ({"teacher": torch.randn(3, 7)}, r"`teacher` do not fit[\s\S]*\[3, 7\][\s\S]*\[3, 4\]"),
        ({"projected": torch.randn(2, 4)}, r"`projected` do not fit[\s\S]*\[2, 4\]"),
        ({"teacher_centres": torch.randn(6, 4)}, r"not those of the head's speakers[\s\S]*6 rows"),
        ({"margin": 1.6}, r"margin is out of range"),
        ({"kd_margins": (0.0, -0.1)}, r"kd_margins is out of range"),
        ({"scale": 0.0}, r"scale is out of range"),
        ({"kd_scale": math.inf}, r"kd_scale is out of range"),
        ({"temperature": 0.0}, r"temperature is out of range"),
        ({"block": 0}, r"block is out of range"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], message: str) -> None:
    given = a_batch(3, 5, 4, 4) | {"margin": 0.2, "scale": 32.0}
    with pytest.raises(UserError, match=message):
        inspect.unwrap(streaming_objective)(**(given | wrong))  # the door itself, not the tests' own checks


def test_kd_alone_is_that_of_the_objective_whatever_the_blocks() -> None:
    given = a_batch(7, 23, 5, 6)
    whole = streaming_objective(**given, margin=0.2, scale=30.0, kd_scale=9.0, temperature=2.0)
    names = ("teacher", "teacher_centres", "labels")
    teacher, centres, labels = (given[name] for name in names)
    weights = torch.randn(3, 7, dtype=float64)

    def slope(parts: dict[str, Tensor]) -> Tensor:
        total = sum((w * parts[name]).sum() for w, name in zip(weights, ("tskd", "nskd", "kld"), strict=True))
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, given["projected"], retain_graph=True)[0]

    for block in (1, 4, 23, None):
        alone = streaming_kd(
            given["projected"], teacher, centres, labels, kd_scale=9.0, temperature=2.0, block=block
        )
        for name in ("tskd", "nskd", "kld"):
            torch.testing.assert_close(alone[name], whole[name])
        torch.testing.assert_close(slope(alone), slope(whole))
    with pytest.raises(UserError, match="labels"):
        streaming_kd(given["projected"], teacher, centres, labels + 23)
