from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.pairs import draw_trials
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.trials import bind, read_trials, resolve, speakers_of
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


def relabelled(target: str, other: str) -> str:
    return KALDI.replace(" nontarget", f" {other}").replace(" target", f" {target}")


FORMS = {
    "VoxCeleb": VOXCELEB,
    "Kaldi": KALDI,
    "CN-Celeb": relabelled("1", "0"),
    "VOiCES": relabelled("tgt", "imp"),
    "Kaldi's words first": "target anna/a/1 anna/a/2\nnontarget anna/a/1 bert/1\nnontarget bert/1 anna/a/2\n",
    "backslashes": VOXCELEB.replace("/", "\\"),
    "dots": VOXCELEB.replace("anna", "./anna").replace("bert", "./bert"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_trials(tmp_path: Path, corpus: Corpus, form: str) -> None:
    trials, rows = bind(read_trials(written(tmp_path, FORMS[form])), corpus)
    assert trials.name == "list.txt"
    assert trials.utterances == ("anna/a/1", "bert/1", "anna/a/2")
    assert rows.tolist() == [0, 2, 1]
    assert trials.enrol.tolist() == [0, 0, 1]
    assert trials.test.tolist() == [2, 1, 2]
    assert trials.labels.tolist() == [True, False, False]
    assert (trials.enrol.dtype, trials.test.dtype, trials.labels.dtype) == (np.int64, np.int64, np.bool_)
    assert len(trials) == 3
    assert trials.duplicates == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [VOXCELEB, KALDI])
def test_line_ends_blank_lines_tabs_and_encodings_change_nothing(
    tmp_path: Path, corpus: Corpus, text: str, encoding: str
) -> None:
    plain, rows = bind(read_trials(written(tmp_path, text)), corpus)
    odd = text.replace("\n", "\r\n\r\n").replace(" ", "\t ").rstrip().encode(encoding)
    other, rows_of_odd = bind(read_trials(written(tmp_path, odd)), corpus)
    assert other.utterances == plain.utterances
    assert np.array_equal(rows, rows_of_odd)
    for name in ("enrol", "test", "labels"):
        assert np.array_equal(getattr(other, name), getattr(plain, name))


def test_names_stay_as_written_until_they_are_bound(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, "1 a/1.wav a/1.flac\n0 a/1 b/v1.2\n"))
    assert trials.utterances == ("a/1.wav", "a/1", "a/1.flac", "b/v1.2")
    assert trials.enrol.tolist() == [0, 1]


@pytest.mark.parametrize("itself", ["1 bert/1 bert/1", "1 bert/1.wav bert/1.flac", "1 ./bert/1 bert/1.wav"])
def test_an_utterance_is_not_compared_with_itself(tmp_path: Path, corpus: Corpus, itself: str) -> None:
    trials = read_trials(written(tmp_path, VOXCELEB + itself))
    message = r"1 of the 4 trials of list.txt compare an utterance with itself(.|\n)*trial 4, of '\.?/?bert"
    with pytest.raises(UserError, match=message):
        bind(trials, corpus)


def test_repeated_trials_are_kept_and_counted(tmp_path: Path, corpus: Corpus) -> None:
    turned = "1 anna/a/2 anna/a/1\n"
    trials = read_trials(written(tmp_path, VOXCELEB + VOXCELEB + VOXCELEB.replace(".wav", "") + turned))
    assert (len(trials), trials.duplicates) == (10, 4)
    assert bind(trials, corpus)[0].duplicates == 7


NAMES = {
    "an extension inside": ["id0/1.m4a", "id0/2.mp4", "maria.au/1", "maria.au/1.wav"],
    "blanks": ["Anna Maria/1", "Anna Maria/2 b", "Jos\u00a0e/1", "Anna  Maria/1"],
    "blanks at the ends": [" anna/1", "anna/1", "bert/1 ", "bert/1"],
    "forms of one letter": ["Jos\u00e9/1", "Jose\u0301/1", "bert/1", "bert/2"],
    "labels": ["1", "0", "target", "nontarget"],
    "quotes and marks": ['a"b/1', "a'b/1", "a,b/1", "#a;b/1"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_list_that_we_wrote_reads_back_whatever_the_names(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    writer = CorpusWriter(tmp_path / "c")
    for k, name in enumerate(NAMES[kind]):
        writer.add(name, "first" if k < 2 else "second", "-", rng.integers(-9, 9, 8000).astype(np.int16))
    corpus = writer.finish()
    draw_trials(corpus, tmp_path / "list.txt")
    trials, rows = bind(read_trials(tmp_path / "list.txt"), corpus)
    assert sorted(corpus.utterances[row] for row in rows) == sorted(NAMES[kind])
    assert (len(trials), int(trials.labels.sum())) == (6, 2)
    speakers = corpus.labels[rows]
    assert np.array_equal(speakers[trials.enrol] == speakers[trials.test], trials.labels)


@pytest.mark.parametrize("bad", ["a\t1", "a\n1", "a\x0b1", "a\u20281", "a\x851"])
def test_a_name_that_no_list_can_hold_is_refused_before_anything_is_written(tmp_path: Path, bad: str) -> None:
    writer = CorpusWriter(tmp_path / "c")
    for name in ((bad, "s", "-"), ("u", bad, "-"), ("u", "s", bad)):
        with pytest.raises(UserError, match="a name has control characters, which no list can hold"):
            writer.add(*name, np.ones(8000, np.int16))
    writer.abort()


def test_a_list_in_one_unicode_form_finds_names_in_the_other(tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "c")
    for name in ("Jose\u0301/1", "Jose\u0301/2", "bert/1"):
        writer.add(name, name[:-2], "-", np.ones(8000, np.int16))
    corpus = writer.finish()
    composed = "1 Jos\u00e9/1.wav Jos\u00e9/2.wav\n0 Jos\u00e9/1.wav bert/1.wav\n"
    assert bind(read_trials(written(tmp_path, composed)), corpus)[1].tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"'Jos\u00e9/3', that is 'Jos\\xe9/3'"):
        resolve(read_trials(written(tmp_path, composed + "0 Jos\u00e9/3 bert/1")), corpus)


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
        ("anna bert Target\n", r"line 1: neither 'anna' at its beginning nor 'Target' at its end is a label"),
        ("a b 2\n", r"neither 'a' at its beginning nor '2' at its end is a label"),
        ("1,a,b\n0,a,c\n", r"line 1: 1 words where a trial has 3, and they are separated by commas"),
        ("1\ta\tb\n0\ta\t\n", r"line 2: 2 words where a trial has 3"),
        (
            "1 Anna Maria/1 b/1\n",
            r"line 1: 4 words(.|\n)*where names have blanks, separate the words by tabs",
        ),
        ("1 a b\n".encode("utf-16-le"), r"is not text(.|\n)*NUL bytes(.|\n)*iconv -f utf-16le -t utf-8"),
        ("1 Jos\u00e9 b\n".encode("latin-1"), r"is not text in UTF-8(.|\n)*iconv -f windows-1252 -t utf-8"),
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
    assert [corpus.utterances[i] for i in positions] == ["anna/a/1", "bert/1", "anna/a/2"]
    speakers = speakers_of(trials, corpus)
    assert np.array_equal(speakers[trials.enrol] == speakers[trials.test], trials.labels)


def test_unknown_utterances_are_counted_and_the_first_is_named(tmp_path: Path, corpus: Corpus) -> None:
    trials = read_trials(written(tmp_path, VOXCELEB + "0 carl/1.wav dora/1.wav\n"))
    message = r"2 of the 5 utterances in the trial list list.txt are not in the corpus(.|\n)*'carl/1.wav'"
    with pytest.raises(UserError, match=message):
        resolve(trials, corpus)


def test_a_long_list_takes_time_in_proportion(tmp_path: Path, rng: np.random.Generator) -> None:
    pairs = rng.integers(0, 5000, (100_000, 2))
    text = "".join(f"{int(a == b or a % 7 == 0)} s{a}/1.wav s{b}/2.wav\n" for a, b in pairs.tolist())
    path = written(tmp_path, text)
    started = time.process_time()
    trials = read_trials(path)
    assert time.process_time() - started < 1.5  # a million in 3 s, with room for a busy machine
    first = [f"s{a}/1.wav" for a in pairs[:, 0]]
    assert [trials.utterances[i] for i in trials.enrol] == first


def test_the_list_of_the_real_corpus(shared: Path) -> None:
    trials = read_trials(shared / "corpora/chorus/trials/dev.txt")
    assert (len(trials), int(trials.labels.sum()), len(trials.utterances)) == (41_746, 1_746, 700)
