"""Corpora in which nobody knows who speaks in some utterances, or in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.corpus.describe import describe
from distilvox.corpus.labels import labelled, recordings
from distilvox.corpus.pack import pack
from distilvox.corpus.pairs import draw_trials
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.subset import SubsetConfig, part, training_part
from distilvox.corpus.table import UNKNOWN
from distilvox.corpus.trials import read_trials
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import read_json

FILES = ("x.wav", "show/1/a.wav", "show/1/b.wav", "show/2/a.wav")


@pytest.fixture
def speech(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name in FILES:
        (tmp_path / "speech" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "speech" / name, rng.uniform(-0.3, 0.3, 16_000), 16_000)
    return tmp_path / "speech"


def mixed(path: Path) -> Corpus:
    """Two speakers with two utterances each, and three utterances of nobody, two of them cuts of one recording."""
    writer = CorpusWriter(path, unlabelled=True)
    for k, (speaker, session) in enumerate(
        [("b", "s"), ("", "r"), ("a", "-"), ("", "r"), ("", "-"), ("a", "s"), ("b", "t")]
    ):
        writer.add(f"{speaker or 'u'}/{k}", speaker, session, np.full(8000, 100 + k, np.int16))
    return writer.finish()


def test_a_folder_is_packed_without_speakers_where_that_is_asked_for(tmp_path: Path, speech: Path) -> None:
    report = pack(speech, tmp_path / "c", unlabelled=True)
    corpus = report.corpus
    assert corpus.utterances == ["show/1/a", "show/1/b", "show/2/a", "x"]
    assert corpus.sessions == ["show/1", "show/1", "show/2", "-"]
    assert (corpus.speakers, corpus.labels.tolist()) == ([], [UNKNOWN] * 4)
    assert recordings(corpus).tolist() == [0, 0, 1, -1]
    assert report.notes == [
        "4 utterances have no speaker; those of one of their 2 sessions (folders, files) are not told apart in training"
    ]
    assert "packed 4 utterances of 0 speakers" in report.summary()
    corpus.verify()
    assert read_json(tmp_path / "c/corpus.json", noun="corpus")["version"] == 2
    assert describe(corpus)["without_speaker"] == 4
    again = pack(speech, tmp_path / "again", unlabelled=True)
    assert again.corpus.id == corpus.id


def test_a_flat_folder_says_nothing_of_recordings(tmp_path: Path, speech: Path) -> None:
    report = pack(speech / "show/1", tmp_path / "c", unlabelled=True)
    assert (report.corpus.utterances, report.corpus.sessions) == (["a", "b"], ["-", "-"])
    assert "each is taken for a recording of its own" in report.notes[0]
    pack(speech / "show", tmp_path / "two", unlabelled=True)
    (speech / "x.wav").unlink()
    (speech / "show/2/a.wav").unlink()
    assert pack(speech, tmp_path / "deep", unlabelled=True).corpus.sessions == ["-", "-"]


def test_nobody_is_asked_for(tmp_path: Path, speech: Path) -> None:
    with pytest.raises(UserError, match="where nobody knows them: --unlabelled"):
        pack(speech / "show/1", tmp_path / "c")
    writer = CorpusWriter(tmp_path / "c")
    with pytest.raises(UserError, match="an utterance needs a name and a speaker"):
        writer.add("a", "", "-", np.ones(8000, np.int16))
    writer.abort()


@pytest.mark.parametrize("header", ["path\tspeaker\tstart\tend", "path\tstart\tend"])
def test_a_tables_rows_may_lack_the_speaker(tmp_path: Path, speech: Path, header: str) -> None:
    middle = "\t" if "speaker" in header else ""
    rows = [f"show/1/a.wav{middle}\t0\t0.5", f"show/1/a.wav{middle}\t0.5\t1", f"x.wav{middle}\t\t"]
    rows += ["show/2/a.wav\tanna\t\t"] if middle else []
    table = tmp_path / "t.tsv"
    table.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(UserError, match=r"--unlabelled|no speaker"):
        pack(speech, tmp_path / "c", table=table)
    corpus = pack(speech, tmp_path / "c", table=table, unlabelled=True).corpus
    loose = np.flatnonzero(corpus.labels == UNKNOWN)
    assert [corpus.sessions[row] for row in loose] == ["show/1/a.wav", "show/1/a.wav", "-"]
    assert corpus.speakers == (["anna"] if middle else [])


def test_parts_and_subsets_keep_who_is_known(tmp_path: Path) -> None:
    corpus = mixed(tmp_path / "c")
    assert corpus.labels.tolist() == [1, -1, 0, -1, -1, 0, 1]
    assert [corpus.speaker(row) for row in range(7)] == ["b", "", "a", "", "", "a", "b"]
    assert recordings(corpus).tolist() == [-1, 0, -1, 0, -1, -1, -1]
    assert part(corpus, np.array([1, 0])).labels.tolist() == [-1, 0]
    assert labelled(corpus, wanted="this").utterances == ["b/0", "a/2", "a/5", "b/6"]
    some = training_part(corpus, SubsetConfig(per_speaker=1))
    assert np.bincount(some.labels + 1).tolist() == [3, 1, 1]
    with pytest.raises(UserError, match=r"no utterance of .* has a speaker, and this needs them"):
        labelled(part(corpus, np.array([1, 3])), wanted="this")
    corpus.verify()


def test_trials_are_of_people_who_are_known(tmp_path: Path) -> None:
    corpus = mixed(tmp_path / "c")
    drawn = draw_trials(corpus, tmp_path / "t.txt")
    assert (drawn.trials, drawn.targets) == (2 + 4, 2)
    Judge(corpus, read_trials(tmp_path / "t.txt"))
    (tmp_path / "bad.txt").write_text("1 a/2 a/5\n0 a/2 u/3\n")
    with pytest.raises(UserError, match=r"1 utterances of bad.txt have no speaker .*\n.*'u/3'"):
        Judge(corpus, read_trials(tmp_path / "bad.txt"))


def test_another_version_is_refused(tmp_path: Path) -> None:
    mixed(tmp_path / "c")
    text = (tmp_path / "c/corpus.json").read_text()
    (tmp_path / "c/corpus.json").write_text(text.replace('"version": 2', '"version": 3'))
    with pytest.raises(UserError, match=r"version 3\n.*version 1 or 2"):
        Corpus.open(tmp_path / "c")
