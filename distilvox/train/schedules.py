"""Learning rate as a pure function of the step."""

from __future__ import annotations

import math


def learning_rate(step: int, *, total_steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Linear warm-up from 0 to `peak`, then half a cosine down to `final` at the last step.

    Args:
        step: from 0 to total_steps − 1.
        total_steps: length of the whole run.
        warmup_steps: steps of the rise; the first step already learns (peak / warmup_steps).
        peak, final: learning rates, peak ≥ final ≥ 0.

    >>> [round(learning_rate(s, total_steps=6, warmup_steps=2, peak=1.0, final=0.0), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.25, 0.0]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    span = max(total_steps - 1 - warmup_steps, 1)
    progress = min((step - warmup_steps) / span, 1.0)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress))
