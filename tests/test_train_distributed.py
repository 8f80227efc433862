"""Who am I among the processes, and on which device; two real processes are tested with the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from distilvox.errors import UserError
from distilvox.train import distributed
from distilvox.train.distributed import World, has_fast_bf16, join, pick_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def cuda(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)


def test_alone_there_is_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with join(CPU) as world:
        world.barrier()
        assert (world, world.is_main) == (World(), True)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with join(CPU) as world:
        world.barrier()
        assert world == World(0, 1)
        assert not dist.is_initialized()


def test_the_group_is_left_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: calls.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("left"))

    def fail() -> None:
        with join(CPU) as world:
            assert (world.rank, world.size, world.is_main) == (1, 2, False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert calls == ["gloo", "left"]


def test_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, 0)
    assert pick_device("auto") == pick_device("cpu") == CPU
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=r"no CUDA device[\s\S]*--device cpu"):
            pick_device(name)


def test_every_process_gets_its_own_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, 2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 1)
    assert pick_device("cuda:0") == torch.device("cuda", 0)
    assert pick_device("cpu") == CPU
    with pytest.raises(UserError, match=r"no such CUDA device[\s\S]*cuda:2[\s\S]*cuda:0 to cuda:1"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["", "gpu", "meta", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA", "tpu"])
def test_other_names_are_unknown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda(monkeypatch, 2)
    with pytest.raises(UserError, match=r"unknown device[\s\S]*auto, cpu, cuda, cuda:N"):
        pick_device(name)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu avx512f avx512_bf16", True), ("amx_bf16", True), ("fpu avx512f", False), ("", False)],
)
def test_bf16_is_what_the_processor_lists(
    flags: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(distributed, "Path", lambda _: tmp_path / "cpuinfo")
    assert has_fast_bf16(CPU) is fast


def test_bf16_where_processors_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "Path", lambda _: tmp_path / "absent")
    assert has_fast_bf16(CPU) is False
