"""The Triton kernels in Triton's interpreter; tests/test_losses_kernels.py runs this file in a process of its own,
because Triton reads TRITON_INTERPRET=1 when it is imported."""

from __future__ import annotations

import threading
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from distilvox.losses import kernels
from distilvox.losses.fused import fused_sums
from distilvox.losses.passes import Alone, Ranks, Walk, frozen_sums
from distilvox.losses.statistics import Sums
from distilvox.losses.streaming import streaming_objective
from tests.reference.objective import naive_objective
from tests.test_losses_sharded import BATCH, CLASSES, PARTS, step
from tests.test_losses_sharded import a_batch as a_shared_batch
from tests.test_losses_streaming import a_batch, a_digit, cast, leaves, readable, results

float64 = torch.float64


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of everything, and two shares of the classes, at sizes that the interpreter takes quickly."""
    monkeypatch.setattr(kernels, "TILES", {1024: (4, 16, 4)})
    monkeypatch.setattr(kernels, "INNER", 8)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("batch", "classes", "dim", "teacher_dim"),
    [(5, 37, 12, 9), (1, 2, 3, 5), (4, 32, 16, 8), (0, 5, 3, 3)],
)
@pytest.mark.parametrize(("scale", "temperature"), [(16.0, 2.0), (64.0, 0.5)])
def test_the_numbers_of_the_blocks(
    batch: int, classes: int, dim: int, teacher_dim: int, own: bool, scale: float, temperature: float
) -> None:
    given = a_batch(batch, classes, dim, teacher_dim, own=own, dtype=torch.float32)
    settings: dict[str, Any] = {"margin": 0.3, "scale": 2 * scale, "kd_scale": scale}
    settings |= {"temperature": temperature, "kd_margins": (0.3, 0.1)}
    names = (*PARTS, "kld")
    ours = results(streaming_objective, given, names, backend="triton", **settings)
    blocks = results(streaming_objective, given, names, backend="torch", block=7, **settings)
    naive = results(readable, given, names, **settings)
    truth = results(readable, cast(given, float64), names, **settings)
    for k, (mine, theirs, plain, right) in enumerate(zip(ours, blocks, naive, truth, strict=True)):
        if right.numel() and k < len(names):
            slack = 2e-7 * temperature**2 * max(2 * scale, scale / temperature)
            assert (mine - right).abs().max() <= 2 * (theirs - right).abs().max() + slack
        elif right.numel():
            leaf = leaves(given)[k - len(names)]
            slack = a_digit(truth[: len(names)], leaf, steepness=scale * max(2.0, temperature))
            slack += 1e-6 * float(right.abs().max())
            assert (mine - right).abs().max() <= 2 * (plain - right).abs().max() + slack
    parts = streaming_objective(**given, backend="triton", margin=0.3, scale=32.0)
    assert parts["correct"].equal(readable(**given, **settings)["correct"])


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kd_scale", [8.0, 64.0])
def test_one_non_target_speaker_teaches_nothing(
    kd_scale: float, own: bool, backend: Literal["torch", "triton"]
) -> None:
    """Its softmax is 1 on both sides: what is left of the gradient is rounding, a few digits of the slope."""
    given = a_batch(6, 2, 16, 8, own=own, dtype=torch.float32)
    settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0, "kd_scale": kd_scale, "temperature": 0.5}
    part = streaming_objective(**given, backend=backend, **settings)["nskd"]
    reached = leaves(given) if own else [given["projected"]]
    for leaf, grad in zip(reached, torch.autograd.grad(part.sum(), reached), strict=True):
        slope = 0.5 * kd_scale / leaf.detach().norm(dim=1).min()
        assert grad.abs().max() <= 8 * 2**-23 * slope


def test_error_is_about_that_of_the_naive_code() -> None:
    for own in (False, True):
        given = a_batch(8, 41, 10, 6, own=own, dtype=torch.float32)
        settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0, "kd_scale": 16.0, "temperature": 1.0}
        ours = results(streaming_objective, given, backend="triton", **settings)
        naive = results(naive_objective, given, **settings)
        truth = results(naive_objective, cast(given, float64), **settings)
        for k, (mine, theirs, right) in enumerate(zip(ours, naive, truth, strict=True)):
            slack = 16 * 2**-23 if k < len(PARTS) else 3e-7 * (1 + right.abs().max())
            assert (mine - right).abs().max() <= 2 * (theirs - right).abs().max() + slack


@pytest.mark.parametrize("over", [20.0, 200.0])
def test_every_target_is_hidden_and_every_share_is_seen(over: float) -> None:
    """Each class is some row's target, in the first tile and the last, and a label of no class here."""
    classes = 21
    labels = torch.arange(-1, classes + 1)
    queries = torch.nn.functional.normalize(torch.randn(len(labels), 6))
    centres = torch.randn(classes, 6)
    walk = Walk(None, Alone())
    ours = fused_sums(queries, centres, labels, over=over, walk=walk)
    blocks = frozen_sums(queries, centres, labels, over=over, walk=walk)
    torch.testing.assert_close(ours.log_sum(), blocks.log_sum(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(ours.mean(), blocks.mean(), rtol=1e-5, atol=2e-5)
    halves = [
        fused_sums(queries, centres[part], labels - part.start, over=over, walk=walk)
        for part in (slice(0, 8), slice(8, classes))
    ]
    for order in (halves, halves[::-1]):
        both: Sums = order[0].merge(order[1])
        torch.testing.assert_close(both.log_sum(), ours.log_sum(), rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(both.mean(), ours.mean(), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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
    settings: dict[str, Any] = {"margin": 0.5, "scale": 64.0, "kd_scale": 64.0, "temperature": 0.5}
    parts = streaming_objective(**found, backend="triton", **settings)
    grads = torch.autograd.grad(torch.cat([parts[name] for name in PARTS]).sum(), [
        value for value in found.values() if value is not None and value.requires_grad
    ])  # fmt: skip
    assert all(parts[name].dtype == torch.float32 and parts[name].isfinite().all() for name in PARTS)
    assert all(grad.dtype == dtype and grad.isfinite().all() for grad in grads)


def test_no_teacher_a_frozen_head_and_strided_inputs() -> None:
    given = a_batch(5, 20, 6, 5, dtype=torch.float32)
    settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0}
    found = []
    for backend in ("torch", "triton"):
        head = given["head"].detach().T.contiguous().T
        student = given["student"].detach().T.contiguous().T.requires_grad_()
        parts = streaming_objective(student, head, given["labels"], backend=backend, **settings)
        assert set(parts) == {"ce", "correct"}
        found.append([parts["ce"], *torch.autograd.grad(parts["ce"].sum(), [student])])
    for theirs, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


class Threads(Ranks):
    """Two processes, played by threads that meet."""

    def __init__(self, rank: int, meet: threading.Barrier, table: list[Tensor | None]) -> None:
        self.rank, self.meet, self.table = rank, meet, table
        self.start = 0 if rank == 0 else 6

    def classes(self, held: int) -> int:
        return CLASSES

    def shared(self, values: Tensor) -> list[Tensor]:
        self.table[self.rank] = values.detach().clone()
        self.meet.wait(60)
        both = [value for value in self.table if value is not None]
        self.meet.wait(60)
        return both

    def gather(self, rows: Tensor) -> Tensor:
        return torch.cat(self.shared(rows))

    def mine(self, rows: Tensor) -> Tensor:
        return rows.chunk(2)[self.rank]

    def add(self, values: Tensor) -> Tensor:
        return torch.stack(self.shared(values)).sum(dim=0)

    def largest(self, values: Tensor) -> Tensor:
        return torch.stack(self.shared(values)).amax(dim=0)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter keeps its place in the grid in one global."""
    lock = threading.Lock()

    def alone(function: Any) -> Any:
        def call(*args: Any, **settings: Any) -> Any:
            with lock:
                return function(*args, **settings)

        return call

    for name in ("class_sums", "centre_grads"):
        monkeypatch.setattr(kernels, name, alone(getattr(kernels, name)))


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kd_scale", [16.0, 100.0])
def test_two_shares_of_the_classes_equal_one(own: bool, kd_scale: float) -> None:
    given = {
        name: value.float() if value.is_floating_point() else value
        for name, value in a_shared_batch(own=own).items()
    }
    whole = step(given, kd_scale, backend="torch")
    found: dict[int, dict[str, Tensor]] = {}
    meet = threading.Barrier(2)
    table: list[Tensor | None] = [None, None]

    def work(rank: int) -> None:
        held = slice(0, 6) if rank == 0 else slice(6, CLASSES)
        local = {
            name: value[held]
            if name in ("head", "teacher_centres")
            else value[rank * BATCH // 2 :][: BATCH // 2]
            for name, value in given.items()
        }
        found[rank] = step(local, kd_scale, backend="triton", ranks=Threads(rank, meet, table))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {0, 1}
    for name, right in whole.items():
        joined = torch.cat([found[0][name], found[1][name]]).double()
        assert torch.allclose(joined, right.double(), rtol=3e-5, atol=3e-5), name
