from __future__ import annotations

import os
from pathlib import Path

import pytest

from distilvox.walk import walk


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_sorted_and_complete(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.wav", "b/1.FLAC", "a.m4a", "b/notes.txt", "b/README", ".git/x.wav", "._b.wav")
    found = walk(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == ["a.m4a", "b/1.FLAC", "b/2.wav"]
    assert found.ignored == {".txt": 1, "README": 1, "hidden": 2}
    assert found.left_out == []


def test_a_link_around_the_root_is_a_loop_wherever_it_leads(tmp_path: Path) -> None:
    touch(tmp_path, "home/speech/a/1.wav")
    root = tmp_path / "home/speech"
    (root / "top").symlink_to(tmp_path)
    (root / "a/up").symlink_to("../..")
    (tmp_path / "door").symlink_to(root)
    for start in (root, tmp_path / "door", Path(os.path.relpath(root))):
        found = walk(start)
        assert [path.name for path in found.files] == ["1.wav"]
        assert sorted(Path(path).name for path, _ in found.left_out) == ["top", "up"]


def test_a_link_aside_is_no_loop(tmp_path: Path) -> None:
    touch(tmp_path, "speech/a/1.wav", "speechless/1.wav")
    (tmp_path / "speech/b").symlink_to("a")
    (tmp_path / "speech/c").symlink_to("../speechless")
    files = walk(tmp_path / "speech").files
    assert [path.relative_to(tmp_path / "speech").as_posix() for path in files] == [
        "a/1.wav",
        "b/1.wav",
        "c/1.wav",
    ]


def test_a_link_to_nothing_and_to_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav")
    (tmp_path / "a/gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    found = walk(tmp_path)
    assert [path.name for path in found.files] == ["1.wav", "gone.wav"]
    assert [(Path(path).name, why) for path, why in found.left_out] == [
        ("gone", "a link to nothing"),
        ("self", "a link to nothing"),
    ]


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav")
    real = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("b"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = walk(tmp_path)
    assert [path.name for path in found.files] == ["1.wav"]
    assert found.left_out == [(str(tmp_path / "b"), "the folder cannot be read: Permission denied")]
