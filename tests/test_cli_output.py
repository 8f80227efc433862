"""What the system refuses to write: one line, exit code 1, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox import files
from distilvox.errors import UserError
from tests.making import make_corpus
from tests.running import tree

HOME = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = command.replace("distilvox", f"{sys.executable} -m distilvox")
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", ["corpus c --json", "corpus c", "--help"])
def test_an_output_that_takes_no_more(tmp_path: Path, words: str) -> None:
    make_corpus(tmp_path / "c", speakers=2, utterances=2)
    ran = shell(f"distilvox {words} > /dev/full", tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines() == [
        "error: cannot read or write the output",
        "  got:     No space left on device",
    ]


def test_a_limit_on_the_size_of_files(tmp_path: Path, rng: np.random.Generator) -> None:
    for k in range(4):
        (tmp_path / f"s/{k}").mkdir(parents=True)
        soundfile.write(tmp_path / f"s/{k}/a.wav", 0.1 * rng.standard_normal(80_000), 16_000)
    before = tree(tmp_path / "s")
    ran = shell("ulimit -f 200; distilvox pack s out", tmp_path)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert ran.stderr.startswith("error: out was not written: a file of its size is not allowed here")
    assert "ulimit -f" in ran.stderr
    assert not (tmp_path / "out").exists()
    assert tree(tmp_path / "s") == before
    assert shell("distilvox pack s out", tmp_path).returncode == 0


REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "a file of its size is not allowed",
    errno.EIO: "the disk reports an error",
    errno.ESTALE: "its folder on the network is no longer there",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EROFS: "no permission to write",
}


def write_half(path: Path, number: int) -> None:
    with files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", REFUSALS)
def test_every_refusal_has_words_and_a_remedy(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.json"
    files.write_text(path, "before")
    with pytest.raises(UserError, match=REFUSALS[number]) as caught:
        write_half(path, number)
    assert (caught.value.exit_code, caught.value.remedy is None) == (1, False)
    assert str(path) in str(caught.value)
    assert tree(tmp_path) == {"a.json": b"before"}


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    make_corpus(tmp_path / "c", speakers=2, utterances=2)
    ran = shell(f"distilvox trials c {'x' * 250}.txt", tmp_path)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "too long" in ran.stderr
