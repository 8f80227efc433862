"""How long identifying takes, and how often it is the right person: `python -m bench.identify RUN`.

RUN is a judged run: the embeddings of its trials' utterances are enrolled (three a speaker) and asked for (the others),
among people who are drawn with the mean and the covariance of these speakers. Prints one Markdown table; times are of
the processor, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from distilvox.evaluation.judge import SCORES
from distilvox.ship import bookfile
from distilvox.ship.book import Book
from distilvox.ship.cohesion import mean_of, unit
from distilvox.ship.person import Recording, Space, digest, now

ENROLLED = 3
"""Recordings of each speaker."""

CHUNK = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--people", nargs="+", type=int, default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=500, help="recordings to ask for")
    options = parser.parse_args()
    with np.load(options.run / SCORES, allow_pickle=False) as held:
        embeddings, speakers = held["embeddings"], held["speakers"]
    known = {name: embeddings[speakers == name] for name in np.unique(speakers).tolist()}
    known = {name: each for name, each in known.items() if len(each) > ENROLLED}
    out = sys.stdout.write
    out(
        "| enrolled | MB | first, CPU ms | first with the copy | then, median (fastest) | right first | in 5 |\n"
    )
    out("|---:|---:|---:|---:|---:|---:|---:|\n")
    for people in options.people:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "people.book"
            fill(path, known, people)
            out(f"| {people:,} | {row(path, known, options.repeats)} |\n")
            sys.stdout.flush()


def fill(path: Path, known: dict[str, np.ndarray], people: int) -> None:
    """A book of the known people, as `enrol` makes it, and of drawn ones, written at once."""
    means = np.stack([mean_of(each[:ENROLLED]) for each in known.values()]).astype(np.float64)
    dim = means.shape[1]
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(np.cov(means.T) + 1e-6 * np.eye(dim))
    with Book.open(path, Space("0" * 16, dim, "0" * 16), create=True) as book:
        for name, each in known.items():
            some = [Recording(e, digest(name, e.tobytes()), 3.0) for e in each[:ENROLLED].astype(np.float32)]
            book.enrol(name, some, force=True)
        text = "INSERT INTO people (name, made, changed, count, mean, digest) VALUES (?, ?, ?, 1, ?, ?)"
        made = now()
        with bookfile.transaction(book.connection):
            changes = (
                book.connection.execute("SELECT value FROM about WHERE key = 'changes'").fetchone()[0] + 1
            )
            book.connection.execute("UPDATE about SET value = ? WHERE key = 'changes'", (changes,))
            for start in range(len(known), people, CHUNK):
                count = min(CHUNK, people - start)
                drawn = unit(means.mean(axis=0) + rng.standard_normal((count, dim)) @ root.T).astype("<f4")
                names = (f"drawn {start + k}" for k in range(count))
                blobs = [(name, one.tobytes()) for name, one in zip(names, drawn, strict=True)]
                rows = [(name, made, changes, blob, digest(name, blob)) for name, blob in blobs]
                book.connection.executemany(text, rows)


def row(path: Path, known: dict[str, np.ndarray], repeats: int) -> str:
    """The cells of one size: sizes of the files, times, and the share of the right people."""
    asked = [(name, each) for name, some in known.items() for each in some[ENROLLED:]]
    firsts = []
    for _ in range(2):  # the second finds the copy of the vectors that the first has written
        with Book.open(path) as book:
            begun = time.process_time()
            book.identify(asked[0][1])
            firsts.append(1e3 * (time.process_time() - begun))
    with Book.open(path) as book:
        times, places = [], []
        for name, embedding in asked:
            begun = time.process_time()
            found = [one for one, _ in book.identify(embedding, 5)]
            times.append(1e3 * (time.process_time() - begun))
            places.append(found.index(name) if name in found else 5)
            if len(times) >= repeats:
                break
    size = sum(file.stat().st_size for file in path.parent.iterdir()) / 1e6
    first, five = (np.mean(np.array(places) < most) for most in (1, 5))
    then = f"{statistics.median(times):.1f} ({min(times):.1f})"
    return f"{size:,.0f} | {firsts[0]:,.0f} | {firsts[1]:,.0f} | {then} | {first:.1%} | {five:.1%}"


if __name__ == "__main__":
    main()
