"""The nearest people: equal to the plain product, with and without the copy, whatever changed since it was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.ship import nearest
from distilvox.ship.book import Book
from distilvox.ship.nearest import Means, best, copy_of
from distilvox.ship.person import Recording, Space

DIM = 16
SPACE = Space("0123456789abcdef", DIM, "c" * 16)


def add(book: Book, name: str, vector: np.ndarray) -> None:
    vector = vector.astype(np.float32)
    book.enrol(name, [Recording(vector, hashlib.sha256(vector.tobytes()).digest(), 1.0)], force=True)


def plainly(book: Book, query: np.ndarray, top: int) -> list[str]:
    """By one cosine after the other."""
    scored = [(-float(one.mean @ query / np.linalg.norm(query)), one.name) for one in book.people()]
    return [name for _, name in sorted(scored)[:top]]


def names(book: Book, query: np.ndarray, top: int) -> list[str]:
    return [name for name, _ in book.identify(query, top)]


@pytest.fixture
def book(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Book:
    """Fifty people, in a book that keeps a copy from ten on."""
    monkeypatch.setattr(nearest, "COPIED_FROM", 10)
    opened = Book.open(tmp_path / "people.book", SPACE, create=True)
    for k in range(50):
        add(opened, f"p{k:02}", rng.standard_normal(DIM))
    return opened


@pytest.mark.parametrize("top", [1, 5, 50, 200])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_find_what_the_plain_product_finds(
    top: int, block: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "BLOCK", block)
    units = rng.standard_normal((100, DIM)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = best(Means(np.arange(100) * 3, units, 0, 0), units[42], top)
    found = sorted(found, key=lambda one: (-one[1], one[0]))[:top]
    assert [number for number, _ in found] == (np.argsort(-(units @ units[42]))[:top] * 3).tolist()
    assert found[0] == (126, pytest.approx(1.0, abs=1e-6))


def test_a_book_and_its_copy_agree(book: Book, rng: np.random.Generator) -> None:
    query = rng.standard_normal(DIM)
    expected = plainly(book, query, 5)
    assert names(book, query, 5) == expected
    assert copy_of(book.path).exists()
    with Book.open(book.path, SPACE) as again:
        assert names(again, query, 5) == expected
        assert isinstance(again.nearest._base.units, np.memmap)  # type: ignore[union-attr]


def test_changes_after_the_copy_count(book: Book, rng: np.random.Generator) -> None:
    """New people, changed people and removed people, seen by a book opened before and one opened after."""
    query = rng.standard_normal(DIM)
    names(book, query, 1)
    with Book.open(book.path, SPACE) as writer:
        names(writer, query, 1)
        add(writer, "new", query)
        add(writer, "p07", 5 * query)
        assert names(book, query, 1) == ["new"]
        gone = plainly(book, query, 4)
        for name in gone[1:]:
            writer.remove(name)
    for opened in (book, Book.open(book.path, SPACE)):
        assert names(opened, query, 5) == plainly(opened, query, 5)
        assert names(opened, query, 100) == plainly(opened, query, 100)
    assert "p07" not in gone[1:] or "p07" not in names(book, query, 100)


def test_nothing_of_the_removed_is_in_the_copy(book: Book, rng: np.random.Generator) -> None:
    names(book, rng.standard_normal(DIM), 1)
    mean = book.person("p20").mean.tobytes()
    assert mean in copy_of(book.path).read_bytes()
    book.remove("p20")
    assert mean not in copy_of(book.path).read_bytes()


def test_a_removal_that_was_undone_leaves_nobody_out(book: Book, rng: np.random.Generator) -> None:
    """A kill between the copy's change and the commit: the copy no longer fits, and everybody is found."""
    query = rng.standard_normal(DIM)
    names(book, query, 1)
    victim = book.person("p20")
    nearest.forget(book.path, victim.id, book.about()["removals"] + 1)  # and then no commit
    with Book.open(book.path, SPACE) as again:
        assert names(again, victim.mean, 1) == ["p20"]
        nearest.forget(book.path, victim.id, book.about()["removals"] + 1)
        again.remove("p21")
    with Book.open(book.path, SPACE) as again:
        assert names(again, victim.mean, 1) == ["p20"]
        assert "p21" not in names(again, victim.mean, 100)


@pytest.mark.parametrize("content", [b"", b"short", bytes(200), b"distilvox vectors 1" + bytes(300)])
def test_a_copy_that_is_none_is_ignored(content: bytes, book: Book, rng: np.random.Generator) -> None:
    query = rng.standard_normal(DIM)
    copy_of(book.path).write_bytes(content)
    assert names(book, query, 5) == plainly(book, query, 5)
    copy_of(book.path).write_bytes(content)
    book.remove("p01")


def test_a_damaged_copy_invents_nobody(book: Book, rng: np.random.Generator) -> None:
    """The copy only proposes: what is answered is read from the book."""
    query = rng.standard_normal(DIM).astype(np.float32)
    names(book, query, 1)
    data = bytearray(copy_of(book.path).read_bytes())
    data[-4 * DIM :] = (query / np.linalg.norm(query)).tobytes()
    copy_of(book.path).write_bytes(data)
    with Book.open(book.path, SPACE) as again:
        assert all(score < 0.95 for _, score in again.identify(query, 3))


def test_edges(tmp_path: Path) -> None:
    with Book.open(tmp_path / "empty.book", SPACE, create=True) as book:
        assert book.identify(np.ones(DIM), 5) == []
        add(book, "Anna", np.ones(DIM))
        assert book.identify(np.ones(DIM), 5) == [("Anna", pytest.approx(1))]
        with pytest.raises(UserError, match="top is a number of people"):
            book.identify(np.ones(DIM), 0)
        with pytest.raises(UserError, match="no embedding of the book's model"):
            book.identify(np.ones(3), 1)
