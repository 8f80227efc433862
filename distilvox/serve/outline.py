"""What a page draws of a recording: its shape, and where it holds sound."""

from __future__ import annotations

import numpy as np

from distilvox.sound import FRAME_SECONDS, SHIFT_SECONDS, frame_levels, sounding

COLUMNS = 240
"""Of a drawn wave."""

JOIN_SECONDS = 0.2
"""Spans of sound with less between them are drawn as one."""


def peaks(wave: np.ndarray) -> list[float]:
    """The largest size of a wave [N], N > 0, within each of at most `COLUMNS` equal parts, in [0, 1].

    >>> peaks(np.array([0.5, -0.25, 0.0]))
    [0.5, 0.25, 0.0]
    """
    starts = np.unique(np.arange(COLUMNS) * len(wave) // COLUMNS)
    return [round(one, 4) for one in np.maximum.reduceat(np.abs(wave), starts).tolist()]


def spans(wave: np.ndarray, levels: np.ndarray | None = None) -> list[tuple[float, float]]:
    """First and last second of each span of frames with sound in a wave [N] at 16 kHz; `levels` as of `measure`."""
    (at,) = np.nonzero(sounding(frame_levels(wave) if levels is None else levels))
    if not len(at):
        return []
    (breaks,) = np.nonzero(np.diff(at) > JOIN_SECONDS / SHIFT_SECONDS)
    firsts, lasts = np.append(at[0], at[breaks + 1]), np.append(at[breaks], at[-1])
    starts, ends = firsts * SHIFT_SECONDS, lasts * SHIFT_SECONDS + FRAME_SECONDS
    return [(round(a, 2), round(b, 2)) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
