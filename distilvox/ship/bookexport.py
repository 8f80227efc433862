"""A book's people and their embeddings in a file for other programs: Parquet, or NumPy's own format.

Parquet is what vector databases take; it needs pyarrow, of the extra [train]. `.npz` needs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from distilvox.errors import require
from distilvox.files import atomic_file
from distilvox.ship.book import Book
from distilvox.ship.nearest import private
from distilvox.ship.person import Person

AT_A_TIME = 10_000

KINDS = (".parquet", ".npz")


def export_book(book: Book, out: Path) -> int:
    """Writes name, number of recordings, time of enrolment and unit mean [D] of everybody; readable by its owner.

    Parquet: columns name, count, made, embedding (a list of D float32); the space and the calibration stand in the
    schema's metadata, under `distilvox`. npz: arrays names, counts, made, embeddings, and space.

    Returns:
        how many people it holds.
    """
    require(
        out.suffix in KINDS, "unknown kind of export", got=out.name, allowed=f"a name in {' or '.join(KINDS)}"
    )
    with atomic_file(out) as temporary, open(private(temporary), "wb") as file:
        if out.suffix == ".npz":
            people = list(book.people())
            np.savez(
                file,
                names=np.array([one.name for one in people], dtype=str),
                counts=np.array([one.count for one in people], np.int64),
                made=np.array([one.made for one in people], dtype=str),
                embeddings=np.array([one.mean for one in people], np.float32).reshape(len(people), book.dim),
                space=np.array(book.space.id),
            )
            return len(people)
        return _parquet(book, file)


def _parquet(book: Book, file: object) -> int:
    import pyarrow
    import pyarrow.parquet

    about = {key: book.about()[key] for key in ("space", "dim", "calibration")}
    schema = pyarrow.schema(
        [
            ("name", pyarrow.string()),
            ("count", pyarrow.int64()),
            ("made", pyarrow.string()),
            ("embedding", pyarrow.list_(pyarrow.float32(), book.dim)),
        ],
        metadata={"distilvox": json.dumps(about)},
    )
    written = 0
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for some in _batches(book.people()):
            means = np.stack([one.mean for one in some]).astype(np.float32).ravel()
            columns = [
                pyarrow.array([one.name for one in some]),
                pyarrow.array([one.count for one in some]),
                pyarrow.array([one.made for one in some]),
                pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(means), book.dim),
            ]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))
            written += len(some)
    return written


def _batches(people: Iterator[Person]) -> Iterator[list[Person]]:
    while some := list(islice(people, AT_A_TIME)):
        yield some
