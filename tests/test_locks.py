"""One writer at a time, whoever it is; the second is told who the first is, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distilvox import locks
from distilvox.errors import UserError
from distilvox.locks import LOCK, alone
from tests.faults.holding import Holder


@pytest.mark.parametrize("inside", [False, True])
def test_the_second_is_told_who_the_first_is(inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs [1]"
    with Holder(path, inside=inside) as holder:
        with pytest.raises(UserError) as caught, alone(path, inside=inside):
            raise AssertionError("two at once")
        assert caught.value.exit_code == 1
        assert str(caught.value.what) == f"another process writes here: {path}"
        assert f"process {holder.process} on " in str(caught.value.got)
        assert ", since 20" in str(caught.value.got)
        assert ": -c " in str(caught.value.got)
    with alone(path, inside=inside):
        pass


def test_one_process_cannot_hold_it_twice_and_may_hold_it_again(tmp_path: Path) -> None:
    with alone(tmp_path / "a"), alone(tmp_path / "b"):
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), alone(tmp_path / "a"):
            pass
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), alone(tmp_path / "x" / ".." / "a"):
            pass
    with alone(tmp_path / "a"):
        pass


@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_left_behind(inside: bool, tmp_path: Path) -> None:
    for _ in range(2):
        with alone(tmp_path / "out", inside=inside):
            assert (tmp_path / "out").exists() == inside
            if inside:
                (tmp_path / "out" / "file").write_text("kept")
        assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"] * inside
    with pytest.raises(ValueError, match="mine"), alone(tmp_path / "refused", inside=inside):
        raise ValueError("mine")
    assert not (tmp_path / "refused").exists()


def test_the_lock_of_a_killed_process_is_free_and_what_it_left_goes(tmp_path: Path) -> None:
    with Holder(tmp_path, inside=True) as holder:
        os.kill(holder.process, signal.SIGKILL)
        holder.wait()
        left = tmp_path / f".state.pt.{holder.process}-{locks.platform.node()}.partial"
        left.write_text("half")
        assert (tmp_path / LOCK).exists()
        with alone(tmp_path, inside=True):
            assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_who_waits_says_so_and_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    monkeypatch.setattr(locks, "say", say)
    got: list[bool] = []

    def second() -> None:
        with alone(tmp_path / "cache", inside=True, wait=True):
            got.append(True)

    thread = threading.Thread(target=second)
    with alone(tmp_path / "cache", inside=True):
        thread.start()
        assert waits.wait(20)
        assert not got
    thread.join(20)
    assert got == [True]
    assert said[0].startswith(
        f"another process writes {tmp_path / 'cache'}: waiting for process {os.getpid()} on "
    )


@pytest.mark.parametrize("number", locks.NO_LOCKS)
def test_without_locks_in_the_file_system_it_says_so(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def refuse(**_: object) -> Callable[..., None]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.FileLock, "acquire", lambda self, timeout=-1: refuse())
    monkeypatch.setattr(locks, "say", said.append)
    with alone(tmp_path / "out"):
        pass
    assert said == [f"this file system has no locks: let one process at a time write {tmp_path / 'out'}"]


def test_other_complaints_of_the_system_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, timeout: float = -1) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    with pytest.raises(UserError, match="no permission to write"), alone(tmp_path / "out"):
        pass
