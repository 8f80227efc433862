"""Processes that share out the class centres reach the numbers of one process that holds them all."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from distilvox.errors import UserError
from distilvox.losses.sharded import Sharded, share
from distilvox.losses.streaming import streaming_objective

PARTS = ("ce", "tskd", "nskd")
CLASSES, BATCH, SIZES = 11, 8, (2, 4)


def a_batch(*, own: bool) -> dict[str, Any]:
    """Of every process together; some shares hold the target of no utterance."""
    drawn = torch.Generator().manual_seed(3)
    sizes = {
        "student": (BATCH, 5),
        "head": (CLASSES, 5),
        "teacher": (BATCH, 4),
        "teacher_centres": (CLASSES, 4),
    }
    given: dict[str, Any] = {
        name: torch.randn(size, generator=drawn, dtype=torch.float64) for name, size in sizes.items()
    }
    given["labels"] = torch.tensor([0, 1, 0, 1, 10, 10, 4, 1])
    if not own:
        given["projected"] = torch.randn(BATCH, 4, generator=drawn, dtype=torch.float64)
    return given


def step(given: dict[str, Any], kd_scale: float, **settings: Any) -> dict[str, Tensor]:
    """Parts of these utterances, and gradients of the mean over all of every process, not quite linear."""
    trained = {
        name: given[name].clone().requires_grad_()
        for name in ("student", "head", "projected")
        if name in given
    }
    parts = streaming_objective(
        **(given | trained), margin=0.2, scale=32.0, kd_scale=kd_scale, block=2, **settings
    )
    total = (parts["ce"] + 3.0 * parts["tskd"] + 2.0 * parts["nskd"]).log1p().sum() / BATCH
    grads = torch.autograd.grad(total, list(trained.values()))
    return {name: parts[name].detach() for name in (*PARTS, "correct")} | {
        f"{name}'s gradient": grad for name, grad in zip(trained, grads, strict=True)
    }


CASES = [(own, kd_scale) for own in (False, True) for kd_scale in (16.0, 100.0)]


def work(rank: int, folder: str) -> None:
    """One of four processes: every case, among the first two and among all; its results saved."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=4)
    groups = {size: dist.new_group(list(range(size))) for size in SIZES}
    for size in SIZES:
        if rank < size:
            ranks, held = Sharded(CLASSES, groups[size]), share(CLASSES, rank, size)
            found = []
            for own, kd_scale in CASES:
                local = {
                    name: value[held] if name in ("head", "teacher_centres") else value.chunk(size)[rank]
                    for name, value in a_batch(own=own).items()
                }
                found.append(step(local, kd_scale, ranks=ranks))
            torch.save(found, f"{folder}/{size}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes saved."""
    path = tmp_path_factory.mktemp("processes")
    get_context("forkserver").set_forkserver_preload(
        [__name__]
    )  # so that PyTorch is loaded once, not four times
    mp.start_processes(work, args=(str(path),), nprocs=4, start_method="forkserver")
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_processes_equal_one(size: int, case: int, folder: Path) -> None:
    shares = [torch.load(folder / f"{size}-{rank}.pt", weights_only=True)[case] for rank in range(size)]
    own, kd_scale = CASES[case]
    for name, right in step(a_batch(own=own), kd_scale).items():
        joined = torch.cat([found[name] for found in shares])
        assert torch.allclose(joined.double(), right.double(), rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize(("classes", "size"), [(2, 1), (2, 2), (7, 3), (5_994, 8)])
def test_shares_are_all_classes_in_order(classes: int, size: int) -> None:
    shares = [range(classes)[share(classes, rank, size)] for rank in range(size)]
    assert [label for held in shares for label in held] == list(range(classes))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_processes_than_speakers_are_refused() -> None:
    with pytest.raises(UserError, match=r"fewer speakers than processes[\s\S]*3 speakers, 4 processes"):
        share(3, 0, 4)


def test_another_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_rank", lambda group: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda group: 3)
    ranks = Sharded(classes=7)
    assert ranks.classes(2) == 7
    with pytest.raises(UserError, match=r"3 class centres[\s\S]*2: speakers 3 to 4"):
        ranks.classes(3)
