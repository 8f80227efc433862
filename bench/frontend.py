"""Our front end, by one matrix and (in training) by FFT in small blocks, beside the usual FFT.

Time for 64 crops of 2 s, and error, in the same row:

    python -m bench.frontend

Single thread. The error is the largest difference in log units from the float64 reference of the tests,
on one second of noise with a constant offset of 0.1.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from distilvox.models.fbank import Fbank
from distilvox.models.frontend import FrontEnd
from tests.reference.frontend import fbank


def with_fft(ours: Fbank) -> Callable[[Tensor], Tensor]:
    """The textbook order of steps, each one a pass over the frames, in float32."""
    front = ours.config
    window = torch.from_numpy(front.taper()).float()

    def extract(waves: Tensor) -> Tensor:
        frames = waves.unfold(1, front.samples, front.shift)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        spectrum = torch.fft.rfft((frames - front.emphasis * before) * window, n=512)[..., :256]
        return ((spectrum.abs().square()) @ ours.filters).clamp(min=front.floor).log()

    return extract


def fastest(extract: Callable[[Tensor], Tensor], waves: Tensor, repeats: int = 7) -> float:
    """Seconds of the fastest of some runs, the first one aside."""
    extract(waves)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        extract(waves)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = FrontEnd(mean_norm=False)
    ours, matrix = Fbank(plain), Fbank(plain).eval()
    waves, probe = 0.1 * torch.randn(64, 32_000), 0.1 + 0.01 * torch.randn(1, 16_000)
    truth = fbank(probe[0].numpy())
    rows: dict[str, Callable[[Tensor], Tensor]] = {
        "FFT": with_fft(ours),
        "one matrix": matrix,
        "FFT in blocks": ours,
    }
    baseline = fastest(rows["FFT"], waves)
    sys.stdout.write(
        "| front end | ms for 64 crops of 2 s | speed, FFT = 1 | largest error |\n|---|---|---|---|\n"
    )
    for name, extract in rows.items():
        seconds = baseline if name == "FFT" else fastest(extract, waves)
        error = np.abs(extract(probe)[0].numpy() - truth).max()
        sys.stdout.write(f"| {name} | {1e3 * seconds:.0f} | {baseline / seconds:.2f} | {error:.1e} |\n")


if __name__ == "__main__":
    main()
