"""enrol, identify, book and verify --as: from files to people and back, with nothing but the plain install."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.cli import EXTRA_OF
from distilvox.ship.card import FILES
from tests.making import murmur
from tests.running import refused, run, succeed
from tests.test_cli import started
from tests.test_ship_runtime import write_card, write_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a stand-in model, and three files each of two voices."""
    home = tmp_path_factory.mktemp("a [red] home")
    (home / "bundle").mkdir()
    for name in FILES:
        write_model(home / "bundle" / name)
    write_card(home / "bundle")
    rng = np.random.default_rng(0)
    for name, pitch in (("anna", 210), ("bert", 95)):
        for k in range(3):
            wave = murmur(rng, pitch, 32_000)
            if name == "bert":  # has a duller voice
                wave = np.convolve(wave, np.full(5, 0.2)).astype(np.int16)
            soundfile.write(home / f"{name}{k}.wav", wave, 16_000)
    return home


@pytest.fixture
def book(home: Path, tmp_path: Path) -> Path:
    path = tmp_path / "people.book"
    succeed("enrol", path, "Anna [1]", home / "anna0.wav", home / "anna1.wav", "--model", home / "bundle")
    succeed("enrol", path, "Bert O'Hara", home / "bert0.wav", home / "bert1.wav")
    return path


def test_enrol_says_what_it_did(home: Path, tmp_path: Path) -> None:
    words = ("enrol", tmp_path / "x.book", "Anna [1]", home / "anna0.wav")
    first = succeed(*words, "--model", home / "bundle")
    assert first.out == ""
    assert f"Anna [1]: 1 recordings added; 1 in {tmp_path / 'x.book'}" in first.err
    assert "one recording alone" in first.err
    again = succeed(*words, home / "anna1.wav")
    assert "1 recordings added, 1 were there already; 2 in" in again.err
    assert "they fit: the least alike has a cosine of" in again.err
    told = json.loads(succeed(*words, home / "anna1.wav", "--json").out)
    assert (told["name"], told["added"], told["known"], told["count"]) == ("Anna [1]", 0, 2, 2)


def test_identify_names_the_right_person(home: Path, book: Path) -> None:
    for file, name in (("anna2.wav", "Anna [1]"), ("bert2.wav", "Bert O'Hara")):
        found = json.loads(succeed("identify", book, home / file, "--json").out)
        assert found["people"][0]["name"] == name
        assert len(found["people"]) == 2
        assert found["decision"]["accept"] is True
        assert "compared with 2 people and passes as one of them in up to 1.99 %" in found["decision"]["note"]
    shown = succeed("identify", book, home / "anna2.wav", "--top", 1)
    assert "Anna [1]" in shown.out.splitlines()[0]
    assert "Bert" not in shown.out
    assert "accepted: the score" in shown.out
    assert run("identify", book, home / "anna2.wav", "--threshold", 1).code == 3


def test_verify_as_a_named_person(home: Path, book: Path) -> None:
    ran = succeed("verify", "--as", "Anna [1]", book, home / "anna2.wav")
    assert ran.out.startswith("accepted: the score")
    assert "2 recordings enrolled; rates are those of one against one" in ran.out
    assert run("verify", "--as", "Anna [1]", book, home / "anna2.wav", "--threshold", 1).code == 3
    own = json.loads(succeed("verify", "--as", "Anna [1]", book, home / "anna2.wav", "--json").out)
    other = json.loads(run("verify", "--as", "Bert O'Hara", book, home / "anna2.wav", "--json").out)
    assert own["score"] > other["score"]
    message = refused(2, "verify", "--as", "Berta O'Hara", book, home / "anna2.wav")
    assert "nobody of this name is enrolled" in message
    assert 'did you mean "Bert O\'Hara"?' in message


def test_verify_says_which_words_it_takes(home: Path, book: Path) -> None:
    a = home / "anna0.wav"
    assert "give A B, BUNDLE A B, or --as NAME BOOK FILE" in refused(2, "verify", home / "bundle", a)
    assert "with --as, the words are BOOK FILE" in refused(2, "verify", "--as", "x", book, a, a)
    assert "--journal goes with --as NAME" in refused(2, "verify", home / "bundle", a, a, "--journal")
    assert "three words name the bundle already" in refused(
        2, "verify", home / "bundle", a, a, "--model", "x"
    )
    words = ("verify", "--as", "Anna [1]", book, a, "--precision", "int8")
    assert "a book knows its own precision" in refused(2, *words)


def test_the_journal_is_kept_where_asked_for(home: Path, book: Path) -> None:
    succeed("identify", book, home / "anna2.wav")
    assert json.loads(succeed("book", "journal", book, "--json").out) == []
    succeed("identify", book, home / "anna2.wav", "--journal")
    run("verify", "--as", "Bert O'Hara", book, home / "anna2.wav", "--threshold", 1, "--journal")
    first, second = json.loads(succeed("book", "journal", book, "--json").out)
    assert (first["verb"], first["name"], first["accept"]) == ("identify", "Anna [1]", True)
    assert (second["verb"], second["name"], second["accept"]) == ("verify", "Bert O'Hara", False)
    shown = succeed("book", "journal", book).out.splitlines()
    assert "accepted" in shown[0]
    assert "Anna [1]  anna2.wav" in shown[0]


def test_list_remove_check_export(home: Path, book: Path, tmp_path: Path) -> None:
    shown = succeed("book", "list", book).out.splitlines()
    assert [line.split("  ")[-1] for line in shown] == ["Anna [1]", "Bert O'Hara"]
    assert "is whole: 2 people, 4 recordings" in succeed("book", "check", book).err
    assert json.loads(succeed("book", "check", book, "--json").out) == {"people": 2, "recordings": 4}
    assert "2 people" in succeed("book", "export", book, tmp_path / "x.npz").err
    assert "2 people" in succeed("book", "export", book, tmp_path / "x.parquet").err
    assert "Anna [1] is removed" in succeed("book", "remove", book, "Anna [1]").err
    left = json.loads(succeed("book", "list", book, "--json").out)
    assert [one["name"] for one in left] == ["Bert O'Hara"]
    assert "usage: distilvox book remove BOOK NAME" in refused(2, "book", "remove", book)
    assert "usage: distilvox book list BOOK" in refused(2, "book", "list", book, "x")
    assert "--model goes with adopt" in refused(2, "book", "list", book, "--model", home / "bundle")


def test_another_model_and_another_calibration(home: Path, book: Path, tmp_path: Path) -> None:
    other, newer = (Path(shutil.copytree(home / "bundle", tmp_path / name)) for name in ("other", "newer"))
    write_card(other, space="f" * 16)
    write_card(newer, point=None)
    a = home / "anna0.wav"
    for words in (
        ("identify", book, a),
        ("verify", "--as", "Anna [1]", book, a),
        ("enrol", book, "Carl", a),
    ):
        message = refused(2, *words, "--model", other)
        assert "was made with another model" in message
        assert f"such as {home / 'bundle'}" in message
        assert "was made under another calibration" in refused(2, *words, "--model", newer)
    assert "made with another model" in refused(2, "book", "adopt", book, "--model", other)
    succeed("book", "adopt", book, "--model", newer)
    assert run("identify", book, a).code == 4  # it has no threshold


def test_int8_books_stay_int8(home: Path, tmp_path: Path) -> None:
    book, a = tmp_path / "x.book", home / "anna0.wav"
    succeed("enrol", book, "Anna", a, "--model", home / "bundle", "--precision", "int8")
    succeed("identify", book, a)
    assert "was made with another model" in refused(2, "enrol", book, "Bert", a, "--precision", "float32")


def test_what_cannot_be_used_is_named_and_changes_nothing(home: Path, book: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.ones(100), 16_000)
    message = refused(
        2, "enrol", book, "Carl", home / "anna0.wav", tmp_path / "short.wav", "--model", home / "bundle"
    )
    assert "1 of 2 recordings cannot be used: nobody was enrolled" in message
    assert "short.wav: too short" in message
    assert "a person needs a name" in refused(2, "enrol", book, "", home / "anna0.wav")
    assert "does not exist" in refused(2, "identify", tmp_path / "absent.book", home / "anna0.wav")
    assert not (tmp_path / "absent.book").exists()
    assert len(json.loads(succeed("book", "list", book, "--json").out)) == 2


def test_a_bundle_that_moved_is_asked_for(home: Path, tmp_path: Path) -> None:
    bundle, a = Path(shutil.copytree(home / "bundle", tmp_path / "bundle")), home / "anna0.wav"
    succeed("enrol", tmp_path / "x.book", "Anna", a, "--model", bundle)
    bundle.rename(tmp_path / "moved")
    assert "the bundle that" in refused(2, "identify", tmp_path / "x.book", a)
    succeed("identify", tmp_path / "x.book", a, "--model", tmp_path / "moved")


def test_the_plain_install_suffices(home: Path, tmp_path: Path) -> None:
    """Neither torch nor anything else of an extra can be imported."""
    book, a = str(tmp_path / "x.book"), str(home / "anna0.wav")
    for words in (
        ("enrol", book, "Anna", a, "--model", str(home / "bundle")),
        ("identify", book, a),
    ):
        ran = started(*words, absent=list(EXTRA_OF))
        assert ran.returncode == 0, ran.stderr
    ran = started("book", "export", book, str(tmp_path / "x.parquet"), absent=["pyarrow"])
    assert ran.returncode == 2
    assert "pip install 'distilvox[train]'" in ran.stderr
