"""The students that come with the package: whole, small, licensed, and as good as their cards say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distilvox.evaluation.metrics import eer
from distilvox.ship.bundle import Bundle
from distilvox.ship.card import MODEL_INT8
from distilvox.ship.ready import FOLDER, READY, bundle_of, ready_names
from distilvox.ship.runtime import Verifier
from tests.running import refused, run

SPEAKERS = 30


@pytest.fixture(scope="module")
def speech(shared: Path) -> dict[str, list[Path]]:
    """Two recordings each of dev speakers."""
    rows = (shared / "corpora" / "chorus" / "utterances.tsv").read_text(encoding="utf-8").splitlines()
    names = rows[0].split("\t")
    found: dict[str, list[Path]] = {}
    for row in rows[1:]:
        entry = dict(zip(names, row.split("\t"), strict=True))
        if entry["split"] == "dev":
            path = shared / "corpora" / "chorus" / "audio" / f"{entry['utterance']}.opus"
            found.setdefault(entry["speaker"], []).append(path)
    return {speaker: paths[:2] for speaker, paths in list(found.items())[:SPEAKERS]}


@pytest.mark.parametrize("name", ready_names())
def test_a_ready_student_is_whole_small_and_says_where_it_comes_from(name: str) -> None:
    bundle = Bundle.open(FOLDER / name)
    bundle.check()
    assert bundle.card.model["parameters"] <= 500_000
    assert bundle.card.files[MODEL_INT8]["bytes"] < 1_500_000
    assert bundle.card.training["corpus"]["licence"]
    assert bundle.card.teacher
    assert bundle.card.teacher["licence"] == "Apache-2.0"
    assert bundle.card.calibration
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) < 8_000_000


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_it_tells_people_apart(speech: dict[str, list[Path]], precision: str) -> None:
    """A look, not the figure of docs/results.md: all pairs of two recordings each of thirty people."""
    verifier = Verifier.load(bundle_of(None), precision=precision)
    found = np.stack([verifier.embed(path) for paths in speech.values() for path in paths])
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    first, second = np.triu_indices(len(found), 1)
    assert eer((found @ found.T)[first, second], (first // 2 == second // 2).astype(np.int64)) < 0.08


def test_two_files_need_no_bundle(speech: dict[str, list[Path]]) -> None:
    (first, second), (other, _) = list(speech.values())[:2]
    assert run("verify", first, second).code == 0
    assert run("verify", first, other).code == 3
    named = run("verify", "--model", READY, first, second)
    assert named.out == run("verify", first, second).out == run("verify", bundle_of(None), first, second).out
    assert run("embed", first).out == run("embed", bundle_of(None), first).out


def test_a_new_book_takes_the_ready_student(speech: dict[str, list[Path]], tmp_path: Path) -> None:
    (first, second), (other, _) = list(speech.values())[:2]
    assert run("enrol", tmp_path / "people.book", "Anna", first).code == 0
    assert run("identify", tmp_path / "people.book", second).code == 0
    assert run("verify", "--as", "Anna", tmp_path / "people.book", other).code == 3


def test_a_name_that_is_none_says_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundle_of(tmp_path) == tmp_path
    said = refused(2, "verify", "--model", "ecapa-xl", "a.wav", "b.wav")
    assert "no bundle here: ecapa-xl" in said
    assert READY in said
    monkeypatch.chdir(tmp_path)
    (tmp_path / READY).mkdir()
    assert bundle_of(READY) == Path(READY)  # a folder of one's own goes first


def test_the_answer_needs_no_torch(speech: dict[str, list[Path]]) -> None:
    first, second = next(iter(speech.values()))
    code = (
        "import sys; from distilvox.ship.ready import bundle_of; from distilvox.ship.runtime import Verifier;"
        f"print(Verifier.load(bundle_of(None)).verify({str(first)!r}, {str(second)!r}));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
