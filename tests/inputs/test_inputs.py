"""Every row of docs/inputs.md, made and read; and the page is what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.audio import read_sound
from distilvox.corpus.decode import decode
from distilvox.corpus.pack import pack
from distilvox.corpus.sources import Source, find
from distilvox.corpus.store import Corpus
from distilvox.corpus.trials import bind, read_trials
from distilvox.errors import UserError
from distilvox.ship.samples import sound_of
from distilvox.sound import AudioError
from tests.inputs.__main__ import PAGE
from tests.inputs.lists import TABLES, TRIALS, Text
from tests.inputs.page import page
from tests.inputs.recordings import RATE, RECORDINGS, Recording


def speech() -> np.ndarray:
    """Two seconds of noise with a swell: float64 [N], peak about 0.4."""
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal(2 * RATE) * (1 + 0.3 * np.sin(np.arange(2 * RATE) / 3000))


def kind_of(row: Recording | Text) -> str:
    return row.kind


@pytest.mark.parametrize("row", RECORDINGS, ids=kind_of)
def test_recordings(row: Recording, tmp_path: Path) -> None:
    path = tmp_path / row.name
    path.write_bytes(row.make(speech()))
    decoded = decode((str(path), None))
    if row.outcome == "rejected":
        assert isinstance(decoded, str)
        assert decoded.startswith(row.words)
        with pytest.raises(AudioError) as caught:
            sound_of(path)  # what ships says the same
        assert caught.value.reason == decoded
        return
    sound = read_sound(path)
    assert (sound.notes != ()) == (row.outcome == "noted")
    assert not row.words or sound.notes[0].startswith(row.words)
    assert sound_of(path).notes == sound.notes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("inputs") / "speech"
    for name in ("anna/1.wav", "anna/2.wav", "bert/1.wav"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(home / name, speech(), RATE)
    return home


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return pack(folder, folder.parent / "corpus", jobs=1, progress=False).corpus


def source_of(row: Text, folder: Path, path: Path) -> Source:
    path.write_bytes(row.text.encode(row.encoding))
    return find(folder, table=path)


@pytest.mark.parametrize("row", TABLES, ids=kind_of)
def test_tables(row: Text, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    if row.outcome == "refused":
        with pytest.raises(UserError) as caught:
            source_of(row, folder, path)
        assert row.words in str(caught.value)
        return
    source = source_of(row, folder, path)
    said = {"rejected": source.rejected, "noted": source.notes}
    for outcome, pairs in said.items():
        assert bool(pairs) == (outcome == row.outcome)
    assert all(row.words in words for _, words in said.get(row.outcome, []))
    if "cut" in row.kind:
        assert [item.span for item in source.items] == [(0.1, 0.9)]


@pytest.mark.parametrize("row", TRIALS, ids=kind_of)
def test_trials(row: Text, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(row.text.encode(row.encoding))
    if row.outcome == "refused":
        with pytest.raises(UserError) as caught:
            bind(read_trials(path), corpus)
        assert row.words in str(caught.value)
        return
    trials, rows = bind(read_trials(path), corpus)
    assert trials.utterances[0] == "anna/1"
    assert trials.labels[:2].tolist() == [True, False]
    assert [corpus.utterances[k] for k in rows] == list(trials.utterances)
    assert trials.duplicates == (1 if row.outcome == "noted" else 0)


def test_the_page_is_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.inputs"


def test_no_kind_stands_twice_in_a_table() -> None:
    for rows in (RECORDINGS, TABLES, TRIALS):
        kinds = [row.kind for row in rows]
        assert len(set(kinds)) == len(kinds)
