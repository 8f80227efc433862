"""`distilvox trials` on a large corpus, in a process of its own: `python -m bench.trials [UTTERANCES]` prints a line.

The corpus is a table and a sparse audio.bin: VoxCeleb2's form, some 180 utterances a speaker in sessions of seven, and
one speaker of a hundredth of them all.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distilvox.corpus.check import VERSION, sample_check
from distilvox.corpus.table import Row, write_table
from distilvox.files import write_json

SAMPLES = 128_000
"""Of every utterance: 8 s of zeros, that no disk holds."""


def make(path: Path, utterances: int) -> None:
    """A corpus of speech that is not there."""
    rich, sizes = utterances // 100, [180] * (utterances // 180)
    rows: list[Row] = []
    for speaker, size in enumerate([rich, *sizes]):
        for k in range(min(size, utterances - len(rows))):
            name, session = f"id{speaker:05d}", f"v{k // 7:09d}"
            rows.append(Row(f"{name}/{session}/{k:05d}", name, session, SAMPLES))
    path.mkdir()
    with open(path / "audio.bin", "wb") as file:
        file.truncate(2 * SAMPLES * len(rows))
    write_table(path / "utterances.parquet", rows, [sample_check(np.zeros(SAMPLES, np.int16))] * len(rows))
    manifest = {"version": VERSION, "sample_rate": 16_000, "utterances": len(rows)}
    write_json(path / "corpus.json", {**manifest, "sha256": hashlib.sha256(b"").hexdigest()})


def measured(words: Sequence[str]) -> tuple[float, float, float]:
    """A command's seconds, its seconds of processor, and the most memory it held, in MB."""
    started = time.monotonic()
    process = subprocess.Popen(words)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    utterances = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, "corpus"), Path(folder, "trials.txt")
        maker = f"from bench.trials import Path, make; make(Path({str(corpus)!r}), {utterances})"
        subprocess.run([sys.executable, "-c", maker], check=True)  # its memory is not the command's
        for many in ([], ["--target", "500000", "--non-target", "500000"]):
            words = [sys.executable, "-m", "distilvox", "trials", str(corpus), str(out), *many]
            seconds, cpu, memory = measured(words)
            sys.stdout.write(
                f"{utterances:,} utterances, {' '.join(many) or '22,000 trials'}: "
                f"{seconds:.1f} s, {cpu:.1f} s of processor, {memory:.0f} MB\n"
            )


if __name__ == "__main__":
    main()
