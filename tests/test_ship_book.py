"""The book: nothing lost, nothing doubled, nothing left of the deleted; names are data; damage is named."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from distilvox.errors import UserError
from distilvox.ship import bookfile, journal
from distilvox.ship.book import Book
from distilvox.ship.bookcheck import check_book
from distilvox.ship.bookexport import export_book
from distilvox.ship.decision import decide
from distilvox.ship.person import Recording, Space, checked_name

DIM = 32
SPACE = Space("0123456789abcdef", DIM, "c" * 16, "bundle")


def recording(vector: np.ndarray, source: str = "a.wav") -> Recording:
    vector = np.asarray(vector, np.float32)
    return Recording(vector, hashlib.sha256(vector.tobytes()).digest(), 3.0, source)


def voice(rng: np.random.Generator, count: int = 3, spread: float = 0.3) -> list[Recording]:
    """Some recordings of one new person."""
    centre = rng.standard_normal(DIM)
    return [recording(centre + spread * rng.standard_normal(DIM), f"{k}.wav") for k in range(count)]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book.open(tmp_path / "people.book", SPACE, create=True)


# --- enrolling ------------------------------------------------------------------------------------------


def test_what_was_enrolled_is_read_back(book: Book, rng: np.random.Generator) -> None:
    some = voice(rng)
    done = book.enrol("Anna", some)
    assert (done.added, done.known, done.count, done.misfits) == (3, 0, 3, ())
    book.close()
    with Book.open(book.path, SPACE) as again:
        person = again.person("Anna")
        units = np.stack([r.embedding / np.linalg.norm(r.embedding) for r in some])
        mean = units.mean(0) / np.linalg.norm(units.mean(0))
        np.testing.assert_allclose(person.mean, mean, atol=1e-6)
        assert [source for source, _ in again.recordings("Anna")] == ["0.wav", "1.wav", "2.wav"]
        np.testing.assert_array_equal(again.recordings("Anna")[1][1], some[1].embedding)
        assert check_book(again).recordings == 3


def test_the_file_is_its_owners_alone(book: Book, rng: np.random.Generator) -> None:
    book.enrol("Anna", voice(rng))
    files = list(book.path.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_recording_is_not_enrolled_twice(book: Book, rng: np.random.Generator) -> None:
    some = voice(rng)
    book.enrol("Anna", some[:2])
    again = book.enrol("Anna", [some[1], some[1], some[2]])
    assert (again.added, again.known, again.count) == (1, 2, 3)
    once = book.enrol("Bert", [some[0]] * 3)
    assert (once.added, once.count, once.fit) == (1, 1, None)


def test_one_that_does_not_fit_is_named_and_nothing_is_enrolled(book: Book, rng: np.random.Generator) -> None:
    some = voice(rng, 4)
    other = recording(-some[0].embedding, "other.wav")
    with pytest.raises(
        UserError, match=r"1 of the recordings of 'Anna' do not fit[\s\S]*other\.wav at -0\.\d"
    ):
        book.enrol("Anna", [*some, other])
    assert len(book) == 0
    assert book.enrol("Anna", [*some, other], force=True).misfits == ("other.wav",)
    assert book.enrol("Anna", some).known == 4  # what is enrolled already is not judged again


def test_a_threshold_bounds_the_fit(book: Book, rng: np.random.Generator) -> None:
    some = voice(rng, 2, spread=0.7)
    with pytest.raises(UserError, match=r"2 of the recordings[\s\S]*above 0\.990[\s\S]*--force"):
        book.enrol("Anna", some, threshold=0.99)
    assert book.enrol("Anna", some, threshold=0.0).added == 2


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(DIM + 1), "no embedding of the book's model"),
        (np.full(DIM, np.nan), "no embedding of the book's"),
    ],
)
def test_what_is_no_embedding_is_refused(book: Book, vector: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        book.enrol("Anna", [recording(vector)])
    with pytest.raises(UserError, match="zeros has no direction"):
        book.enrol("Anna", [recording(np.zeros(DIM))])
    with pytest.raises(UserError, match="nothing to enrol"):
        book.enrol("Anna", [])


# --- names ----------------------------------------------------------------------------------------------

HOSTILE = [
    "'; DROP TABLE people; --", '"', "../../etc/passwd", "/", "C:\\con", "%s{}$HOME`id`", "<script>alert(1)</script>",
    "[red]x[/]", "-rf", "--force", "NULL", "O'Hara", "名前", "Ägir", "علی\u200cرضا", "🦊", "a" * 200, "*", "people",
]  # fmt: skip


def test_names_are_data(book: Book, rng: np.random.Generator) -> None:
    held = {name: voice(rng, 1)[0] for name in HOSTILE}
    for name, one in held.items():
        book.enrol(name, [one])
    assert [person.name for person in book.people()] == HOSTILE
    assert all(book.identify(one.embedding, 1)[0][0] == name for name, one in held.items())
    for name in HOSTILE[::2]:
        book.remove(name)
    assert [person.name for person in book.people()] == HOSTILE[1::2]
    assert {file.name for file in book.path.parent.iterdir()} <= {
        "people.book",
        "people.book-wal",
        "people.book-shm",
    }


def test_one_name_has_one_spelling(book: Book, rng: np.random.Generator) -> None:
    book.enrol("Rene\u0301", voice(rng, 1))
    assert book.person("Ren\u00e9").name == "Ren\u00e9"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "needs a name"),
        (" a", "no blanks at its ends"),
        ("a" * 201, "too long"),
        ("a\0b", r"U\+0000"),
        ("a\nb", r"U\+000A"),
        ("\x1b[2J", r"U\+001B"),
        ("a\u202eb", r"U\+202E"),
        ("\udcff", r"U\+DCFF"),
    ],
)
def test_names_that_would_deceive_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_name(name)


def test_an_unknown_name_says_who_is_near(book: Book, rng: np.random.Generator) -> None:
    book.enrol("Johanna", voice(rng))
    with pytest.raises(UserError, match=r"nobody of this name[\s\S]*did you mean 'Johanna'"):
        book.person("Johana")


# --- another model --------------------------------------------------------------------------------------


def test_a_book_of_another_model_is_refused(book: Book) -> None:
    with pytest.raises(
        UserError, match=r"made with another model[\s\S]*such as bundle[\s\S]*enrol everybody anew"
    ):
        Book.open(book.path, Space("f" * 16, DIM, SPACE.calibration))
    other = Space(SPACE.id, DIM, "d" * 16, "newer")
    with pytest.raises(UserError, match=r"another calibration of the same model[\s\S]*book adopt"):
        Book.open(book.path, other, create=True)
    book.adopt(other)
    assert Book.open(book.path, other).space == other
    with pytest.raises(UserError, match="another model"):
        book.adopt(Space("f" * 16, DIM, "d" * 16))


# --- deleting -------------------------------------------------------------------------------------------


def traces(path: Path, vectors: list[np.ndarray], name: str) -> int:
    """How many embeddings (any 16 bytes of them at three places) or names are left in any file of the book."""
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    data = [np.asarray(v, np.float32).tobytes() for v in vectors]
    pieces = [d[start : start + 16] for d in data for start in (0, len(d) // 2, len(d) - 16)]
    return sum(piece in content for piece in [*pieces, name.encode()])


def test_deleting_deletes(book: Book, rng: np.random.Generator) -> None:
    """Enrolled in many steps, so that pages split and rows move; none of it is left behind."""
    people = {f"person {k:03} {rng.integers(10**9)}": voice(rng, 4) for k in range(60)}
    for part in (slice(0, 2), slice(2, 4)):
        for name, some in people.items():
            book.enrol(name, some[part])
    for name in list(people)[::5]:
        vectors = [one.embedding for one in people[name]]
        mean = book.person(name).mean
        assert traces(book.path, [*vectors, mean], name) == 3 * 5 + 1
        journal.write(book, "verify", name, f"{name}.wav", decide(0.5, None, None, "float32"))
        book.remove(name)
        assert traces(book.path, [*vectors, mean], name) == 0
    assert check_book(book).people == 48
    assert journal.read(book) == []


def test_a_reader_of_the_old_state_is_named(
    book: Book, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.enrol("Anna", voice(rng))
    with Book.open(book.path) as reader:
        reader.connection.execute("BEGIN")
        reader.connection.execute("SELECT * FROM people").fetchone()
        monkeypatch.setattr(bookfile, "PATIENCE_SECONDS", 0.05)
        book.connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(UserError, match=r"another process still reads the state before[\s\S]*book check"):
            book.remove("Anna")
    assert check_book(book).people == 0


# --- kills ----------------------------------------------------------------------------------------------

WORKER = """
import sys, time, hashlib, numpy as np
from pathlib import Path
from distilvox.ship.book import Book
from distilvox.ship.person import Recording, Space
path, log, seed, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
rng, end, k = np.random.default_rng(seed), time.monotonic() + seconds, 0
book = Book.open(path, Space("0123456789abcdef", 32, "c" * 16, "bundle"), create=True)
while time.monotonic() < end:
    name, centre = f"w{seed}-{k}", rng.standard_normal(32)
    some = [(centre + 0.3 * rng.standard_normal(32)).astype(np.float32) for _ in range(3)]
    book.enrol(name, [Recording(v, hashlib.sha256(v.tobytes()).digest(), 3.0, "a") for v in some])
    with open(log, "a") as file:
        file.write(name + " " + hashlib.sha256(b"".join(v.tobytes() for v in some)).hexdigest() + "\\n")
    assert book.identify(some[0], 1)[0][0] == name
    k += 1
"""


def test_many_processes_and_kills(tmp_path: Path) -> None:
    """Eight processes enrol and identify, two of them are killed again and again and start anew."""
    path, number = tmp_path / "people.book", 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def start(seconds: float) -> subprocess.Popen[bytes]:
        nonlocal number
        number += 1
        words = [
            sys.executable,
            "-c",
            WORKER,
            str(path),
            str(tmp_path / f"log{number}"),
            str(number),
            str(seconds),
        ]
        return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE)

    steady = [start(2.0) for _ in range(6)]
    victims = [start(60.0) for _ in range(2)]
    killed = 0
    while any(one.poll() is None for one in steady):
        time.sleep(0.7)
        victim = victims.pop(0)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        killed += 1
        victims.append(start(60.0))
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    for one in steady:
        assert (one.communicate()[1], one.returncode) == (b"", 0)

    logged = dict(
        line.split()
        for log in tmp_path.glob("log*")
        for line in log.read_text().splitlines()
        if len(line) > 66
    )
    with Book.open(path, SPACE) as book:
        found = check_book(book)
        names = [person.name for person in book.people()]
        hashes = {
            name: hashlib.sha256(b"".join(v.tobytes() for _, v in book.recordings(name))).hexdigest()
            for name in names
        }
    assert killed >= 2
    assert len(set(names)) == len(names) == found.people
    assert found.recordings == 3 * found.people
    assert logged.items() <= hashes.items()  # nothing that was said to be done is lost or altered
    assert len(names) - len(logged) <= killed + 2  # a kill may fall between the commit and the log


# --- full disks, damage ---------------------------------------------------------------------------------


def enrol_for_ever(book: Book, rng: np.random.Generator) -> None:
    for k in range(1000):
        book.enrol(f"p{k}", voice(rng, 10))


def test_a_full_disk_changes_nothing(book: Book, rng: np.random.Generator) -> None:
    book.enrol("Anna", voice(rng))
    pages = book.connection.execute("PRAGMA page_count").fetchone()[0]
    book.connection.execute(f"PRAGMA max_page_count = {pages}")
    message = r"the disk is full: nothing was written[\s\S]*free some space"
    with pytest.raises(UserError, match=message) as caught:
        enrol_for_ever(book, rng)
    assert caught.value.exit_code == 1
    before = len(book)
    book.connection.execute("PRAGMA max_page_count = 100000")
    assert check_book(book).people == before
    book.enrol("after", voice(rng))


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""


def test_a_limit_on_file_sizes_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "people.book"
    words = [sys.executable, "-c", LIMITED + WORKER, str(path), str(tmp_path / "log"), "1", "20"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "UserError: the disk refused: nothing was written" in ran.stderr
    with Book.open(path, SPACE) as book:
        assert check_book(book).people == len((tmp_path / "log").read_text().splitlines())


def test_what_is_no_book_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.book"
    text.write_text("my shopping list\n" * 100)
    sqlite3.connect(tmp_path / "other.book").execute("CREATE TABLE mine (x)")
    (tmp_path / "empty.book").touch()
    (tmp_path / "folder.book").mkdir()
    for name, message in {
        "text": "not a book, or damaged in its first bytes",
        "other": r"not a book of distilvox[\s\S]*another program's",
        "empty": r"not a book of distilvox[\s\S]*an empty file",
        "folder": "a book is a file, this is a folder",
        "absent": r"no book here[\s\S]*distilvox enrol",
    }.items():
        with pytest.raises(UserError, match=message):
            Book.open(tmp_path / f"{name}.book")
    for name in ("text", "other"):
        before = (tmp_path / f"{name}.book").read_bytes()
        with pytest.raises(UserError):
            Book.open(tmp_path / f"{name}.book", SPACE, create=True)
        assert (tmp_path / f"{name}.book").read_bytes() == before
    assert not (tmp_path / "absent.book").exists()
    Book.open(tmp_path / "empty.book", SPACE, create=True).enrol("Anna", [recording(np.ones(DIM))])


def test_damage_is_named(book: Book, rng: np.random.Generator, tmp_path: Path) -> None:
    for k in range(60):
        book.enrol(f"p{k}", voice(rng))
    mean = book.person("p30").mean.tobytes()
    check_book(book)
    book.close()
    whole = book.path.read_bytes()

    def damaged(data: bytes) -> Book:
        path = tmp_path / "damaged.book"
        path.write_bytes(data)
        return Book.open(path, SPACE)

    flipped = bytearray(whole)
    flipped[whole.index(mean) + 7] ^= 1
    with damaged(bytes(flipped)) as opened:
        with pytest.raises(UserError, match=r"damaged[\s\S]*'p30' is not the one that was enrolled"):
            opened.identify(np.ones(DIM), 1)
        with pytest.raises(UserError, match="damaged"):
            list(opened.people())
    with pytest.raises(UserError, match="this book is damaged"), damaged(whole[: len(whole) // 2]) as opened:
        check_book(opened)
    for start in range(4096, len(whole) - 4096, 4096):
        data = bytearray(whole)
        data[start : start + 4096] = rng.bytes(4096)
        with pytest.raises(UserError, match="damaged"), damaged(bytes(data)) as opened:
            check_book(opened)


def test_a_newer_book_asks_for_an_update(book: Book) -> None:
    book.connection.execute("PRAGMA user_version = 9")
    with pytest.raises(UserError, match=r"another version[\s\S]*version 9[\s\S]*update distilvox"):
        Book.open(book.path)


# --- journal and export ---------------------------------------------------------------------------------


def test_the_journal_keeps_what_was_decided(book: Book, rng: np.random.Generator) -> None:
    book.enrol("Anna", voice(rng))
    journal.write(book, "verify", "Anna", "x.wav", decide(0.7, None, 0.5, "float32"))
    journal.write(book, "identify", None, "y.wav", decide(0.3, None, None, "float32"))
    first, second = journal.read(book)
    assert (first.name, first.accept, first.score, first.threshold) == ("Anna", True, 0.7, 0.5)
    assert (second.name, second.accept, second.source) == (None, None, "y.wav")


def test_both_exports_hold_everybody(book: Book, rng: np.random.Generator, tmp_path: Path) -> None:
    import pyarrow.parquet

    for name in HOSTILE:
        book.enrol(name, voice(rng, 2))
    means = np.stack([person.mean for person in book.people()])
    for out in (tmp_path / "a.parquet", tmp_path / "a.npz"):
        assert export_book(book, out) == len(HOSTILE)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table["name"].to_pylist() == HOSTILE
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), means)
    assert json.loads(table.schema.metadata[b"distilvox"])["space"] == SPACE.id
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        assert held["names"].tolist() == HOSTILE
        np.testing.assert_array_equal(held["embeddings"], means)
    with pytest.raises(UserError, match=r"unknown kind of export[\s\S]*\.parquet or \.npz"):
        export_book(book, tmp_path / "a.csv")
