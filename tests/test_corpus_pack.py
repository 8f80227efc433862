from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.corpus import pack as module
from distilvox.corpus.pack import PackReport, pack
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError

RATE = 16_000


def speech(rng: np.random.Generator, seconds: float = 0.6, rate: int = RATE) -> np.ndarray:
    time_axis = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * rng.uniform(100, 300) * time_axis) + 0.02 * rng.standard_normal(
        len(time_axis)
    )


def put(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Four speakers, with and without sessions."""
    for name in ("anna/a/1", "anna/a/2", "anna/b/x/1", "bert/1", "carl/a/1", "dora/a/1"):
        put(tmp_path / "speech" / f"{name}.wav", speech(rng))
    return tmp_path / "speech"


def quietly(source: Path, out: Path, **options: object) -> PackReport:
    settings: dict = {"jobs": 1, "progress": False, **options}
    return pack(source, out, **settings)


def test_a_folder_of_speakers(tmp_path: Path, folder: Path) -> None:
    report = quietly(folder, tmp_path / "c")
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.utterances == ["anna/a/1", "anna/a/2", "anna/b/x/1", "bert/1", "carl/a/1", "dora/a/1"]
    assert corpus.sessions == ["a", "a", "b/x", "-", "a", "a"]
    assert corpus.speakers == ["anna", "bert", "carl", "dora"]
    assert (report.packed, report.rejected, report.ignored) == (6, [], {})
    for index, utterance in enumerate(corpus.utterances):
        expected, _ = soundfile.read(folder / f"{utterance}.wav", dtype="int16")
        assert np.array_equal(corpus.wave(index), expected)
    corpus.verify()
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        *("audio.bin", "corpus.json", "rejected.tsv", "utterances.parquet")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "speech"]


def spoil(folder: Path, rng: np.random.Generator) -> dict[str, str]:
    """Adds everything that can be wrong; returns what must be rejected, and the start of each reason."""
    bad = folder / "evil/s"
    nan = speech(rng)
    nan[100] = np.nan
    put(bad / "cut.opus", speech(rng, 3), format="OGG", subtype="OPUS")
    (bad / "cut.opus").write_bytes((bad / "cut.opus").read_bytes()[:-200])
    (bad / "empty.wav").touch()
    (bad / "text.wav").write_text("this is text\n" * 100)
    put(bad / "nan.wav", nan, subtype="FLOAT")
    put(bad / "short.wav", speech(rng, 0.2))
    put(bad / "silence.wav", np.zeros(RATE))
    put(folder / "loose.wav", speech(rng))
    put(folder / "anna/a/1.flac", speech(rng))
    (bad / "film.m4a").write_bytes(b"\0" * 50)
    (bad / "gone.wav").symlink_to(folder / "nowhere.wav")
    return {
        "anna/a/1.wav": "utterance 'anna/a/1' again: anna/a/1.flac has this name already",
        "evil/s/cut.opus": "truncated",
        "evil/s/empty.wav": "empty file",
        "evil/s/film.m4a": "not audio",
        "evil/s/gone.wav": "no such file",
        "evil/s/nan.wav": "NaN or infinite samples",
        "evil/s/short.wav": "too short: 0.20 s, at least 0.50 s",
        "evil/s/silence.wav": "silence",
        "evil/s/text.wav": "not audio",
        "loose.wav": "lies in SRC itself",
    }


def test_exactly_the_bad_files_are_rejected_and_named(
    tmp_path: Path, folder: Path, rng: np.random.Generator
) -> None:
    expected = spoil(folder, rng)
    put(folder / "evil/s/stereo.WAV", np.stack([speech(rng, 0.7, 44_100)] * 2, axis=1), 44_100)
    for name in ("README", "notes.txt", "more.txt", ".hidden.wav", "anna/list.tsv"):
        (folder / name).write_text("not for packing")
    report = quietly(folder, tmp_path / "c", max_rejected=1.0)
    assert [path for path, _ in report.rejected] == list(expected)
    for (path, reason), start in zip(report.rejected, expected.values(), strict=True):
        assert reason.startswith(start), path
    assert report.packed == len(report.corpus) == 7
    assert report.corpus.samples[report.corpus.index("evil/s/stereo")] == round(0.7 * RATE)
    assert report.ignored == {".tsv": 1, ".txt": 2, "README": 1, "hidden": 1}
    lines = (tmp_path / "c/rejected.tsv").read_text().splitlines()
    assert lines == ["path\treason", *(f"{path}\t{reason}" for path, reason in report.rejected)]
    summary = report.summary().splitlines()
    assert summary[-2].endswith("1 .tsv, 2 .txt, 1 README, 1 hidden")
    assert "packed 7 utterances of 5 speakers" in summary[-1]
    assert "rejected 10" in summary[-1]


def test_too_many_bad_files_leave_a_list_and_nothing_else(
    tmp_path: Path, folder: Path, rng: np.random.Generator
) -> None:
    expected = spoil(folder, rng)
    message = r"10 of 16 \(62\.5%\)(.|\n)*anna/a/1\.wav: utterance(.|\n)*and 5 more(.|\n)*1\.0%"
    with pytest.raises(UserError, match=message) as caught:
        quietly(folder, tmp_path / "c")
    assert caught.value.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.rejected.tsv", "speech"]
    lines = (tmp_path / "c.rejected.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == list(expected)


def test_the_share_itself_is_still_allowed(tmp_path: Path, folder: Path) -> None:
    (folder / "bert/2.wav").touch()
    with pytest.raises(UserError, match="1 of 7"):
        quietly(folder, tmp_path / "c", max_rejected=0.14)
    assert quietly(folder, tmp_path / "c", max_rejected=1 / 7).packed == 6


def test_an_empty_corpus_is_never_made(tmp_path: Path) -> None:
    (tmp_path / "s/anna").mkdir(parents=True)
    (tmp_path / "s/anna/1.wav").touch()
    with pytest.raises(
        UserError, match=r"1 of 1 \(100.0%\); nothing was packed(.|\n)*at least one usable"
    ) as caught:
        quietly(tmp_path / "s", tmp_path / "c", max_rejected=1.0)
    assert caught.value.exit_code == 1
    assert "--max-rejected" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.rejected.tsv", "s"]


def test_neither_order_nor_processes_change_a_bit(
    tmp_path: Path, folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        put(folder / f"more{i % 7}/{i}.wav", speech(rng))
    (folder / "more1/bad.wav").write_text("text")
    first = quietly(folder, tmp_path / "one", max_rejected=1.0)
    copy = tmp_path / "copy"
    for path in sorted(folder.rglob("*.wav"), reverse=True):
        (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "_FEW", 1)
    monkeypatch.setattr(module, "_TOGETHER_BYTES", 50_000)
    second = quietly(copy, tmp_path / "two", max_rejected=1.0, jobs=2)
    assert first.corpus.id == second.corpus.id
    assert first.rejected == second.rejected
    for name in ("audio.bin", "utterances.parquet", "corpus.json", "rejected.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_out_that_exists_is_refused(tmp_path: Path, folder: Path) -> None:
    quietly(folder, tmp_path / "c")
    with pytest.raises(UserError, match="exists"):
        quietly(folder, tmp_path / "c")
    with pytest.raises(UserError, match=r"corpus.json is a file"):
        quietly(folder, tmp_path / "c/corpus.json/d/e")
    assert quietly(folder, tmp_path / "new/d/e").packed == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [({"jobs": 0}, "jobs"), ({"max_rejected": 1.5}, "share"), ({"max_rejected": -0.1}, "share")],
)
def test_settings_out_of_range(tmp_path: Path, folder: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        quietly(folder, tmp_path / "c", **options)


def test_sources_with_nothing_in_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder(.|\n)*SRC/speaker"):
        quietly(tmp_path / "absent", tmp_path / "c")
    (tmp_path / "s").mkdir()
    with pytest.raises(UserError, match=r"nothing to pack(.|\n)*no files(.|\n)*SRC/speaker"):
        quietly(tmp_path / "s", tmp_path / "c")
    (tmp_path / "s/a.txt").touch()
    with pytest.raises(UserError, match=r"nothing to pack(.|\n)*1 \.txt"):
        quietly(tmp_path / "s", tmp_path / "c")
    with pytest.raises(UserError, match="is a file"):
        quietly(tmp_path / "s/a.txt", tmp_path / "c")
    assert not (tmp_path / "c.partial").exists()


def test_what_was_done_to_files_is_counted_and_listed(tmp_path: Path, rng: np.random.Generator) -> None:
    wave = speech(rng)
    put(tmp_path / "s/anna/loud.wav", 9 * wave, subtype="FLOAT")
    put(tmp_path / "s/anna/whole.wav", np.rint(32768 * wave), subtype="FLOAT")
    put(tmp_path / "s/bert/offset.wav", wave + 5, subtype="FLOAT")
    put(tmp_path / "s/bert/stereo.wav", np.stack([wave, speech(rng)], 1))
    put(tmp_path / "s/bert/turned.wav", np.stack([wave, -wave], 1), rate=8000)
    put(tmp_path / "s/carl/plain.wav", wave)
    (tmp_path / "s/carl/again").symlink_to(tmp_path)
    report = quietly(tmp_path / "s", tmp_path / "c")
    listed = [line.split("\t") for line in (tmp_path / "c/notes.tsv").read_text().splitlines()]
    assert [path for path, _ in listed] == [
        *("path", "anna/loud.wav", "anna/whole.wav", "bert/offset.wav", "bert/stereo.wav"),
        *("bert/turned.wav", "bert/turned.wav", "carl/again"),
    ]
    kinds = [note.partition(":")[0] for note in report.notes]
    assert kinds == ["beyond full scale", "left out", "offset", "resampled", "several channels"]
    assert "2 files, such as anna/loud.wav" in report.notes[0]
    assert "one speaker" not in report.summary()
    assert f"which files these are says {tmp_path / 'c/notes.tsv'}" in report.summary()
    corpus = report.corpus
    plain = corpus.wave(corpus.index("carl/plain")).astype(float)
    for name in ("anna/loud", "anna/whole", "bert/offset"):
        again = corpus.wave(corpus.index(name)).astype(float)
        assert np.corrcoef(plain, again)[0, 1] > 0.9999, name


def test_one_folder_above_the_speakers_is_noted(tmp_path: Path, rng: np.random.Generator) -> None:
    for name in ("anna", "bert"):
        put(tmp_path / f"s/audio/{name}/1.wav", speech(rng))
    report = quietly(tmp_path / "s", tmp_path / "c")
    assert [note.split(",")[0] for note in report.notes] == ["there is one speaker only"]
    assert report.summary().startswith("note: ")


def test_parts_of_files_are_cut_to_the_sample(tmp_path: Path, rng: np.random.Generator) -> None:
    whole = (20_000 * speech(rng, 5)).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        put(tmp_path / "s/x" / name, whole)
    table = tmp_path / "t.csv"
    table.write_text(
        "utterance,path,speaker,start,end\na,x/a.wav,x,1.5,2.25\nb,x/a.flac,x,4,\nc,x/a.wav,x,4.5,6\nd,x/a.wav,x,6,7\n"
    )
    report = quietly(tmp_path / "s", tmp_path / "c", table=table, max_rejected=0.5)
    corpus = report.corpus
    assert np.array_equal(corpus.wave(0), whole[24_000:36_000])
    assert np.array_equal(corpus.wave(1), whole[64_000:])
    assert [reason for _, reason in report.rejected] == [
        "4.50 s to 6.00 s is wanted, and the recording has 5.00 s",
        "6.00 s to 7.00 s is wanted, and the recording has 5.00 s",
    ]


def test_a_name_that_is_not_text_is_rejected(tmp_path: Path, folder: Path, rng: np.random.Generator) -> None:
    put(folder / "bert/2\n.wav", speech(rng))
    (folder / "bert/1.wav").rename(os.fsdecode(bytes(folder / "bert") + b"/\xff.wav"))
    report = quietly(folder, tmp_path / "c", max_rejected=1.0)
    assert [path for path, _ in report.rejected] == ["bert/2\\n.wav", "bert/\\udcff.wav"]
    assert len((tmp_path / "c/rejected.tsv").read_text().splitlines()) == 3
