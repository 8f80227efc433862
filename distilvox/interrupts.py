"""SIGTERM, by which schedulers announce the end: nothing is left half done, and the process exits with 143.

A verb stops where it is (`at_once`): what it writes is whole or absent anyway. What would lose work stops where none is
lost (`patient`): a training after its next checkpoint. Worker processes end with the process that they work for.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from types import FrameType

from distilvox.errors import UserError

EXIT_CODE = 128 + signal.SIGTERM

KEPT = "what was written so far is whole, and the same command goes on where it can"


class Terminated(SystemExit):
    """The process was asked to end. `line` is what people are told: what is kept, and how to go on; may be empty."""

    def __init__(self, line: str = KEPT) -> None:
        super().__init__(int(EXIT_CODE))
        self.line = line


@contextmanager
def patient() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM raises nothing: what is yielded says whether it came.

    An error that comes after it (another process of a group has gone) is `Terminated` too, without a line.
    """
    came: list[int] = []

    def asked() -> bool:
        return bool(came)

    try:
        with _handled_by(lambda number, _: came.append(number)):
            yield asked
    except Exception as error:
        if came and not isinstance(error, UserError):
            raise Terminated("") from error
        raise


@contextmanager
def at_once() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`: for what is whole or absent, or is done again anyway."""
    with _handled_by(_raise):
        yield


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes that end with this one, however it ends; an error in the block ends them, too."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=begin_work)
    try:
        yield pool
    except BaseException:
        for child in active_children():
            child.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def leave_work(error: Terminated) -> None:
    """In a process of `workers`, ends it: a pool takes `Terminated` for a result. Elsewhere, raises it."""
    if parent_process() is None:
        raise error
    os._exit(int(EXIT_CODE))


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Signals come to the main thread alone: elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated


def begin_work() -> None:
    """What a worker process does first: it ends at SIGTERM, and with the process that started it."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(int(EXIT_CODE)))
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
