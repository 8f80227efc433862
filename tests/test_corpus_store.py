from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.errors import UserError

NAMES = ["bert/x/1", "anna/x/1", "anna/y/1", "carl/x/1", "anna/x/2"]


def waves(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(-32768, 32768, 8000 + 7 * i).astype(np.int16) for i in range(len(NAMES))]


def write(path: Path, contents: list[np.ndarray], names: list[str] = NAMES, **columns: Any) -> Corpus:
    writer = CorpusWriter(path)
    for name, wave in zip(names, contents, strict=True):
        speaker, session, _ = name.split("/")
        writer.add(name, speaker, session, wave, **columns)
    return writer.finish()


def test_what_is_written_is_read(tmp_path: Path, rng: np.random.Generator) -> None:
    contents = waves(rng)
    write(tmp_path / "c", contents, age=4.5, gender="f")
    corpus = Corpus.open(tmp_path / "c")
    assert len(corpus) == 5
    assert corpus.utterances == NAMES
    assert corpus.speakers == ["anna", "bert", "carl"]
    assert corpus.labels.tolist() == [1, 0, 0, 2, 0]
    assert corpus.sessions == ["x", "x", "y", "x", "x"]
    assert corpus.samples.tolist() == [len(wave) for wave in contents]
    assert corpus.columns == {"age": [4.5] * 5, "gender": ["f"] * 5}
    assert corpus.sample_rate == 16_000
    for i, wave in enumerate(contents):
        assert np.array_equal(corpus.wave(i), wave)
    assert not (tmp_path / "c.partial").exists()


def test_a_crop_is_the_slice_of_the_wave_and_a_view_of_the_map(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    corpus = write(tmp_path / "c", waves(rng))
    for index in range(len(corpus)):
        length = int(corpus.samples[index])
        for start, stop in ((0, length), (5, 105), (length - 1, length), (length, length), (3, 3)):
            crop = corpus.crop(index, start, stop - start)
            assert np.array_equal(crop, corpus.wave(index)[start:stop])
            assert len(crop) == 0 or np.shares_memory(crop, corpus.wave(index))
    with pytest.raises(ValueError, match="read-only"):
        corpus.wave(0)[0] = 1


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 8001), (7999, 2), (5, -1)])
def test_a_crop_never_reaches_into_another_utterance(
    tmp_path: Path, rng: np.random.Generator, start: int, length: int
) -> None:
    corpus = write(tmp_path / "c", waves(rng))
    with pytest.raises(IndexError, match="of 8000"):
        corpus.crop(0, start, length)


def test_index_undoes_utterances_with_or_without_extension(tmp_path: Path, rng: np.random.Generator) -> None:
    corpus = write(tmp_path / "c", waves(rng))
    for i, utterance in enumerate(corpus.utterances):
        assert (
            corpus.index(utterance)
            == corpus.index(utterance + ".wav")
            == corpus.index(utterance + ".OPUS")
            == i
        )
    with pytest.raises(UserError, match=r"no such utterance(.|\n)*did you mean 'anna/x/2'"):
        corpus.index("anna/xx/2.wav")
    assert corpus.has("anna/x/2.wav")
    assert not corpus.has("anna/x/3")


def test_addresses_depend_on_the_name_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    corpus = write(tmp_path / "c", waves(rng))
    address = corpus.address()
    assert address.dtype == np.uint64
    assert len(set(address.tolist())) == 5
    expected = [int.from_bytes(hashlib.blake2b(u.encode(), digest_size=8).digest(), "little") for u in NAMES]
    assert address.tolist() == expected


def test_the_id_is_the_contents(tmp_path: Path, rng: np.random.Generator) -> None:
    contents = waves(rng)
    first = write(tmp_path / "a", contents, age=1.0)
    assert write(tmp_path / "b", contents, age=1.0).id == first.id
    other = [*contents[:-1], contents[-1].copy()]
    other[-1][0] ^= 1
    ids = {
        first.id,
        write(tmp_path / "c", other, age=1.0).id,
        write(tmp_path / "d", contents, age=2.0).id,
        write(tmp_path / "e", contents, [*NAMES[:-1], "anna/x/3"], age=1.0).id,
        write(tmp_path / "f", contents[::-1], NAMES[::-1], age=1.0).id,
    }
    assert len(ids) == 5


def test_verify_finds_one_changed_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    corpus = write(tmp_path / "c", waves(rng), age=1.0)
    corpus.verify()
    data = bytearray((tmp_path / "c/audio.bin").read_bytes())
    data[12345] ^= 1
    (tmp_path / "c/audio.bin").write_bytes(data)
    with pytest.raises(UserError, match="content has changed"):
        corpus.verify()
    with pytest.raises(UserError, match="have changed since"):
        Corpus.open(tmp_path / "c")


def test_a_corpus_of_nothing_opens(tmp_path: Path) -> None:
    corpus = CorpusWriter(tmp_path / "c").finish()
    assert (len(corpus), corpus.speakers, corpus.labels.shape, corpus.seconds) == (0, [], (0,), 0.0)
    assert corpus.address().shape == (0,)
    corpus.verify()
    with pytest.raises(UserError, match="no such utterance"):
        corpus.index("anna")


def test_what_is_not_a_corpus(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(UserError, match=r"does not exist(.|\n)*distilvox pack"):
        Corpus.open(tmp_path / "absent")
    writer = CorpusWriter(tmp_path / "half")
    with pytest.raises(UserError, match="pack did not finish; run it again to resume"):
        Corpus.open(tmp_path / "half")
    with pytest.raises(UserError, match="pack did not finish; run it again to resume"):
        Corpus.open(tmp_path / "half.partial")
    writer.abort()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no corpus here"):
        Corpus.open(tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        Corpus.open(tmp_path / "file")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: os.truncate(c / "audio.bin", 4000), r"do not agree(.|\n)*4,000 bytes"),
        (lambda c: (c / "audio.bin").unlink(), "do not agree"),
        (lambda c: (c / "corpus.json").unlink(), "run it again to resume"),
        (lambda c: (c / "corpus.json").write_text("{"), "damaged"),
        (lambda c: (c / "corpus.json").write_text("[]"), r"does not know(.|\n)*version None"),
        (lambda c: (c / "corpus.json").write_text('{"version": 1}'), r"damaged(.|\n)*lacks"),
        (lambda c: (c / "corpus.json").write_text('{"version": 99}'), "version 99"),
        (lambda c: (c / "utterances.parquet").unlink(), "utterances.parquet does not exist"),
        (lambda c: (c / "utterances.parquet").write_bytes(b"PAR1 and no more"), "damaged"),
    ],
)
def test_damage_is_noticed_when_opening(
    tmp_path: Path, rng: np.random.Generator, damage: Any, message: str
) -> None:
    write(tmp_path / "c", waves(rng))
    damage(tmp_path / "c")
    with pytest.raises(UserError, match=message):
        Corpus.open(tmp_path / "c")


def test_the_manifest_counts(tmp_path: Path, rng: np.random.Generator) -> None:
    corpus = write(tmp_path / "c", waves(rng))
    manifest = json.loads((tmp_path / "c/corpus.json").read_text())
    assert manifest == {
        "version": 1,
        "sample_rate": 16_000,
        "utterances": 5,
        "speakers": 3,
        "seconds": corpus.samples.sum() / 16_000,
        "sha256": corpus.id,
    }


@pytest.mark.parametrize(
    ("arguments", "columns", "message"),
    [
        (("bert/x/1", "bert", "x", np.ones(9, np.int16)), {"age": 1.0}, "in the corpus already"),
        (("a", "", "x", np.ones(9, np.int16)), {"age": 1.0}, "needs a name and a speaker"),
        (("a", "b", "x", np.ones(9, np.float32)), {"age": 1.0}, "must be int16"),
        (("a", "b", "x", np.ones((2, 9), np.int16)), {"age": 1.0}, "must be int16"),
        (("a", "b", "x", np.ones(0, np.int16)), {"age": 1.0}, "N > 0"),
        (("a", "b", "x", np.ones(9, np.int16)), {}, "the same columns"),
        (("a", "b", "x", np.ones(9, np.int16)), {"age": "one"}, "the same types"),
    ],
)
def test_the_writer_refuses_at_the_door(
    tmp_path: Path, arguments: tuple[str, str, str, np.ndarray], columns: dict[str, Any], message: str
) -> None:
    writer = CorpusWriter(tmp_path / "c")
    writer.add("bert/x/1", "bert", "x", np.ones(9, np.int16), age=1.0)
    with pytest.raises(UserError, match=message):
        writer.add(*arguments, **columns)
    assert writer.finish().utterances == ["bert/x/1"]


@pytest.mark.parametrize("columns", [{"offset": 1}, {"samples": 1}, {"age": None}, {"age": np.float32(1)}])
def test_columns_that_a_table_cannot_hold(tmp_path: Path, columns: dict[str, Any]) -> None:
    writer = CorpusWriter(tmp_path / "c")
    with pytest.raises(UserError, match="column"):
        writer.add("a", "b", "-", np.ones(9, np.int16), **columns)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_never_written_over(tmp_path: Path, rng: np.random.Generator) -> None:
    write(tmp_path / "c", waves(rng))
    with pytest.raises(UserError, match=r"exists(.|\n)*remove it, or choose another"):
        CorpusWriter(tmp_path / "c")


def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = CorpusWriter(tmp_path / "c")
    writer.add("a", "b", "-", np.ones(9, np.int16))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full") as caught:
        writer.finish()
    assert caught.value.exit_code == 1
    assert not (tmp_path / "c").exists()
    monkeypatch.undo()
    writer.abort()
