"""A teacher's URI is taken apart in one place, and says what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilvox.errors import UserError
from distilvox.teachers.uri import check_options, options_of, take_apart, yes_or_no


@pytest.mark.parametrize(
    ("uri", "rest", "options"),
    [
        ("onnx:m.onnx", "m.onnx", {}),
        ("onnx:m.onnx?window=povey", "m.onnx", {"window": "povey"}),
        ("onnx:a?b.onnx?window=povey&scale=1", "a?b.onnx", {"window": "povey", "scale": "1"}),
        ("onnx:C:/x/m.onnx?window=povey", "C:/x/m.onnx", {"window": "povey"}),
        ("onnx:really?.onnx", "really?.onnx", {}),
        ("onnx:m.onnx?licence=a=b", "m.onnx", {"licence": "a=b"}),
        ("ge2e:", "", {}),
        ("3dspeaker:?window=hamming", "", {"window": "hamming"}),
    ],
)
def test_path_and_options(uri: str, rest: str, options: dict[str, str]) -> None:
    scheme = uri.partition(":")[0]
    assert take_apart(uri) == (scheme, rest, options)


def test_a_file_that_exists_is_taken_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx?window=povey"
    path.touch()
    assert take_apart(f"onnx:{path}") == ("onnx", str(path), {})
    assert take_apart(f"onnx:{path}?window=hamming") == ("onnx", str(path), {"window": "hamming"})


def test_without_a_colon_there_is_no_scheme() -> None:
    assert take_apart("runs/a?b=c") == ("", "runs/a?b=c", {})


@pytest.mark.parametrize("text", ["window", "window=", "=povey", "window=povey&", "&window=povey"])
def test_what_is_no_option_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    with pytest.raises(
        UserError, match=r"(?s)an option of onnx: is written key=value.*\?key=value&key=value"
    ):
        take_apart(f"onnx:{path}?{text}")


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"given twice"):
        take_apart("onnx:m.onnx?window=povey&window=hamming")


def test_the_options_of_a_scheme_are_the_keywords_of_its_loader() -> None:
    def load(rest: str, *, window: str = "", frontend: str = "") -> None:
        """Takes two."""

    assert options_of(load) == ("window", "frontend")
    check_options("onnx", ["window"], options_of(load))
    with pytest.raises(UserError) as caught:
        check_options("onnx", ["frontend", "windw"], options_of(load))
    assert str(caught.value).splitlines() == [
        "unknown option of onnx:",
        "  got:     'windw'",
        "  allowed: frontend, window",
        "  remedy:  did you mean 'window'?",
    ]


def test_a_switch() -> None:
    assert [yes_or_no("offline", text) for text in ("1", "yes", "True")] == [True] * 3
    assert [yes_or_no("offline", text) for text in ("0", "No", "false")] == [False] * 3
    with pytest.raises(UserError, match=r"(?s)unknown value of the option offline.*'maybe'"):
        yes_or_no("offline", "maybe")
