"""How long a model's embeddings of speech are: what lies far outside is no speech.

A network puts noise and tones somewhere, too, and there two of them have a high cosine; but their embeddings are often
many times longer or shorter than any of speech. The range is measured when a model is exported, and is on its card.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distilvox.errors import require
from distilvox.ship.quality import first_seconds

BEYOND = 2.0
"""How far outside the range of speech a length may lie, as a factor: noise as loud as the speech moves it by 1.6."""

LEAST_SECONDS = 1.0
"""Of sound: ranges are measured on whole recordings and on their first second."""


@dataclass(frozen=True)
class Lengths:
    """The lengths of a model's embeddings of speech.

    Args:
        low, high: between which 98 % of them lie.
        recordings: how many were measured.
    """

    low: float
    high: float
    recordings: int

    def __post_init__(self) -> None:
        good = all(isinstance(x, int | float) and math.isfinite(x) for x in (self.low, self.high))
        require(
            good and 0 < self.low <= self.high,
            "lengths of embeddings must be a range",
            got=f"{self.low} … {self.high}",
            allowed="0 < low ≤ high",
        )

    def refusal(self, embedding: np.ndarray) -> str | None:
        """Why an embedding [D] is none of speech; None where its length is one of speech.

        >>> Lengths(5.0, 10.0, 64).refusal(np.array([300.0, 0.0]))
        'no speech: its embedding has a length of 300, speech of 2.5 to 20'
        """
        length = float(np.linalg.norm(np.asarray(embedding, np.float64)))
        low, high = self.low / BEYOND, self.high * BEYOND
        if low <= length <= high:
            return None
        return f"no speech: its embedding has a length of {length:.3g}, speech of {low:.3g} to {high:.3g}"


def measure_lengths(embed: Callable[[np.ndarray], np.ndarray], waves: Sequence[np.ndarray]) -> Lengths | None:
    """The lengths of embeddings of recordings of speech [N], whole and by their first second; None for none of them."""
    found = []
    for wave in waves:
        start = first_seconds(wave, LEAST_SECONDS)
        found += [float(np.linalg.norm(embed(part))) for part in (wave, start) if part is not None]
    if not found:
        return None
    low, high = np.quantile(found, [0.01, 0.99]).tolist()
    return Lengths(low, high, len(waves)) if low > 0 and math.isfinite(high) else None
