"""The streaming objective's Triton kernels: in the interpreter, through the compiler, and on a GPU."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from distilvox.errors import UserError
from distilvox.losses import fused, streaming
from distilvox.losses.streaming import streaming_objective
from distilvox.losses.trained import HeadSums
from tests.reference.objective import naive_objective
from tests.test_losses_streaming import PARTS, a_batch, cast, results

ROOT = Path(__file__).parents[1]
has_triton = pytest.mark.skipif(
    find_spec("triton") is None and (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="there is no Triton for this platform",
)


@has_triton
def test_in_the_interpreter() -> None:
    """Everything in tests/kernels_interpreted.py."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels_interpreted.py"]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@has_triton
@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_the_compiler_takes_them(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to a Hopper GPU's machine code, which needs no GPU; the interpreter lets mistakes of type pass."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from distilvox.losses import kernels

    sizes: dict[str, Any] = {"R": 16, "N": 16, "K": 16, "V": 16, "PRECISION": precision}
    for kernel, flag in ((kernels._class_sums, "ONLINE"), (kernels._centre_grads, "ADD")):
        constants = sizes | {flag: True}
        numbers = dict.fromkeys(("batch", "classes", "dim", "size", "share"), "i32")
        kinds = dict.fromkeys(constants, "constexpr") | numbers | {"columns": "*i64", "longest": "fp32"}
        signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
        made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
        assert made.asm["cubin"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu() -> None:
    """Each size, precision and kind of centres: not further from the truth than the naive code, and a little."""
    for (batch, classes, *dims), own, scale, precision in product(
        [(252, 5_007, 123, 192), (64, 1_024, 512, 256), (1, 2, 3, 1_024)],
        (False, True), (16.0, 64.0), ("highest", "high"),
    ):  # fmt: skip
        given = {
            name: None if value is None else value.detach().cuda().requires_grad_(value.requires_grad)
            for name, value in a_batch(batch, classes, *dims, own=own, dtype=torch.float32).items()
        }
        settings: dict[str, Any] = {"margin": 0.2, "scale": 32.0, "kd_scale": scale, "temperature": 1.0}
        naive = on(torch.device("cuda"), naive_objective, given, settings)
        truth = on(torch.device("cuda"), naive_objective, cast(given, torch.float64), settings)
        torch.set_float32_matmul_precision(precision)
        try:
            ours = on(torch.device("cuda"), streaming_objective, given, settings | {"backend": "triton"})
        finally:
            torch.set_float32_matmul_precision("highest")
        for k, (mine, theirs, right) in enumerate(zip(ours, naive, truth, strict=True)):
            slack = scale * 2**-22 if k < len(PARTS) else 6e-7 * (1 + right.abs().max())
            error = (mine - right).abs().max()
            assert error <= 2 * (theirs - right).abs().max() + slack, (batch, own, scale, precision, k)


def on(device: torch.device, function: Any, given: dict[str, Any], settings: dict[str, Any]) -> list[Tensor]:
    """As `results`, computed on a device and brought back."""
    with device:
        return [found.cpu() for found in results(function, given, **settings)]


# ---- at the door ----


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("cuda", r"unknown backend[\s\S]*auto, torch, triton"),
        ("triton", r"run on an NVIDIA GPU, not on 'cpu'"),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused(
    backend: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "find_spec", lambda name: object())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    given = a_batch(3, 5, 4, 4, dtype=torch.float32)
    with pytest.raises(UserError, match=message):
        inspect.unwrap(streaming_objective)(**given, margin=0.2, scale=32.0, backend=backend)


def test_what_the_kernels_do_not_take_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "find_spec", lambda name: object())
    with FakeTensorMode(allow_non_fake_inputs=True):
        like = torch.empty(3, 5, device="cuda")
        assert fused.obstacle(like, (5, 1_024)) is None
        assert fused.obstacle(like.half(), (5, 5)) is None
        assert "not in float64" in str(fused.obstacle(like.double(), (5, 5)))
        assert "up to 1024 entries, not 1025" in str(fused.obstacle(like, (5, 1_025)))


def test_a_gpu_without_triton_is_warned_about_once_and_uses_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "find_spec", lambda name: None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        like = torch.empty(3, 5, device="cuda")
        with pytest.warns(
            UserWarning, match=r"without its Triton kernels[\s\S]*pip install 'distilvox\[gpu\]'"
        ):
            assert streaming._passes("auto", like, like, None)[0] is HeadSums
        with pytest.raises(UserError, match=r"Triton is missing"):
            streaming._passes("triton", like, like, None)
    assert streaming._passes("auto", torch.empty(3, 5), torch.empty(3, 5), None)[0] is HeadSums
