"""Work in processes of its own, several at a time: each piece starts a process, on its device, and takes it along.

A process that ends gives everything back (memory maps, the memory of its GPU), and whoever dies takes no other with it.
Workers end when their parent does, however it ends (`distilvox.interrupts`).
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

from distilvox.errors import UserError
from distilvox.interrupts import begin_work

Piece = TypeVar("Piece")


def devices_of(name: str) -> list[str]:
    """The devices over which work asked for on `name` spreads: every GPU for `auto` and `cuda`, else that one.

    >>> devices_of("cpu"), devices_of("cuda:1")
    (['cpu'], ['cuda:1'])
    """
    count = torch.cuda.device_count() if name in ("auto", "cuda") and torch.cuda.is_available() else 0
    return [f"cuda:{k}" for k in range(count)] or [name]


def at_once(
    work: Callable[[Piece, str], None], pieces: Sequence[Piece], jobs: int, device: str
) -> Iterator[tuple[Piece, UserError | None]]:
    """Calls `work(piece, device)` for every piece, `jobs` at a time; yields each that is done, with its error.

    Args:
        work: a function of a module, as a process that is started anew can find it.
        pieces: travel to the process.
        device: as `pick_device` takes it; job k of several works on the k-th of `devices_of`.
    """
    context, devices = multiprocessing.get_context("spawn"), devices_of(device)
    waiting, places = deque(pieces), list(range(jobs))
    running: dict[int, tuple[Any, Connection, Piece, int]] = {}
    try:
        while waiting or running:
            while waiting and places:
                piece, place = waiting.popleft(), places.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(work, piece, devices[place % len(devices)], theirs), daemon=True
                )
                process.start()
                theirs.close()
                running[process.sentinel] = (process, ours, piece, place)
            for sentinel in set(running).intersection(wait(list(running))):
                process, ours, piece, place = running.pop(sentinel)
                process.join()
                places.append(place)
                yield piece, _outcome(ours, process.exitcode)
    finally:
        for process, *_ in running.values():
            process.terminate()
            process.join()


def _outcome(pipe: Connection, exit_code: int | None) -> UserError | None:
    """What a process that has ended said of its work."""
    with pipe:
        try:
            return pipe.recv()
        except EOFError:
            killed = exit_code is not None and exit_code < 0
            how = (
                "was killed, perhaps for its memory"
                if killed
                else f"failed (its error stands above), {exit_code}"
            )
            return UserError(
                f"a process of the study {how}", remedy="run the study again, with fewer --jobs", exit_code=1
            )


def _work(work: Callable[[Piece, str], None], piece: Piece, device: str, pipe: Connection) -> None:
    begin_work()
    try:
        work(piece, device)
    except UserError as error:
        pipe.send(error)
    else:
        pipe.send(None)
