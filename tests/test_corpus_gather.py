"""Sources of pack: the same speech named by a folder and by every form of list is the same corpus."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.corpus.gather import gather, recognised
from distilvox.corpus.pack import pack
from distilvox.errors import UserError
from tests.inputs.sources import MAKERS, REASONS, SPEECH, cut, kaldi, write


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("speech") / "tree"
    for name in SPEECH:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"{name}.wav", rng.uniform(-0.3, 0.3, 16_000), 16_000)
    return root


@pytest.fixture(scope="module")
def wanted(tree: Path) -> str:
    return pack(tree, tree.parent / "corpus", jobs=1, progress=False).corpus.id


@pytest.mark.parametrize("kind", MAKERS)
def test_every_form_is_recognised_and_gives_the_same_corpus(
    tmp_path: Path, tree: Path, wanted: str, kind: str
) -> None:
    form, make = MAKERS[kind]
    source = make(tree, tmp_path / "source")
    assert recognised(source) == form
    report = pack(source, tmp_path / "corpus", jobs=1, progress=False)
    assert report.rejected == []
    assert report.corpus.utterances == sorted(SPEECH)
    assert report.corpus.sessions == ["a", "b", "a"]
    assert report.corpus.id == wanted


def test_parts_of_recordings(tmp_path: Path, tree: Path) -> None:
    place = kaldi(tree, tmp_path / "kaldi")
    write(
        place / "segments",
        ["one anna/a/1 0 0.5", "two anna/a/1 0.25 -1", "far anna/a/9 0 1", "odd bert/a/1 x 1"],
    )
    write(place / "utt2spk", ["one anna", "two anna", "far anna", "odd bert"])
    found = gather([place])
    assert [(i.utterance, i.span, i.session) for i in found.items] == [
        ("one", (0.0, 0.5), "anna/a/1"),
        ("two", (0.25, None), "anna/a/1"),
    ]
    assert found.rejected == [
        ("far", "no recording 'anna/a/9' in wav.scp"),
        ("odd", "its times are 'x 1', and must be two numbers"),
    ]
    lines = [
        cut("a", tree / "anna/a/1.wav", start=0.25, duration=0.5),
        cut("b", tree / "anna/a/1.wav", duration=0.9995),
    ]
    found = gather([write(tmp_path / "cuts.jsonl", list(map(json.dumps, lines)))])
    assert [(i.utterance, i.span, i.session) for i in found.items] == [
        ("a", (0.25, 0.75), "r"),
        ("b", None, "-"),
    ]
    lines = [
        {"audio_filepath": f"{tree}/anna/a/1.wav", "offset": t, "duration": 0.5, "label": "x"}
        for t in (0, 0.5)
    ]
    found = gather([write(tmp_path / "m.json", list(map(json.dumps, lines)))])
    assert [(i.utterance, i.span) for i in found.items] == [
        ("1-0000000-0000500", (0.0, 0.5)),
        ("1-0000500-0001000", (0.5, 1.0)),
    ]


def test_speech_without_speakers(tmp_path: Path, tree: Path) -> None:
    place = kaldi(tree, tmp_path / "kaldi")
    (place / "utt2spk").unlink()
    reason = "utterance 'anna/a/1': no speaker"
    assert gather([place]).rejected[0] == (f"{tree}/anna/a/1.wav", reason)
    found = gather([place], unlabelled=True)
    assert {(item.speaker, item.session) for item in found.items} == {("", "-")}


@pytest.mark.parametrize("kind", REASONS)
def test_what_cannot_be_used_is_named_and_the_rest_is_packed(tmp_path: Path, tree: Path, kind: str) -> None:
    form, line, reason = REASONS[kind]
    source = dict(MAKERS.values())[form](tree, tmp_path / "source")
    path = source / "wav.scp" if source.is_dir() else source
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    write(path, [*data.decode().splitlines(), line])
    if form == "kaldi":
        write(source / "utt2spk", [*(f"{name} {who}" for name, who in SPEECH.items()), "x x"])
    found = gather([source])
    assert [item.utterance for item in found.items] == sorted(SPEECH)
    assert len(found.rejected) == 1
    assert found.rejected[0][1].startswith(reason)


def test_several_sources_make_one_corpus_with_different_names(
    tmp_path: Path, tree: Path, wanted: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/anna").symlink_to(tree / "anna")
    other = write(
        tmp_path / "raw.list", [json.dumps({"key": "bert/a/1", "wav": f"{tree}/bert/a/1.wav", "spk": "bert"})]
    )
    both = pack([tmp_path / "one", other], tmp_path / "corpus", jobs=1, progress=False)
    assert both.corpus.id == wanted
    with pytest.raises(UserError, match=r"two sources have an utterance 'bert/a/1'\n.*tree and .*raw.list"):
        gather([tree, other])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("shard.list", "/data/shards_000000000.tar", "lists archives"),
        ("notes.txt", "hello", r"is a file, and no list of a known form\n.*'hello'"),
        ("empty.list", "", "an empty file"),
        ("speech.wav", "RIFF", "is a file, and a folder is needed"),
        ("x.csv", "ID,duration,wav,start,stop,spk_id\nx,1.0,x.wav,0,1,a", "do not count samples at 16 kHz"),
        ("y.csv", "ID,duration,wav,start,stop,spk_id\nx,1.0,x.wav,0,z,a", r"damaged: .*y.csv:2\n.*stop 'z'"),
        ("z.jsonl.gz", "no gzip", "this list is damaged"),
    ],
)
def test_files_that_are_no_source(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        gather([tmp_path / name])


def test_a_form_is_one_that_there_is(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(UserError, match=r"unknown form of a source\n.*'kladi'(.|\n)*did you mean 'kaldi'"):
        gather([tree], form="kladi")
    with pytest.raises(UserError, match="a table belongs to one folder"):
        gather([tree, tree], table=tmp_path / "t.csv")
    with pytest.raises(UserError, match="no such folder"):
        gather([tmp_path / "gone"])
