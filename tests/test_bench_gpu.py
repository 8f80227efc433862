"""The GPU's page is written without one, so what can run on a processor does, at tiny sizes."""

from __future__ import annotations

import torch

from bench import gpu


def test_rows_on_a_processor() -> None:
    device, found = torch.device("cpu"), gpu.ways(kernels=False, compiled=False)
    rate = gpu.rates(device, 16)
    assert all(value > 0 for value in rate.values())
    lines = list(gpu.lines(4, 9, device, found, rate, repeats=1))
    assert [line.way for line in lines] == ["naive", "naive, TF32", "blocks"]
    assert all(line.ms > 0 and line.value_error < 1e-4 for line in lines)
    assert lines[-1].gradient_error < 1e-4  # the naive code loses more where a target is nearly certain
    assert lines[0].products_floor_ms == 6 * 2 * 4 * 9 * 256 / rate["highest"] * 1e3
    page = gpu.table(lines).splitlines()
    assert len(page) == 2 + len(lines)
    assert len({line.count("|") for line in page}) == 1
