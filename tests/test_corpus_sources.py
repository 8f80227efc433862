from __future__ import annotations

from pathlib import Path

import pytest

from distilvox.corpus.sources import find
from distilvox.errors import UserError

HEADER = "utterance\tspeaker\tsession\tage\tgender\n"
ROWS = "anna/a/1\tanna\tA\t31\tf\nanna/b/1\tanna\t\t31.5\tf\nbert/1\tbert\t\t9\tm\n"


def touch(root: Path, *names: str) -> Path:
    """Sources list and check files; they open none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return touch(tmp_path / "speech/audio", "anna/a/1.flac", "anna/b/1.wav", "bert/1.opus")


def table(folder: Path, text: str | bytes, name: str = "list.tsv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


@pytest.mark.parametrize("root", ["speech", "speech/audio"])
def test_a_table_finds_its_audio_below_src_or_src_audio(tmp_path: Path, audio: Path, root: str) -> None:
    source = find(tmp_path / root, table=table(tmp_path, HEADER + ROWS))
    assert [item.utterance for item in source.items] == ["anna/a/1", "anna/b/1", "bert/1"]
    assert [Path(item.path).name for item in source.items] == ["1.flac", "1.wav", "1.opus"]
    assert [item.session for item in source.items] == ["A", "b", "-"]
    assert [item.columns for item in source.items] == [
        {"age": 31.0, "gender": "f"},
        {"age": 31.5, "gender": "f"},
        {"age": 9.0, "gender": "m"},
    ]
    assert source.rejected == []


def test_a_table_finds_its_audio_beside_itself(tmp_path: Path, audio: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    source = find(tmp_path / "elsewhere", table=table(audio, HEADER + ROWS))
    assert len(source.items) == 3


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + ROWS,
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\t", ","),
        (HEADER + ROWS).replace("\t", ";"),
        HEADER + "\n" + ROWS.rstrip() + "\n\n",
    ],
)
@pytest.mark.parametrize("name", ["list.tsv", "list.csv", "list"])
def test_any_separator_line_end_and_byte_order_mark(
    tmp_path: Path, audio: Path, text: str, name: str
) -> None:
    plain = find(audio, table=table(tmp_path, HEADER + ROWS, "plain.tsv"))
    assert find(audio, table=table(tmp_path, text, name)) == plain


def test_path_or_file_may_name_the_utterance_or_only_its_place(tmp_path: Path, audio: Path) -> None:
    for column in ("path", "file"):
        source = find(audio, table=table(tmp_path, f"speaker\t{column}\nx\tanna/a/1.flac\n"))
        assert (source.items[0].utterance, source.items[0].columns) == ("anna/a/1", {})
    source = find(audio, table=table(tmp_path, "utterance\tspeaker\tpath\nx/y/z\tx\tanna/a/1.flac\n"))
    assert (source.items[0].utterance, source.items[0].session) == ("x/y/z", "y")
    source = find(audio, table=table(tmp_path, f"utterance\tspeaker\n{audio}/anna/a/1.flac\tanna\n"))
    assert source.items[0].utterance == "anna/a/1"


def test_a_lone_quotation_mark_in_a_tsv_swallows_nothing(tmp_path: Path, audio: Path) -> None:
    text = 'utterance\tspeaker\tsaid\nanna/a/1\tanna\t"oh\nanna/b/1\tanna\tno\n'
    assert [item.columns["said"] for item in find(audio, table=table(tmp_path, text)).items] == ['"oh', "no"]


def test_rows_that_cannot_be_used_are_rejected_with_a_reason(tmp_path: Path, audio: Path) -> None:
    touch(tmp_path, "outside.wav")
    bad = (
        "carl/1\tcarl\t\t1\tm\n../../outside\tx\t\t1\tm\n/etc/passwd\tx\t\t1\tm\nbert/1\tbert\t\t9\n"
        "anna/a/1.flac\tanna\t\t1\tf\nbert/1\t \t\t1\tf\n\tbert\t\t1\tf\n"
    )
    path = table(tmp_path / "speech", HEADER + ROWS + bad)
    source = find(audio, table=path)
    assert len(source.items) == 3
    reasons = [reason for _, reason in source.rejected]
    assert sorted(reasons) == [
        *("4 cells where the header has 5", "its path leaves SRC", "its path leaves SRC"),
        *("line 10: no speaker", "line 11: no utterance", "no such file"),
        "utterance 'anna/a/1' again: anna/a/1.flac has this name already",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("\n\n", "the table is empty"),
        (HEADER, "the table has no rows"),
        ("utterance\tperson\na\tb\n", r"no column 'speaker'(.|\n)*utterance, person"),
        ("name\tspeaker\na\tb\n", r"no column 'utterance' or 'path' or 'file'(.|\n)*name, speaker"),
        ("speaker\tutterance\tspeaker\na\tb\tc\n", "twice in .*: speaker"),
        (b"utterance\tspeaker\n\xff\xfe\tb\n", r"not text in UTF-8(.|\n)*iconv -f windows-1252 -t utf-8"),
        (
            "utterance\tspeaker\nJos\u00e9\tb\n".encode("latin-1"),
            r"not text in UTF-8(.|\n)*iconv -f windows-1252",
        ),
        ("utterance\tspeaker\na\tb\n".encode("utf-16-be"), r"not text(.|\n)*iconv -f utf-16be -t utf-8"),
        ("utterance\tspeaker\toffset\tsamples\na\tb\t0\t9\n", "a corpus's own table"),
        (
            "utterance\tspeaker\tstart_frame\na\tb\t0\n",
            r"'start_frame'(.|\n)*not in seconds(.|\n)*start and end",
        ),
        ("utterance\tspeaker\tend sample\na\tb\t0\n", "'end sample'"),
        ("utterance\tspeaker\tstart\tbegin_s\na\tb\t0\t0\n", r"two columns(.|\n)*start and begin_s"),
    ],
)
def test_tables_that_make_no_sense(tmp_path: Path, audio: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(audio, table=table(tmp_path, text))


def test_no_table_and_a_folder(tmp_path: Path, audio: Path) -> None:
    with pytest.raises(UserError, match="no such table"):
        find(audio, table=tmp_path / "absent.tsv")
    with pytest.raises(UserError, match="the table is a folder"):
        find(audio, table=tmp_path)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ([], ["anna/a/1", "anna/b/1", "bert/1"]),
        (["gender=m"], ["bert/1"]),
        (["gender=m", "gender=f"], ["anna/a/1", "anna/b/1", "bert/1"]),
        (["gender=f", "age=31"], ["anna/a/1"]),
        (["age=31", "gender=f", "age=9"], ["anna/a/1"]),
        ([" session ="], ["anna/b/1", "bert/1"]),
    ],
)
def test_filters_one_column_is_either_and_several_are_all(
    tmp_path: Path, audio: Path, where: list[str], kept: list[str]
) -> None:
    source = find(audio, table=table(tmp_path, HEADER + ROWS), where=where)
    assert [item.utterance for item in source.items] == kept


def test_a_folder_is_filtered_by_what_its_names_say(audio: Path) -> None:
    assert [item.utterance for item in find(audio, where=["speaker=anna", "session=b"]).items] == ["anna/b/1"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["gender"], "a filter is column=value"),
        (["sex=f"], r"unknown column in --where(.|\n)*age, gender, session"),
        (["gender=x"], r"no row has this value of 'gender'(.|\n)*f, m"),
        (["gender=f", "gender=x"], r"no row has this value of 'gender'(.|\n)*'x'"),
        (["gender=m", "age=31"], "no row passes all filters together"),
    ],
)
def test_filters_that_make_no_sense(tmp_path: Path, audio: Path, where: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(audio, table=table(tmp_path, HEADER + ROWS), where=where)


def test_links_are_followed_and_loops_end(tmp_path: Path, audio: Path) -> None:
    touch(tmp_path / "far", "1.wav")
    (audio / "carl").symlink_to(tmp_path / "far")
    (audio / "anna/again").symlink_to(audio)
    names = [item.utterance for item in find(audio).items]
    assert names == ["anna/a/1", "anna/b/1", "bert/1", "carl/1"]


def test_the_real_table(shared: Path) -> None:
    root = shared / "corpora/chorus"
    path = root / "utterances.tsv"
    items = find(root, table=path, where=["split=dev"]).items
    assert items == find(root / "audio", table=path, where=["split=dev"]).items
    assert len(items) == 700
    assert items[0].utterance == "cv0001/se993/00"


SPANS = {
    "start,end": "0.5,1.5",
    "Start,End": "0.5,1.5",
    "start_time,stop_time": "0.5,1.5",
    "startTime,endTime": "0.5,1.5",
    "start_ms,end_ms": "500,1500",
    "segment begin (s),segment end (s)": "0.5,1.5",
    "onset,offset": "0.5,1.5",
    "offset,duration": "0.5,1",
    "begin,stop": "0.5,1.5",
    "t_start,dur_ms": "0.5,1000",
    "end,duration,start": "1.5,1,0.5",
}


@pytest.mark.parametrize("columns", SPANS)
def test_columns_that_mean_a_part_of_the_file_cut_it(tmp_path: Path, audio: Path, columns: str) -> None:
    text = f"utterance,speaker,{columns}\nanna/a/1,anna,{SPANS[columns]}\n"
    assert [item.span for item in find(audio, table=table(tmp_path, text, "t.csv")).items] == [(0.5, 1.5)]


@pytest.mark.parametrize(
    ("columns", "cells", "span"),
    [
        ("start", "0.5", (0.5, None)),
        ("end", "1.5", (0.0, 1.5)),
        ("start,end", "0.5,-1", (0.5, None)),
        ("start,end", ",", None),
        ("start,end", "0,", None),
        ("duration", "1.5", None),
        ("age,length_mm,end_date,gender", "1,2,3,4", None),
        ("start_date,weekend,backend", "1,2,3", None),
    ],
)
def test_parts_with_one_end_and_columns_that_mean_none(
    tmp_path: Path, audio: Path, columns: str, cells: str, span: tuple | None
) -> None:
    text = f"utterance,speaker,{columns}\nanna/a/1,anna,{cells}\n"
    assert [item.span for item in find(audio, table=table(tmp_path, text, "t.csv")).items] == [span]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("1.5,0.5", "its part ends at 0.5 s, and begins at 1.5 s"),
        ("0:01,0:02", "its start is '0:01', and must be a number of 0 or more"),
        ("-3,2", "its start is '-3'"),
        ("0,inf", "its end is 'inf'"),
    ],
)
def test_parts_that_make_no_sense_reject_their_row(
    tmp_path: Path, audio: Path, cells: str, reason: str
) -> None:
    text = f"utterance,speaker,start,end\nanna/a/1,anna,{cells}\nbert/1,bert,0,1\n"
    source = find(audio, table=table(tmp_path, text, "t.csv"))
    assert [item.utterance for item in source.items] == ["bert/1"]
    assert source.rejected[0][1].startswith(reason)


def test_several_parts_of_one_file_are_told_apart_by_their_times(tmp_path: Path, audio: Path) -> None:
    text = "path,speaker,start,end\nanna/a/1.flac,anna,0,1\nanna/a/1.flac,bert,1.25,\nbert/1.opus,bert,0,1\n"
    items = find(audio, table=table(tmp_path, text, "t.csv")).items
    assert [item.utterance for item in items] == [
        "anna/a/1-0000000-0001000",
        "anna/a/1-0001250-end",
        "bert/1",
    ]
    assert [item.speaker for item in items] == ["anna", "bert", "bert"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_only_line_ends_end_a_row(tmp_path: Path, audio: Path, mark: str, name: str) -> None:
    text = f"utterance\tspeaker\tsaid\nanna/a/1\tanna\tone{mark}two\nbert/1\tbert\tthree\n"
    source = find(audio, table=table(tmp_path, text if name == "t.tsv" else text.replace("\t", ","), name))
    assert [item.columns["said"] for item in source.items] == [f"one{mark}two", "three"]
    assert source.rejected == []


def test_tables_of_spreadsheets(tmp_path: Path, audio: Path) -> None:
    plain = find(audio, table=table(tmp_path, "path,speaker\nanna/a/1.flac,anna\n", "plain.csv")).items
    for text in ("sep=;\r\npath;speaker\r\nanna/a/1.flac;anna\r\n", "Path,Speaker\nanna\\a\\1.flac,anna\n"):
        assert find(audio, table=table(tmp_path, text, "t.csv")).items == plain
    utf16 = table(tmp_path, "path\tspeaker\nanna/a/1.flac\tanna\n".encode("utf-16"), "t.tsv")
    assert find(audio, table=utf16).items == plain


def test_one_recording_of_two_speakers_is_nobodys(tmp_path: Path, audio: Path) -> None:
    text = "path,speaker\nanna/a/1.flac,anna\nbert/1.opus,bert\nanna/a/1.flac,someone\n"
    source = find(audio, table=table(tmp_path, text, "t.csv"))
    assert [item.utterance for item in source.items] == ["bert/1"]
    assert [reason for _, reason in source.rejected] == ["one recording of 2 speakers: 'anna', 'someone'"]


def test_a_table_in_one_unicode_form_finds_files_in_the_other(tmp_path: Path, audio: Path) -> None:
    touch(audio, "Jose\u0301/1.wav")
    text = "path,speaker\nJos\u00e9/1.wav,Jos\u00e9\n"
    (item,) = find(audio, table=table(tmp_path, text, "t.csv"), where=["speaker=Jose\u0301"]).items
    assert Path(item.path).is_file()


def test_speakers_that_look_alike_are_noted(audio: Path) -> None:
    touch(audio, "Jose\u0301/1.wav", "Jos\u00e9/1.wav", "ANNA/2.wav")
    notes = [note for _, note in find(audio).notes]
    assert notes == [
        "speakers that look alike: 'ANNA', 'anna'",
        "speakers that look alike: 'Jose\\u0301', 'Jos\\xe9'",
    ]


def test_a_loop_is_the_same_loop_from_anywhere(
    tmp_path: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (audio / "up").symlink_to("..")
    (audio / "anna/self").symlink_to(".")
    (audio / "around").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for root in (audio, Path("speech/audio"), Path("speech/../speech/audio")):
        source = find(root)
        assert [item.utterance for item in source.items] == ["anna/a/1", "anna/b/1", "bert/1"]
        assert [Path(path).name for path, _ in source.notes] == ["self", "around", "up"]
        assert all("left out: a link to a folder that it lies in" in note for _, note in source.notes)


def test_two_links_to_one_folder_are_both_followed(tmp_path: Path, audio: Path) -> None:
    for name in ("zoe", "carl"):
        (tmp_path / "twins").mkdir(exist_ok=True)
        (tmp_path / "twins" / name).symlink_to(audio / "anna")
    (tmp_path / "twins/gone").symlink_to("nowhere")
    source = find(tmp_path / "twins")
    assert [item.utterance for item in source.items] == ["carl/a/1", "carl/b/1", "zoe/a/1", "zoe/b/1"]
    assert [(Path(path).name, note) for path, note in source.notes] == [
        ("gone", "left out: a link to nothing")
    ]


def test_links_between_two_folders_end(tmp_path: Path) -> None:
    touch(tmp_path, "s/a/1.wav", "s/b/1.wav")
    (tmp_path / "s/a/other").symlink_to("../b")
    (tmp_path / "s/b/other").symlink_to("../a")
    source = find(tmp_path / "s")
    assert [item.utterance for item in source.items] == ["a/1", "a/other/1", "b/1", "b/other/1"]
    assert len(source.notes) == 2


def test_files_without_a_speakers_folder(tmp_path: Path) -> None:
    touch(tmp_path / "flat", "1.wav", "2.wav", "3.wav")
    message = r"3 files lie in .*flat itself, so nothing says whose they are(.|\n)*a folder of that name(.|\n)*--table"
    with pytest.raises(UserError, match=message):
        find(tmp_path / "flat")
