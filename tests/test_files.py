"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distilvox import files
from distilvox.errors import UserError
from distilvox.files import (
    ABANDONED_SECONDS,
    atomic_file,
    atomic_folder,
    explain_disk_errors,
    read_json,
    recover_folder,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)


class Interrupt(BaseException):
    """Something that no `except Exception` stops."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"x", b"\x00\xff" * 5000])
def test_what_is_written_is_read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file"
    write_bytes(path, data)
    write_bytes(path, memoryview(data))
    assert path.read_bytes() == data
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, Interrupt, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail() -> None:
        with atomic_file(path) as temporary:
            assert temporary.parent == tmp_path
            temporary.write_text("new, and more of it than bef")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from distilvox import files
kind, path = sys.argv[1], Path(sys.argv[2])
kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if kind == "in the block of a file":
    with files.atomic_file(path) as temporary:
        temporary.write_text("new")
        kill()
if kind == "before the rename of a file":
    os.replace = kill
    files.write_text(path, "new")
if kind == "in the block of a folder":
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
        kill()
if kind == "between the renames of a folder":
    true, calls = os.replace, []
    os.replace = lambda a, b: (calls and kill(), calls.append(a), true(a, b))
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
if kind == "after the renames of a folder":
    true, calls = files.shutil.rmtree, []
    files.shutil.rmtree = lambda p, **k: (len(calls) == 2 and kill(), calls.append(p), true(p, **k))
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
"""


def kill_while_writing(kind: str, path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)], cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["in the block of a file", "before the rename of a file"])
def test_a_kill_leaves_the_old_file_and_its_rubbish_goes_later(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "state[1].pt"
    write_text(path, "old")
    kill_while_writing(moment, path)
    assert path.read_text() == "old"
    (left,) = (name for name in names(tmp_path) if name != path.name)
    assert left.endswith(".partial")
    working = tmp_path / left.replace(f".{left.split('.')[-2]}.", f".{os.getppid()}-{files._host()}.")
    elsewhere = tmp_path / ".state[1].pt.1-another-machine.partial"
    other = tmp_path / f".another{left}"
    for path_of_another in (working, elsewhere, other):
        path_of_another.write_text("of another process or file")
    write_text(path, "newer")
    assert names(tmp_path) == sorted([path.name, working.name, elsewhere.name, other.name])
    long_ago = working.stat().st_mtime - ABANDONED_SECONDS - 1
    for path_of_another in (working, elsewhere):
        os.utime(path_of_another, (long_ago, long_ago))
    write_text(path, "newest")
    assert names(tmp_path) == sorted([path.name, other.name])
    assert path.read_text() == "newest"


def test_a_sweep_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    """The file itself need never be written again: a teacher cache's key, for instance."""
    kept = [
        tmp_path / "key.json",
        tmp_path / "corpus.partial" / "audio.bin",
        tmp_path / "a" / ".b.1-x.partial",
    ]
    for path in kept:
        write_text(path, "kept")
    for moment in ("in the block of a file", "before the rename of a file"):
        kill_while_writing(moment, tmp_path / "key.json")
        kill_while_writing(moment, tmp_path / "checkpoint" / "state.pt")
    assert sum(path.suffix == ".partial" for path in tmp_path.rglob(".*")) == 3
    files.sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.mark.parametrize(
    ("moment", "content"),
    [
        ("in the block of a folder", "old"),
        ("between the renames of a folder", "old"),
        ("after the renames of a folder", "new"),
    ],
)
def test_a_kill_leaves_a_whole_folder(moment: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "a").write_text("old")
    kill_while_writing(moment, path)
    assert path.exists() == (moment != "between the renames of a folder")
    recover_folder(path)
    assert (path / "a").read_text() == content
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("newest")
    assert (path / "a").read_text() == "newest"
    assert names(tmp_path) == ["bundle"]


def test_recovering_what_is_whole_or_was_never_there_does_nothing(tmp_path: Path) -> None:
    recover_folder(tmp_path / "absent")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, Interrupt])
def test_a_failed_folder_leaves_the_old_one(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("old")

    def fail() -> None:
        with atomic_folder(path) as temporary:
            assert names(temporary) == []
            (temporary / "b").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert names(path) == ["a"]
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"the disk is full: .*file was not written"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission to write"),
        (errno.EROFS, "no permission to write"),
    ],
)
def test_the_disk_s_complaints_are_explained(number: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught, explain_disk_errors(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 1


def test_other_complaints_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explain_disk_errors(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "a folder")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="what stood there before is untouched"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_json_is_plain_and_has_no_nan(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, "é"], "a": {}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", noun="card") == value
    text = (tmp_path / "a.json").read_text()
    write_json(tmp_path / "a.json", dict(reversed(value.items())))
    assert (tmp_path / "a.json").read_text() == text
    assert text == json.dumps(value, indent=2, sort_keys=True) + "\n"
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", bad)
    assert (tmp_path / "a.json").read_text() == text


def test_json_that_cannot_be_read_says_what_it_should_have_been(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"a": ')
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"no card here: .*absent\.json does not exist\s+remedy:  pack it"):
        read_json(tmp_path / "absent.json", noun="card", remedy="pack it")
    with pytest.raises(UserError, match=r"no card here: .*cut\.json is a file"):
        read_json(tmp_path / "cut.json" / "card.json", noun="card")
    for name in ("cut.json", "bytes.json"):
        with pytest.raises(UserError, match=f"this card is damaged: .*{name}"):
            read_json(tmp_path / name, noun="card")


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "abc", b"abc")
    assert sha256_file(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
