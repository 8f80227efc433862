"""Another process that holds a lock, as a verb that is at work does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

CODE = """
import sys
from distilvox.locks import alone
with alone(sys.argv[1], inside=sys.argv[2] == "inside"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Holds the lock of `path` from another process while the block runs."""

    def __init__(self, path: Path, *, inside: bool) -> None:
        words = [sys.executable, "-c", CODE, str(path), "inside" if inside else "beside"]
        pipe = subprocess.PIPE
        self._held = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[2], text=True
        )
        assert self._held.stdout is not None
        assert self._held.stdout.readline() == "held\n"
        self.process = self._held.pid

    def wait(self) -> None:
        self._held.communicate()

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.wait()
