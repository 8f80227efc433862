"""SIGTERM: where it strikes, where it waits, and that nobody works on for a process that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distilvox import cli
from distilvox.errors import UserError
from distilvox.interrupts import EXIT_CODE, Terminated, at_once, patient
from tests.faults.table import fault
from tests.running import run


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_verb_stops_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "_print_verbs", terminate)
    ran = run()
    row = fault("a scheduler ends any other verb")
    assert ran.code == EXIT_CODE == row.exits
    assert row.sees in ran.err
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_patient_is_asked() -> None:
    with patient() as asked:
        assert not asked()
        terminate()
        assert asked()
        with pytest.raises(Terminated, match="143"), at_once():
            terminate()
        assert asked()


def test_an_error_after_it_is_its_consequence_unless_the_user_made_it() -> None:
    def fail(error: Exception, come: bool) -> None:
        with patient():
            if come:
                terminate()
            raise error

    with pytest.raises(ConnectionError):
        fail(ConnectionError(), come=False)
    with pytest.raises(Terminated) as caught:
        fail(ConnectionError(), come=True)
    assert caught.value.line == ""
    with pytest.raises(UserError, match="disk"):
        fail(UserError("the disk is full"), come=True)


WORK = """
import os, signal, sys, time
from pathlib import Path
from distilvox.interrupts import workers

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    with workers(2) as pool:
        list(pool.map(work, sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_they_work_for(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    told = [tmp_path / "a", tmp_path / "b"]
    words = [sys.executable, str(tmp_path / "work.py"), *map(str, told)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as parent:
        try:
            workers = [int(_wait_for(path)) for path in told]
            parent.send_signal(number)
            parent.wait(120)  # a machine may be busy
        finally:
            parent.kill()
    end = time.monotonic() + 30
    while any(_runs(process) for process in workers):
        assert time.monotonic() < end
        time.sleep(0.05)


def _wait_for(path: Path) -> str:
    end = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return path.read_text()


def _runs(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked after does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
