"""Eight processes enrol and identify in one book, one of them is killed every second: `python -m bench.kills`.

Each process notes what `enrol` said to be done. Afterwards the book is counted and hashed: nothing that was noted may
be missing or altered, nothing half-written or doubled. A kill may fall between the commit and the note.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distilvox.ship.book import Book
from distilvox.ship.bookcheck import check_book
from tests.test_ship_book import SPACE, WORKER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, started = Path(folder), 0
        running: list[subprocess.Popen[bytes]] = []
        chance, killed, end = random.Random(0), 0, time.monotonic() + options.seconds
        while time.monotonic() < end:
            while len(running) < options.processes:
                started += 1
                running.append(start(home, started))
            time.sleep(1)
            victim = running.pop(chance.randrange(len(running)))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            killed += 1
        for one in running:
            one.send_signal(signal.SIGKILL)
            one.wait()
        sys.stdout.write(counted(home, started, killed + len(running)) + "\n")


def start(home: Path, number: int) -> subprocess.Popen[bytes]:
    """One process that enrols and identifies until it is killed."""
    words = [
        sys.executable,
        "-c",
        WORKER,
        str(home / "people.book"),
        str(home / f"log{number}"),
        str(number),
        "1e6",
    ]
    return subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})


def counted(home: Path, started: int, killed: int) -> str:
    """What is in the book, against what was noted."""
    lines = [
        line.split() for log in home.glob("log*") for line in log.read_text().splitlines() if len(line) > 66
    ]
    noted: dict[str, str] = dict(lines)
    with Book.open(home / "people.book", SPACE) as book:
        found = check_book(book)
        names = [person.name for person in book.people()]
        held = {
            name: hashlib.sha256(b"".join(v.tobytes() for _, v in book.recordings(name))).hexdigest()
            for name in names
        }
    lost = sum(name not in held for name in noted)
    altered = sum(name in held and held[name] != said for name, said in noted.items())
    return (
        f"{started} processes started, {killed} killed; {found.people:,} people, {found.recordings:,} recordings\n"
        f"noted {len(noted):,}: {lost} lost, {altered} altered; {len(names) - len(set(names))} doubled, "
        f"{found.recordings - 3 * found.people} half-written; {len(names) - len(noted)} committed and not yet noted"
    )


if __name__ == "__main__":
    main()
