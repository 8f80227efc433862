from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus import pack as module
from distilvox.corpus.decode import Decoded, Job
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from tests.test_corpus_pack import put, quietly, speech

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name in ("anna/a/1", "anna/a/2", "anna/b/x/1", "bert/1", "carl/a/1", "dora/a/1"):
        put(tmp_path / "speech" / f"{name}.wav", speech(rng))
    return tmp_path / "speech"


KILLED = """
import sys
from pathlib import Path
from distilvox.corpus import decode, pack
pack._FLUSH_UTTERANCES = 3
real, count = decode.decode, 0
def slow(path):
    global count
    count += 1
    if count > 25:
        print("now", flush=True)
        sys.stdin.read()
    return real(path)
pack.decode = slow
pack.pack(Path(sys.argv[1]), Path(sys.argv[2]), jobs=1, progress=False, max_rejected=1.0)
"""


def kill_half_way(source: Path, out: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(source), str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_resumed_after_a_kill_equals_uninterrupted(
    tmp_path: Path, folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        put(folder / f"more{i % 7}/{i}.wav", speech(rng))
    (folder / "bert/0.wav").write_text("bad, and early")
    whole = quietly(folder, tmp_path / "whole", max_rejected=1.0)
    kill_half_way(folder, tmp_path / "c")
    with pytest.raises(UserError, match="pack did not finish; run it again to resume"):
        Corpus.open(tmp_path / "c")
    decoded: list[Job] = []
    real = module.decode

    def counted(job: Job) -> Decoded:
        decoded.append(job)
        return real(job)

    monkeypatch.setattr(module, "decode", counted)
    with (tmp_path / "c.partial/audio.bin").open("ab") as file:
        file.write(b"what was written after the last line of the journal")
    with (tmp_path / "c.partial/journal.jsonl").open("a") as log:
        log.write('{"utterance": "cut off in the mid')
    resumed = quietly(folder, tmp_path / "c", max_rejected=1.0)
    assert len(decoded) == 47 - 24
    assert resumed.corpus.id == whole.corpus.id
    assert resumed.rejected == whole.rejected
    assert resumed.packed == whole.packed
    resumed.corpus.verify()
    assert not (tmp_path / "c.partial").exists()


@pytest.mark.parametrize("change", ["file", "audio", "journal", "where"])
def test_a_killed_pack_of_something_else_starts_anew(
    tmp_path: Path, folder: Path, rng: np.random.Generator, change: str
) -> None:
    for i in range(25):
        put(folder / f"more{i % 7}/{i}.wav", speech(rng))
    kill_half_way(folder, tmp_path / "c")
    where = []
    if change == "file":
        put(folder / "anna/a/1.wav", speech(rng, 0.9))
    elif change == "audio":
        os.truncate(tmp_path / "c.partial/audio.bin", 40_000)
    elif change == "journal":
        (tmp_path / "c.partial/journal.jsonl").write_bytes(b"\xff\xfe[]\n{}\n")
    else:
        where = ["speaker=anna", "speaker=bert"]
    resumed = quietly(folder, tmp_path / "c", where=where)
    assert resumed.corpus.id == quietly(folder, tmp_path / "fresh", where=where).corpus.id


def test_decoding_processes_end_with_the_one_that_started_them(
    tmp_path: Path, folder: Path, rng: np.random.Generator
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "import os, time\n"
        "from distilvox.corpus.decode import start_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=start_worker)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    until = time.monotonic() + 10
    while running(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert not running(worker)


def running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
