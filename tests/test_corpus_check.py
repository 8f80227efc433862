"""A corpus whose files are well-formed and wrong: types, places, samples; and one that changes while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from distilvox.corpus.check import drawn, sample_check
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.corpus.subset import part
from distilvox.errors import UserError
from tests.faults.mutations import MISSING, mutations
from tests.faults.table import fault
from tests.running import refused, succeed


@pytest.fixture
def corpus(tmp_path: Path, rng: np.random.Generator) -> Path:
    writer = CorpusWriter(tmp_path / "c")
    for k in range(6):
        wave = rng.integers(-999, 999, 800 + k).astype(np.int16)
        writer.add(f"u{k}", f"s{k % 2}", f"day{k % 3}", wave, age=1.5 * k + 10)
    return writer.finish().path


def change(corpus: Path, name: str, how: Callable[[Any], Any]) -> None:
    """Writes the table again with one column changed."""
    table = parquet.read_table(corpus / "utterances.parquet")
    new = how(table[name].to_pylist())
    place = table.column_names.index(name)
    parquet.write_table(table.set_column(place, name, pyarrow.array(new)), corpus / "utterances.parquet")


def opened(corpus: Path) -> str:
    """The message with which opening it is refused."""
    with pytest.raises(UserError) as caught:
        Corpus.open(corpus)
    return str(caught.value)


def test_every_utterance_has_its_check_and_a_part_of_it_too(corpus: Path) -> None:
    found = Corpus.open(corpus)
    assert found.checks is not None
    assert found.checks.tolist() == [sample_check(found.wave(k)) for k in range(6)]
    some = part(found, np.array([4, 1]))
    assert some.checks is not None
    assert some.checks.tolist() == [found.checks[4], found.checks[1]]
    some.check()
    assert "check" not in found.columns
    assert all(0 <= check < 2**63 for check in found.checks)


def test_a_corpus_from_before_there_were_checks_opens(corpus: Path) -> None:
    table = parquet.read_table(corpus / "utterances.parquet").drop_columns(["check"])
    parquet.write_table(table, corpus / "utterances.parquet")
    found = Corpus.open(corpus)
    assert found.checks is None
    found.check()
    found.verify()


def test_what_is_looked_at_differs() -> None:
    assert drawn(3) == [0, 1, 2]
    assert drawn(0) == []
    assert len({tuple(drawn(1000)) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (lambda held: [0] * len(held), "the samples of 'u1' are not where those before it end"),
        (lambda held: [held[0] + 1, *held[1:]], "the samples of 'u0' are not where"),
        (lambda held: [*held[:-1], held[-1] + 1], "the samples of 'u5' are not where"),
        (lambda held: [*held[:-1], 10**12], "the samples of 'u5' are not where"),
        (lambda held: [-1, *held[1:]], "'u0' has no place in audio.bin"),
    ],
)
def test_places_that_do_not_fit_the_audio(corpus: Path, offsets: Callable[[Any], Any], message: str) -> None:
    """All offsets 0 once trained on the wrong audio, with exit code 0."""
    change(corpus, "offset", offsets)
    assert message in opened(corpus)
    assert fault("a table whose offsets are wrong").sees in opened(corpus)


def test_any_order_of_the_rows_will_do(corpus: Path) -> None:
    table = parquet.read_table(corpus / "utterances.parquet")
    parquet.write_table(table.take([5, 0, 3, 1, 4, 2]), corpus / "utterances.parquet")
    assert Corpus.open(corpus).utterances == ["u5", "u0", "u3", "u1", "u4", "u2"]


WRONG: dict[str, Callable[[Any], Any]] = {
    "number": lambda held: list(range(len(held))),
    "text": lambda held: [f"x{k}" for k in range(len(held))],
    "fraction": lambda held: [k + 0.5 for k in range(len(held))],
    "list": lambda held: [[k] for k in range(len(held))],
    "table": lambda held: [{"a": k} for k in range(len(held))],
    "bytes": lambda held: [b"\xff"] * len(held),
    "none": lambda held: [None] * len(held),
    "gap": lambda held: [None, *held[1:]],
    "truth": lambda held: [True] * len(held),
    "negative": lambda held: [-1] * len(held),
    "huge": lambda held: [2**62] * len(held),
    "one": lambda held: [held[0]] * len(held),
}


@pytest.mark.parametrize("name", ["utterance", "speaker", "session", "offset", "samples", "check", "age"])
def test_a_column_of_another_type_is_named(name: str, corpus: Path) -> None:
    before = (corpus / "utterances.parquet").read_bytes()
    row = fault("a table of the wrong types")
    named = 0
    for kind, how in WRONG.items():
        (corpus / "utterances.parquet").write_bytes(before)
        change(corpus, name, how)
        try:
            Corpus.open(corpus).verify()
        except UserError as error:
            named += f"{row.sees}column {name!r}" in str(error).replace(
                f"{corpus / 'utterances.parquet'}, ", ""
            )
        else:
            raise AssertionError(f"{name} = {kind} was believed")
    assert named >= 5


def test_a_manifest_of_the_wrong_types_is_named(corpus: Path) -> None:
    manifest = json.loads((corpus / "corpus.json").read_text())
    free = {"speakers", "seconds"}
    for mutation in mutations(manifest):
        (corpus / "corpus.json").write_text(json.dumps(mutation.value))
        place = str(mutation.place[0]) if mutation.place else ""
        if place in free and (mutation.now is MISSING or type(mutation.now) in (int, float)):
            continue
        if place == "sample_rate" and mutation.now == MISSING:
            assert "it lacks sample_rate" in opened(corpus)
            continue
        assert opened(corpus)
        if place in ("sample_rate", "speakers", "seconds"):
            assert f"at {place}" in opened(corpus) or "Infinity is no number" in opened(corpus)


def test_one_changed_sample_is_found_when_it_is_looked_at(corpus: Path) -> None:
    data = bytearray((corpus / "audio.bin").read_bytes())
    data[2 * 801] ^= 1
    (corpus / "audio.bin").write_bytes(data)
    assert f"{fault('audio.bin is damaged').sees}'u1' have changed since it was packed" in opened(corpus)
    assert "--verify" in opened(corpus)


def test_verify_reads_all_of_it(corpus: Path, tmp_path: Path) -> None:
    ran = succeed("corpus", corpus, "--verify")
    assert f"every sample and every row is as it was packed (sha256 {Corpus.open(corpus).id})" in ran.err
    change(corpus, "session", lambda held: ["b"] * len(held))
    assert "its content has changed since it was packed" in refused(2, "corpus", corpus, "--verify")


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_bus_error(corpus: Path) -> None:
    found = Corpus.open(corpus)
    with open(corpus / "audio.bin", "r+b") as file:
        file.truncate(2 * 1000)
    found.wave(0)
    row = fault("audio.bin is cut while it is read")
    with pytest.raises(UserError, match=rf"audio\.bin {row.sees}"):
        found.wave(5)


def test_a_file_that_is_zeroed_while_it_is_read_is_found_at_the_next_check(corpus: Path) -> None:
    found = Corpus.open(corpus)
    found.check()
    with open(corpus / "audio.bin", "r+b") as file:
        file.write(bytes((corpus / "audio.bin").stat().st_size))
    with pytest.raises(UserError, match="have changed since it was packed"):
        found.check()
