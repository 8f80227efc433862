"""The page for contributors shows a real change: what it says was added is what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distilvox.models import MODELS

HOME = Path(__file__).parents[1]
PAGE = (HOME / "CONTRIBUTING.md").read_text(encoding="utf-8")


def parts(diff: str) -> dict[str, tuple[str, str]]:
    """File → (the file it came from, the lines under its header) of a unified diff."""
    found = re.findall(r"^--- (\S+)\n\+\+\+ b/(\S+)\n((?:(?!--- ).*\n)*)", diff, re.MULTILINE)
    return {path: (before, body) for before, path, body in found}


@pytest.fixture(scope="module")
def shown() -> dict[str, tuple[str, str]]:
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return parts(diff)


def added(body: str) -> list[str]:
    return [line[1:] for line in body.splitlines() if line.startswith("+")]


def test_a_student_is_one_new_file_one_import_and_one_line_of_the_table(shown: dict) -> None:
    (path, (before, _)), (table, (_, body)) = shown.items()
    assert (before, table) == ("/dev/null", "distilvox/models/table.py")
    assert not [line for line in body.splitlines() if line.startswith("-")]
    imported, line = added(body)
    ((name, config),) = re.findall(r'^    "([\w-]+)": (\w+)\(\),$', line)
    assert imported == f"from distilvox.models.{Path(path).stem} import {config}"
    assert type(MODELS[name]).__name__ == config
    assert type(MODELS[name]).__module__ == f"distilvox.models.{Path(path).stem}"


def test_what_the_page_says_was_added_is_what_is_there(shown: dict) -> None:
    for path, (before, body) in shown.items():
        lines = (HOME / path).read_text(encoding="utf-8").splitlines()
        if before == "/dev/null":
            assert added(body) == lines, f"{path} has changed since; show its change in CONTRIBUTING.md anew"
        else:
            assert set(added(body)) <= set(lines), f"{path} no longer has these lines"


def test_the_lengths_on_the_page_are_those_of_the_files(shown: dict) -> None:
    stated = {path: int(count) for path, count in re.findall(r"^ (\S+) +\| +(\d+) \++$", PAGE, re.MULTILINE)}
    assert stated.keys() == shown.keys() | {f"tests/test_models_{Path(next(iter(shown))).stem}.py"}
    for path, count in stated.items():
        found = len(added(shown[path][1])) if path in shown else len((HOME / path).read_text().splitlines())
        assert count == found, path
    assert f"{len(stated)} files changed, {sum(stated.values())} insertions(+)" in PAGE


def test_no_other_file_knows_the_architecture(shown: dict) -> None:
    """Neither its module nor its class is named anywhere else in the package."""
    stem = Path(next(iter(shown))).stem
    knowing = [
        str(file.relative_to(HOME))
        for file in (HOME / "distilvox").rglob("*.py")
        if re.search(rf"models\.{stem}\b|\b{stem}config\b", file.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert sorted(knowing) == sorted(shown)


def test_the_walk_is_five_files_that_are_read_in_one_sitting() -> None:
    files = re.findall(r"^\d\. `(distilvox/\S+\.py)`", PAGE, re.MULTILINE)
    assert len(files) == 5
    lines = sum(len((HOME / path).read_text(encoding="utf-8").splitlines()) for path in files)
    assert lines < 700
    (said,) = re.findall(r"five files, (\d+)\s+lines together", PAGE)
    assert abs(int(said) - lines) < 50
