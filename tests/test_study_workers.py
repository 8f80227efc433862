"""Workers share out the devices, fail alone, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from distilvox.errors import UserError
from distilvox.files import atomic_file
from distilvox.study.workers import at_once, devices_of


def note(path: Path, device: str) -> None:
    """What a test's worker does: writes its device, or fails."""
    if path.name == "refused":
        raise UserError("this one is refused", exit_code=3)
    if path.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text(f"{device} {os.getpid()}")


def wait_long(path: Path, device: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(str(os.getpid()))
    time.sleep(600)


def test_each_piece_has_its_process_and_failures_are_its_own(tmp_path: Path) -> None:
    pieces = [tmp_path / name for name in ("a", "refused", "killed", "b")]
    found = {piece.name: error for piece, error in at_once(note, pieces, 2, "cpu")}
    assert found["a"] is None
    assert found["b"] is None
    refused = found["refused"]
    assert refused is not None
    assert (refused.what, refused.exit_code) == ("this one is refused", 3)
    assert "was killed, perhaps for its memory" in str(found["killed"])
    told = [(tmp_path / name).read_text().split() for name in ("a", "b")]
    assert [device for device, _ in told] == ["cpu", "cpu"]
    assert len({told[0][1], told[1][1], str(os.getpid())}) == 3


def test_jobs_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices_of("auto") == devices_of("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of("cuda:2") == ["cuda:2"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices_of("auto") == ["auto"]


PARENT = """
import sys
from pathlib import Path
from distilvox.study.workers import at_once
from tests.test_study_workers import wait_long
if __name__ == "__main__":
    list(at_once(wait_long, [Path(sys.argv[1])], 2, "cpu"))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    script, pid_file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, str(script), str(pid_file)], env=environment) as parent:
        while not pid_file.exists():
            time.sleep(0.05)
        parent.send_signal(how)
    worker = Path(f"/proc/{pid_file.read_text()}")
    while worker.exists() and "\nState:\tZ" not in (worker / "status").read_text():
        time.sleep(0.05)
