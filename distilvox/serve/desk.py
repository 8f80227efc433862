"""So many requests at once, so many waiting; the others are told to come again. Threads do the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from distilvox.serve.problems import Turned

T = TypeVar("T")

RETRY_SECONDS = 2
"""When one who was sent away may try again."""


class Desk:
    """A bounded queue before some threads. Used from one event loop.

    Args:
        threads: that work, at least 1.
        queue: requests that may wait, or send their bodies, beside those that are worked on.
        wait_seconds: how long one waits for a thread at most.
    """

    def __init__(self, threads: int, queue: int, wait_seconds: float) -> None:
        self.most, self.wait_seconds = threads + queue, wait_seconds
        self.inside = 0
        self._free = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="distilvox-serve")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request, from before its body is read until it is answered.

        Raises:
            Turned: 503, all are taken.
        """
        if self.inside >= self.most:
            raise busy(f"{self.inside} requests inside", f"{self.most}, those that are worked on included")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def do(self, work: Callable[[], T]) -> T:
        """Runs it in a thread, as soon as one is free.

        Raises:
            Turned: 503, none was free in time.
        """
        try:
            async with asyncio.timeout(self.wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise busy(f"no thread free for {self.wait_seconds:g} s", None) from None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._free.release()

    def close(self) -> None:
        """Waits for what is being worked on, and ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def busy(got: str, allowed: str | None) -> Turned:
    return Turned(
        503,
        "the service is busy",
        got=got,
        allowed=allowed,
        remedy=f"try again in {RETRY_SECONDS} s; more --threads or a longer --queue take more at once",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )
