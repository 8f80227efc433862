"""Speed beside error, each against a named baseline in the same run: `python -m bench` writes BENCH.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what was done.
        baseline: what it is compared with.
        seconds, baseline_seconds: median wall time of the same work, on one thread.
        error: largest difference of our result from the truth; `of` says from which and in what unit.
        note: anything else that was measured; may be empty.
    """

    work: str
    baseline: str
    seconds: float
    baseline_seconds: float
    error: float
    of: str
    note: str = ""

    @property
    def faster(self) -> float:
        return self.baseline_seconds / self.seconds


def median(call: Callable[[], object], repeats: int = 5, *, warm: int = 1) -> float:
    """Median wall time of a call in seconds, the first `warm` calls aside."""
    times = []
    for _ in range(warm + repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm:])
