"""One file → int16 samples, or the reason why not; runs in processes of its own, which import little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait

import numpy as np

from distilvox.audio import read_sound
from distilvox.sound import AudioError, Sound

Job = tuple[str, tuple[float, float | None] | None]
"""A file, and the seconds of it that are wanted; None is all of it."""

Decoded = Sound | str
"""Samples int16 [N] and notes, or the reason why the file cannot be used."""


def decode(job: Job) -> Decoded:
    """Reads one file, or a part of it, as a corpus holds it."""
    try:
        return read_sound(job[0], span=job[1], dtype=np.int16)
    except AudioError as error:
        return error.reason
    except MemoryError:
        return "too long for the memory of this machine"


def decode_all(jobs: Sequence[Job]) -> list[Decoded]:
    """Reads several files: one message between processes instead of many."""
    return [decode(job) for job in jobs]


def start_worker() -> None:
    """Leaves Ctrl-C to the main process, and ends when that one is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
