"""TensorBoard's event file, written in the open: its own writer has a thread, whose errors nobody can explain."""

from __future__ import annotations

import os
import platform
import time
import warnings
from pathlib import Path

from distilvox.files import explain_disk_errors

with warnings.catch_warnings():
    # TensorBoard's generated protocol code warns about its own future.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter


class Board:
    """Appends scalars to a new event file in `folder`, which is made if absent.

    Args:
        step: from here on, steps of earlier files in the folder are void: they are done again.

    Raises:
        UserError: in every method, where the disk is full or may not be written.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self.path = folder / name
        with explain_disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "xb")  # noqa: SIM115
        self._writer = RecordWriter(self._file)
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=time.time(), step=step, session_log=start))

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of the curve `name`."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._add(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        with explain_disk_errors(self.path):
            self._file.flush()

    def close(self) -> None:
        with explain_disk_errors(self.path):
            self._file.close()

    def _add(self, event: Event) -> None:
        with explain_disk_errors(self.path):
            self._writer.write(event.SerializeToString())
