"""How long a student takes where it would run: on one core, in ONNX Runtime, waveform in, embedding out."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from distilvox import __version__
from distilvox.models import Student
from distilvox.ship.parity import probe_waves
from distilvox.ship.trace import write_onnx
from distilvox.sound import MIN_SECONDS, SAMPLE_RATE

WARM = 3
LEAST_RUNS, MOST_RUNS, BUDGET_SECONDS = 5, 50, 2.0
"""A small model is timed often, for the median's sake; a large one until it has had its two seconds."""


@dataclass(frozen=True)
class Speed:
    """Wall time of one embedding, in seconds.

    Attributes:
        median, fastest: over `runs` calls, after some to warm up; far apart, the machine was busy.
        runs: how many calls.
        utterance: seconds of speech in each.
    """

    median: float
    fastest: float
    runs: int
    utterance: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of speech: below 1 is faster than speech."""
        return self.median / self.utterance


def time_student(student: Student, *, seconds: float) -> Speed:
    """Exports a student, front end and all, to a temporary file and times it on one utterance.

    Float32, one thread. Weights do not matter to how long a sum takes, so an untrained student will do.

    Args:
        student: in evaluation mode, on the CPU.
        seconds: of the utterance, at least half a second.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(
            student,
            path,
            torch.zeros(2, SAMPLE_RATE + 400),
            names=("waves", "embedding"),
            length="samples",
            shortest=round(MIN_SECONDS * SAMPLE_RATE),
            metadata={},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {"waves": probe_waves(1, round(seconds * SAMPLE_RATE))}
    times: list[float] = []
    for _ in range(WARM):
        session.run(None, given)
    while len(times) < LEAST_RUNS or (len(times) < MOST_RUNS and sum(times) < BUDGET_SECONDS):
        start = time.perf_counter()
        session.run(None, given)
        times.append(time.perf_counter() - start)
    return Speed(statistics.median(times), min(times), len(times), seconds)


def machine() -> dict[str, Any]:
    """The processor by name, its cores, and the versions that decide over speed."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": next(iter(named), "") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "distilvox": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
