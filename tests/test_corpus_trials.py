from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.trials import read_trials, resolve, speakers_of
from distilvox.errors import UserError

VOXCELEB = "1 anna/a/1.wav anna/a/2.wav\n0 anna/a/1.wav bert/1.flac\n0 bert/1.flac anna/a/2.wav\n"
KALDI = "anna/a/1 anna/a/2 target\nanna/a/1 bert/1 nontarget\nbert/1 anna/a/2 nontarget\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def corpus(tmp_path: Path, rng: np.random.Generator) -> Corpus:
    writer = CorpusWriter(tmp_path / "corpus")
    for utterance in ("anna/a/1", "anna/a/2", "bert/1"):
        writer.add(utterance, utterance.split("/")[0], "-", rng.integers(-9, 9, 8000).astype(np.int16))
    return writer.finish()


@pytest.mark.parametrize("text", [VOXCELEB, KALDI])
def test_both_formats_give_the_same_trials(tmp_path: Path, text: str) -> None:
    trials = read_trials(written(tmp_path, text))
    assert trials.name == "list.txt"
    assert trials.utterances == ("anna/a/1", "bert/1", "anna/a/2")
    assert trials.enrol.tolist() == [0, 0, 1]
    assert trials.test.tolist() == [2, 1, 2]
    assert trials.labels.tolist() == [True, False, False]
    assert (trials.enrol.dtype, trials.test.dtype, trials.labels.dtype) == (np.int64, np.int64, np.bool_)
    assert len(trials) == 3
    assert trials.duplicates == 0


@pytest.mark.parametrize("text", [VOXCELEB, KALDI])
def test_line_ends_blank_lines_tabs_and_byte_order_marks_change_nothing(tmp_path: Path, text: str) -> None:
    plain = read_trials(written(tmp_path, text))
    odd = "\ufeff" + text.replace("\n", "\r\n\r\n").replace(" ", "\t ").rstrip()
    other = read_trials(written(tmp_path, odd))
    assert other.utterances == plain.utterances
    for name in ("enrol", "test", "labels"):
        assert np.array_equal(getattr(other, name), getattr(plain, name))


def test_one_utterance_under_two_extensions_is_one(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, "1 a/1.wav a/1.flac\n0 a/1 b/v1.2\n"))
    assert trials.utterances == ("a/1", "b/v1.2")
    assert trials.enrol.tolist() == [0, 0]


def test_repeated_trials_are_kept_and_counted(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, VOXCELEB + VOXCELEB + VOXCELEB.replace(".wav", "")))
    assert (len(trials), trials.duplicates) == (9, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the trial list is empty"),
        ("\n \n\r\n", "the trial list is empty"),
        (VOXCELEB + "1 a", r"line 4: 2 words where a trial has 3"),
        (VOXCELEB + "1 a\nb 0 c d", r"line 4: 2 words where a trial has 3"),
        ("1 a\nb 0 c d\n", r"line 1: 2 words"),
        ("a b c d\n" + VOXCELEB, r"line 1: 4 words"),
        (VOXCELEB + "\n2 a b\n", r"line 5: its label is '2'"),
        ("anna bert Target\n", r"line 1: its label is 'anna'"),
        (KALDI + "a b imposter\n", r"line 4: its label is 'imposter'"),
        (VOXCELEB + KALDI, r"line 4: the lines before it are in the other format"),
        (KALDI + VOXCELEB, r"line 4: the lines before it are in the other format"),
        ("1 a b\n1 a c\n", "target trials only: EER needs both"),
        ("a b nontarget\n", "non-target trials only: EER needs both"),
        (b"1 a b\n0 \xff\xfe c\n", "the trial list is not text"),
    ],
)
def test_lists_that_do_not_fit_are_refused_with_the_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_trials(written(tmp_path, text))
    assert "list.txt" in str(caught.value)


def test_a_long_line_is_shown_shortened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 4") as caught:
        read_trials(written(tmp_path, VOXCELEB + "x" * 5000))
    assert 100 < len(str(caught.value.got)) < 120


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such trial list"):
        read_trials(tmp_path / "absent")
    with pytest.raises(UserError, match="is a folder"):
        read_trials(tmp_path)


def test_resolving_finds_every_utterance_and_its_speaker(tmp_path: Path, corpus: Corpus) -> None:
    trials = read_trials(written(tmp_path, VOXCELEB))
    positions = resolve(trials, corpus)
    assert positions.dtype == np.int64
    assert [corpus.utterances[i] for i in positions] == list(trials.utterances)
    speakers = speakers_of(trials, corpus)
    assert np.array_equal(speakers[trials.enrol] == speakers[trials.test], trials.labels)


def test_unknown_utterances_are_counted_and_the_first_is_named(tmp_path: Path, corpus: Corpus) -> None:
    trials = read_trials(written(tmp_path, VOXCELEB + "0 carl/1.wav dora/1.wav\n"))
    message = r"2 of the 5 utterances in the trial list list.txt are not in the corpus(.|\n)*'carl/1'"
    with pytest.raises(UserError, match=message):
        resolve(trials, corpus)


def test_a_long_list_takes_time_in_proportion(tmp_path: Path, rng: np.random.Generator) -> None:
    pairs = rng.integers(0, 5000, (100_000, 2))
    text = "".join(f"{int(a == b or a % 7 == 0)} s{a}/1.wav s{b}/2.wav\n" for a, b in pairs.tolist())
    path = written(tmp_path, text)
    started = time.process_time()
    trials = read_trials(path)
    assert time.process_time() - started < 1.5  # a million in 3 s, with room for a busy machine
    first = [f"s{a}/1" for a in pairs[:, 0]]
    assert [trials.utterances[i] for i in trials.enrol] == first


def test_the_list_of_the_real_corpus(shared: Path) -> None:
    trials = read_trials(shared / "corpora/chorus/trials/dev.txt")
    assert (len(trials), int(trials.labels.sum()), len(trials.utterances)) == (41_746, 1_746, 700)
