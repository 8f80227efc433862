"""One file → int16 samples, or the reason why not; runs in processes of its own, which import little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait

import numpy as np

from distilvox.audio import AudioError, read_audio

Decoded = tuple[np.ndarray, int] | str
"""Samples int16 [N] and how many of them were clipped, or the reason why the file cannot be used."""


def decode(path: str) -> Decoded:
    """Reads one file as a corpus holds it."""
    try:
        return to_int16(read_audio(path))
    except AudioError as error:
        return error.reason
    except MemoryError:
        return "too long for the memory of this machine"


def decode_all(paths: Sequence[str]) -> list[Decoded]:
    """Reads several files: one message between processes instead of many."""
    return [decode(path) for path in paths]


def to_int16(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """Float [N] in [-1, 1] → int16 [N] (times 32768, rounded, clipped), and the number of clipped samples."""
    scaled = np.rint(wave * np.float32(32768.0))
    clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype(np.int16), clipped


def start_worker() -> None:
    """Leaves Ctrl-C to the main process, and ends when that one is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
