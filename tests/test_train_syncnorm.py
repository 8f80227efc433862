"""R processes are one: batch norm over all of them, alone and in one training step of every architecture."""

from __future__ import annotations

from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from bench.ranks import gradient, one_step
from distilvox import models
from distilvox.train.distributed import World
from distilvox.train.syncnorm import SyncNorm, merge, synchronised

SMALL: dict[str, dict[str, Any]] = {
    "xvector": {"channels": 8, "last_channels": 12, "hidden": 8, "embedding_dim": 8},
    "resnet-s": {"channels": 8, "embedding_dim": 8},
    "resnet152": {"blocks": [1, 1, 1, 1], "channels": 8, "embedding_dim": 8, "two_emb_layer": True},
    "campplus-s": {"head_channels": 4, "channels": 8, "layers": [1, 1, 1], "growth": 8, "embedding_dim": 8},
    "dstdnn-s": {"channels": 8, "depth": 2, "last_channels": 12, "embedding_dim": 8},
    "ecapa-s": {"channels": 16, "pooled": 16, "bottleneck": 8, "embedding_dim": 8},
    "redimnet2-s": {"blocks": [1, 1, 1, 1], "out_channels": 8, "embedding_dim": 8},
}
"""Every architecture, narrow; ResNet with its other kind of block and its second embedding layer too.

Its 8 channels are the least: in 4, torch 2.13's own convolutions write past their memory on a CPU."""

SIZES, UTTERANCES = (2, 4), 7
"""Processes; utterances of a batch, which they cannot share evenly."""


class Norms(nn.Module):
    """Batch norms of every kind that students have, over 2 to 4 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.plane = nn.BatchNorm2d(3)
        self.frames = nn.Sequential(nn.BatchNorm1d(3, affine=False, momentum=None))
        self.vector = nn.BatchNorm1d(3, eps=1e-3)

    def forward(self, values: Tensor) -> Tensor:
        planes = self.plane(values).tanh()
        frames = self.frames(planes.mean(2) ** 2 + planes.amax(2))
        return self.vector(frames.mean(2) + frames.square().mean(2))


def norms(rank: int, size: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Two steps of `Norms` on 7 rows far from zero: outputs, gradients of the rows and weights, running moments."""
    generator = torch.Generator().manual_seed(1)
    module: nn.Module = Norms()
    if size > 1:
        module = synchronised(module)
    found: dict[str, Tensor] = {}
    for step in range(2):
        rows = 30 + 2 * torch.randn(7, 3, 4, 5, generator=generator)
        upstream = torch.randn(7, 3, generator=generator)
        mine = np.array_split(np.arange(7), size)[rank]
        values = rows[mine].to(dtype).requires_grad_()
        out = module(values)
        out.float().backward(upstream[mine])
        found |= {f"out {step}": out.detach(), f"grad {step}": values.grad}  # type: ignore[dict-item]
    weights = {f"sum {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found | weights | {f"same {name}": value for name, value in module.state_dict().items()}


def work(rank: int, size: int, folder: str) -> None:
    """One process: the norms, and a step of every architecture; its results saved."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size)
    world = World(rank, size)
    saved: dict[str, Any] = {
        "float32": norms(rank, size, torch.float32),
        "bfloat16": norms(rank, size, torch.bfloat16),
    }
    for name, options in SMALL.items():
        saved[name] = one_step(name, world, utterances=UTTERANCES, options=options)
    saved["said"] = {
        "number": torch.tensor(world.said(40 + rank)), "sent": world.sent(torch.full((2,), float(rank))),
        "bytes": torch.tensor(list(world.sent_bytes(bytes([rank, 7])) or b"")),
        "none": torch.tensor(world.sent_bytes(None if rank == 0 else b"x") is None),
        "mean": world.mean(torch.tensor([float(rank), 2.0])),
    }  # fmt: skip
    torch.save(saved, f"{folder}/{size}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Number of processes → what each saved."""
    folder = tmp_path_factory.mktemp("processes")
    get_context("forkserver").set_forkserver_preload([__name__])
    for size in SIZES:
        mp.start_processes(work, args=(size, str(folder)), nprocs=size, start_method="forkserver")
    return {
        size: [torch.load(folder / f"{size}-{rank}.pt", weights_only=True) for rank in range(size)]
        for size in SIZES
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 2e-5), (torch.bfloat16, 0.06)])
def test_norms_of_processes_are_those_of_one(
    dtype: torch.dtype, within: float, size: int, found: dict[int, list[dict[str, Any]]]
) -> None:
    shares = [saved[str(dtype).removeprefix("torch.")] for saved in found[size]]
    for name, right in norms(0, 1, dtype).items():
        kind = name.partition(" ")[0]
        if kind == "same":  # running moments and weights: the same bits in every process
            assert all(torch.equal(share[name], shares[0][name]) for share in shares), name
            got = shares[0][name]
        else:
            values = [share[name] for share in shares]
            got = torch.stack(values).sum(0) if kind == "sum" else torch.cat(values)
        assert got.dtype == right.dtype, name
        scale = float(right.double().abs().max()) + 1e-3
        assert float((got.double() - right.double()).abs().max()) <= within * scale, name


def test_every_architecture_is_among_those_compared() -> None:
    assert {type(models.MODELS[name]) for name in SMALL} == {
        type(config) for config in models.MODELS.values()
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_processes_is_that_of_one(name: str, found: dict[int, list[dict[str, Any]]]) -> None:
    right = one_step(name, World(), utterances=UTTERANCES, options=SMALL[name])
    truth = gradient(right)
    for size in SIZES:
        shares = [saved[name] for saved in found[size]]
        ours = gradient(shares[0])
        assert float(torch.cosine_similarity(ours, truth, dim=0)) > 0.9999
        assert float(ours.norm()) == pytest.approx(float(truth.norm()), rel=1e-3)
        assert float(shares[0]["loss"]) == pytest.approx(float(right["loss"]), rel=1e-5)
        for place, share in enumerate(shares):
            for key, value in share.items():
                assert torch.equal(value, shares[0][key]), f"{key} of process {place}"
                if "running" in key:
                    torch.testing.assert_close(value, right[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_what_the_first_says_holds_for_all(size: int, found: dict[int, list[dict[str, Any]]]) -> None:
    for saved in found[size]:
        said = saved["said"]
        assert (int(said["number"]), said["bytes"].tolist(), bool(said["none"])) == (40, [0, 7], True)
        assert said["sent"].tolist() == [0.0, 0.0]
        assert said["mean"].tolist() == [(size - 1) / 2, 2.0]


def test_shares_of_any_size_merge_to_the_moments_of_all() -> None:
    rows = 1e4 + torch.randn(20, 3, dtype=torch.float64)
    shares = [rows[:1], rows[1:8], rows[8:]]
    merged = merge(
        torch.tensor([1.0, 7.0, 12.0], dtype=torch.float64),
        torch.stack([share.mean(0) for share in shares]),
        torch.stack([share.var(0, unbiased=False) for share in shares]),
    )
    assert merged.number == 20
    torch.testing.assert_close(merged.mean, rows.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(merged.variance, rows.var(0, unbiased=False), rtol=1e-10, atol=0)


def test_weights_names_and_evaluation_stay() -> None:
    plain = models.build("ecapa-s", **SMALL["ecapa-s"]).eval()
    waves = torch.randn(2, 8000)
    before, state = plain(waves), {name: value.data_ptr() for name, value in plain.state_dict().items()}
    changed = synchronised(plain)
    assert changed is plain
    assert {name: value.data_ptr() for name, value in changed.state_dict().items()} == state
    assert torch.equal(changed(waves), before)
    assert not [
        m
        for m in changed.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and not isinstance(m, SyncNorm)
    ]
    assert isinstance(synchronised(nn.BatchNorm1d(3)), SyncNorm)
