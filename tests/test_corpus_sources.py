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
        (b"utterance\tspeaker\n\xff\xfe\tb\n", "not UTF-8"),
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
