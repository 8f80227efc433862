"""One table from scheme to loader: what it lists exists, and what is written behind a colon reaches it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from distilvox.errors import UserError
from distilvox.teachers import load
from distilvox.teachers.table import SCHEMES, loader


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_has_a_loader_whose_options_are_text(scheme: str) -> None:
    first, *more = inspect.signature(loader(scheme)).parameters.values()
    assert first.name == "rest"
    assert all(one.kind is one.KEYWORD_ONLY and one.annotation == "str" for one in more)
    if SCHEMES[scheme].package:
        assert importlib.import_module(f"distilvox.teachers.{SCHEMES[scheme].module}").MEMBER


def test_options_reach_the_door(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run: takes no options"):
        load(f"run:{tmp_path}?window=povey")
    with pytest.raises(UserError, match=r"(?s)unknown kind of teacher.*'onx'.*did you mean 'onnx'"):
        load("onx:model.onnx?window=povey")
    with pytest.raises(UserError, match=r"(?s)a teacher is given as scheme:rest.*perhaps run:runs/a\?b=c"):
        load("runs/a?b=c")


def test_the_uri_is_kept_as_it_was_given() -> None:
    assert load("ge2e:").uri == "ge2e:"
