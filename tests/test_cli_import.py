"""`distilvox import`, and what an imported run is good for: evaluate, teach, export, report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import load_student
from distilvox.ship.runtime import Verifier
from distilvox.teachers import load
from distilvox.train.config import RunConfig
from distilvox.train.start import make_student
from tests.making import make_corpus, make_trials
from tests.running import refused, succeed
from tests.wespeaker_making import small_state, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return write_folder(tmp_path_factory.mktemp("w") / "voxceleb_xvec", small_state(), rows=torch.randn(3, 6))


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    where = folder.parent / "run"
    succeed("import", "wespeaker", folder, where)
    return where


def test_it_says_what_it_read(folder: Path, tmp_path: Path) -> None:
    ran = succeed("import", "wespeaker", folder, tmp_path / "run")
    assert "avg_model.pt: XVEC" in ran.err
    assert "3 classifier rows, unnamed" in ran.err
    assert ran.out == ""
    ran = succeed("import", "wespeaker", folder, tmp_path / "again", "--json")
    told = json.loads(ran.out)
    assert (told["model"], told["embedding_dim"], told["rows"], told["speakers"]) == ("xvector", 6, 3, None)


def test_an_imported_run_is_judged(run: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "dev", speakers=4, utterances=4)
    trials = make_trials(corpus, tmp_path / "dev.txt")
    words = ("--corpus", tmp_path / "dev", "--trials", trials, "--replicates", "10", "--json")
    own = json.loads(succeed("evaluate", run, *words).out)
    as_teacher = json.loads(succeed("evaluate", f"run:{run}", *words).out)
    assert 0 <= own["eer"] == as_teacher["eer"] <= 1


def test_it_teaches_with_rows_that_nobody_names(run: Path) -> None:
    teacher = load(f"run:{run}")
    assert teacher.head() is None
    rows = teacher.unnamed_head()
    assert rows is not None
    assert torch.equal(rows, load_student(run).head)


def test_a_student_starts_from_it(run: Path) -> None:
    student, init = make_student(RunConfig(init=f"run:{run}"))
    theirs = load_student(run).student.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in student.state_dict().items())
    assert init is not None
    head = SpeakerHead(["a", "b", "c"], 6)
    drawn = head.weight.detach().clone()
    assert init.copy_centres(head) == 0  # three rows for three speakers are no reason to think them theirs
    assert torch.equal(head.weight, drawn)


def test_it_ships(run: Path, tmp_path: Path) -> None:
    ran = succeed("export", run, tmp_path / "bundle")
    assert "synthetic sound sets the ranges" in ran.err
    wave = np.random.default_rng(0).standard_normal(12_000).astype(np.float32) * 0.1
    with torch.no_grad():
        expected = load_student(run).student(torch.from_numpy(wave)[None])[0].numpy()
    found = Verifier.load(tmp_path / "bundle").embed(wave, force=True)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    card = json.loads((tmp_path / "bundle" / "card.json").read_text())
    assert card["training"]["imported"]["from"] == "wespeaker XVEC"
    assert "avg\\_model" in (tmp_path / "bundle" / "README.md").read_text()


def test_a_report_shows_it(run: Path, tmp_path: Path) -> None:
    succeed("report", run, "--out", tmp_path / "page.html")
    assert "not evaluated" in (tmp_path / "page.html").read_text()


def test_bad_words(folder: Path, tmp_path: Path) -> None:
    assert "no WeSpeaker model here" in refused(2, "import", "wespeaker", tmp_path, tmp_path / "run")
    assert "is left alone" in refused(2, "import", "wespeaker", folder, folder)
    assert "none of wespeaker; did you mean 'wespeaker'?" in refused(2, "import", "wespeakr", folder, folder)


def test_features_that_the_folder_does_not_say_are_not_guessed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "w", small_state(), data={})
    message = refused(2, "import", "wespeaker", folder, tmp_path / "run")
    assert "nothing says with which features the XVEC" in message
    assert f"wespeaker:{folder}?frontend=3dspeaker" in message
    assert not (tmp_path / "run").exists()
