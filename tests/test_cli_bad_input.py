"""Wrong input on the command line: a message that says what to do, the right exit code, nothing lost or half made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.corpus.store import Corpus
from tests.journey import Journey, travelled
from tests.making import TINY as TINY_STUDENT
from tests.making import buzz, make_corpus, murmur
from tests.running import TINY, Ran, refused, run, succeed, tree

BAD = {
    "bad/cut.opus": "truncated",
    "bad/empty.wav": "empty file",
    "bad/nan.wav": "NaN or infinite samples",
    "bad/short.wav": "too short: 0.20 s, at least 0.50 s",
    "bad/silent.wav": "silence",
    "bad/text.wav": "not audio",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return travelled(tmp_path_factory)


# ---- speech files --------------------------------------------------------------------------------------------


@pytest.fixture
def speech(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two usable files, one of them 44.1 kHz stereo, and one of each kind of unusable file."""
    folder = tmp_path / "speech"
    for name in ("good", "bad"):
        (folder / name).mkdir(parents=True)
    wave = buzz(rng, 120, 32_000)
    soundfile.write(folder / "good/plain.wav", wave, 16_000)
    soundfile.write(folder / "good/stereo.wav", np.stack([wave, wave], 1), 44_100)
    (folder / "bad/empty.wav").touch()
    (folder / "bad/text.wav").write_text("This is no speech, it is writing.\n" * 50)
    soundfile.write(
        folder / "bad/nan.wav", np.where(np.arange(16_000) == 99, np.nan, 0.1), 16_000, subtype="FLOAT"
    )
    soundfile.write(folder / "bad/short.wav", wave[:3_200], 16_000)
    soundfile.write(folder / "bad/silent.wav", np.zeros(16_000, np.int16), 16_000)
    soundfile.write(folder / "whole.opus", wave / 32768, 16_000, format="OGG", subtype="OPUS")
    whole = (folder / "whole.opus").read_bytes()
    (folder / "bad/cut.opus").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.opus").unlink()
    return folder


def test_exactly_the_unusable_files_are_rejected_and_named(speech: Path, tmp_path: Path) -> None:
    ran = succeed("pack", speech, tmp_path / "corpus", "--max-rejected", 1)
    assert "packed 2 utterances of 1 speakers" in ran.err
    assert "rejected 6" in ran.err
    assert Corpus.open(tmp_path / "corpus").utterances == ["good/plain", "good/stereo"]
    lines = (tmp_path / "corpus/rejected.tsv").read_text().splitlines()[1:]
    found = dict(line.split("\t") for line in lines)
    assert found.keys() == BAD.keys()
    for path, reason in BAD.items():
        assert found[path].startswith(reason), path


def test_too_many_unusable_files_pack_nothing(speech: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    message = refused(1, "pack", speech, tmp_path / "corpus")
    assert "too many files cannot be used: 6 of 8 (75.0%); nothing was packed" in message
    assert "bad/empty.wav: empty file" in message
    assert "--max-rejected 0.01" in message
    after = tree(tmp_path)
    listing = after.pop("corpus.rejected.tsv").decode()
    assert all(path in listing for path in BAD)
    assert after == before


def test_nothing_usable_at_all(speech: Path, tmp_path: Path) -> None:
    shutil.rmtree(speech / "good")
    message = refused(1, "pack", speech, tmp_path / "corpus")
    assert "6 of 6 (100.0%)" in message
    assert not (tmp_path / "corpus").exists()


def test_a_table_with_an_unknown_column_in_where(speech: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("utterance\tspeaker\tsplit\ngood/plain\tgood\ttrain\n")
    message = refused(2, "pack", speech, tmp_path / "c", "--table", table, "--where", "splitt=train")
    assert "unknown column in --where" in message
    assert "did you mean 'split'?" in message
    message = refused(2, "pack", speech, tmp_path / "c", "--table", table, "--where", "split=dev")
    assert "no row has this value of 'split'" in message
    assert "allowed: train" in message
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("verb", ["pack", "synth"])
def test_an_existing_corpus_is_left_alone(verb: str, place: Journey, speech: Path) -> None:
    before = tree(place.corpus)
    source = [speech] if verb == "pack" else []
    message = refused(2, verb, *source, place.corpus)
    assert f"{place.corpus} exists" in message
    assert tree(place.corpus) == before


# ---- trial lists ---------------------------------------------------------------------------------------------

LISTS = {
    "unknown": (
        "1 w/day0/0 w/day1/1\n0 w/day0/0 w/day9/7\n",
        "are not in the corpus",
        "the first is 'w/day9/7'",
    ),
    "malformed": ("1 w/day0/0 w/day1/1\n0 w/day0/0\n", "line 2: 2 words where a trial has 3", "'0 w/day0/0'"),
    "label": (
        "1 w/day0/0 w/day1/1\nyes w/day0/0 x/day0/0\n",
        "line 2: its label is 'yes'",
        "with label 1 or 0",
    ),
    "targets": ("1 w/day0/0 w/day1/1\n1 w/day0/0 w/day0/2\n", "has target trials only", "EER needs both"),
    "empty": ("\n", "the trial list is empty", "enrol test"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_trial_list_that_cannot_be_used(kind: str, place: Journey, tmp_path: Path) -> None:
    """Said before anything is computed, by whoever reads the list."""
    text, *parts = LISTS[kind]
    trials = tmp_path / "list.txt"
    trials.write_text(text)
    for words in (
        ["evaluate", place.run, "--corpus", place.dev, "--trials", trials, "--json"],
        [
            "train",
            "--corpus",
            place.corpus,
            "--trials",
            trials,
            "--trials-corpus",
            place.dev,
            "--out",
            tmp_path / "run",
        ],
    ):
        message = refused(2, *words)
        assert all(part in message for part in parts), message
    assert sorted(tree(tmp_path)) == ["list.txt"]


def test_trials_of_training_speakers(place: Journey, tmp_path: Path) -> None:
    words = ["--corpus", place.dev, "--trials", place.trials, "--out", tmp_path / "run", *TINY]
    message = refused(2, "train", *words)
    assert "speakers of trials.txt are also in the training corpus" in message
    assert "--force" in message
    assert tree(tmp_path) == {}


def test_trials_corpus_without_trials(place: Journey, tmp_path: Path) -> None:
    words = ["--corpus", place.corpus, "--trials-corpus", place.dev, "--out", tmp_path / "run"]
    assert "--trials-corpus was given without --trials" in refused(2, "train", *words)


# ---- corpora, runs, bundles ----------------------------------------------------------------------------------


def test_a_corpus_of_one_speaker(place: Journey, tmp_path: Path) -> None:
    make_corpus(tmp_path / "one", speakers=1, utterances=3)
    before = tree(tmp_path)
    message = refused(2, "train", "--corpus", tmp_path / "one", "--out", tmp_path / "run")
    assert "cannot be trained on one speaker" in message
    words = ["--corpus", tmp_path / "one", "--teacher", f"run:{place.run}", "--out", tmp_path / "run", *TINY]
    assert "cannot be trained on one speaker" in refused(2, "distil", *words)
    assert "trials need two speakers" in refused(2, "trials", tmp_path / "one", tmp_path / "trials.txt")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_a_bundle_with_a_flipped_byte(
    name: str, place: Journey, tmp_path: Path, rng: np.random.Generator
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(place.bundle, bundle)
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 0x80
    (bundle / name).write_bytes(bytes(data))
    soundfile.write(tmp_path / "a.wav", murmur(rng, 120, 16_000), 16_000)
    before = tree(tmp_path)
    for words in (
        ["verify", bundle, tmp_path / "a.wav", tmp_path / "a.wav"],
        ["embed", bundle, tmp_path / "a.wav"],
        ["evaluate", bundle, "--corpus", place.dev, "--trials", place.trials, "--device", "cpu"],
    ):
        message = refused(2, *words)
        assert "damaged" in message
        assert str(bundle / name) in message
    assert tree(tmp_path) == before


def test_resume_with_other_settings_names_them(place: Journey, tmp_path: Path) -> None:
    shutil.copytree(place.run, tmp_path / "run")
    before = tree(tmp_path)
    words = [
        "--corpus",
        place.corpus,
        "--out",
        tmp_path / "run",
        "--resume",
        *TINY,
        "--epochs",
        9,
        "--margin",
        0.1,
    ]
    message = refused(2, "train", *words)
    assert "was begun with other settings" in message
    assert "objective.margin" in message
    assert "train.epochs" in message
    assert tree(tmp_path) == before


def test_options_of_the_tiny_student_are_those_of_the_other_tests() -> None:
    assert [f"{name}={value}" for name, value in TINY_STUDENT.items()] == TINY[1 : 1 + len(TINY_STUDENT)]


# ---- places that cannot be written ---------------------------------------------------------------------------

WRITERS = {
    "pack": ["pack", "{speech}", "{out}"],
    "synth": ["synth", "{out}", "--speakers", "1", "--utterances", "1"],
    "trials": ["trials", "{dev}", "{out}"],
    "train": ["train", "--corpus", "{corpus}", "--out", "{out}", *TINY],
    "export": ["export", "{run}", "{out}", "--false-accept", "0.4"],
    "report": ["report", "{run}", "--out", "{out}"],
}


def write_to(out: Path, verb: str, place: Journey, speech: Path) -> Ran:
    known = {name: str(value) for name, value in vars(place).items()}
    return run(*[word.format(**known, out=out, speech=speech) for word in WRITERS[verb]])


@pytest.mark.parametrize("verb", WRITERS)
def test_a_file_where_a_folder_must_be(verb: str, place: Journey, speech: Path, tmp_path: Path) -> None:
    shutil.rmtree(speech / "bad")
    (tmp_path / "file").write_text("mine")
    before = tree(tmp_path)
    ran = write_to(tmp_path / "file" / "out", verb, place, speech)
    assert ran.code in (1, 2)
    assert "error: " in ran.err
    assert str(tmp_path / "file") in ran.err
    assert "Traceback" not in ran.err
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("verb", WRITERS)
def test_a_folder_that_may_not_be_written(verb: str, place: Journey, speech: Path, tmp_path: Path) -> None:
    shutil.rmtree(speech / "bad")
    (tmp_path / "locked").mkdir(mode=0o500)
    before = tree(tmp_path)
    ran = write_to(tmp_path / "locked" / "out", verb, place, speech)
    assert ran.code == 1
    assert "no permission to write" in ran.err
    assert tree(tmp_path) == before
