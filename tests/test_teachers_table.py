"""One table from scheme to loader: what it lists exists, and what is written behind a colon reaches it."""

from __future__ import annotations

import importlib
import inspect
import re
from importlib import metadata
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
    with pytest.raises(UserError, match=r"(?s)unknown option of run:.*'window'.*allowed: licence"):
        load(f"run:{tmp_path}?window=povey")
    with pytest.raises(UserError, match=r"(?s)unknown kind of teacher.*'onx'.*did you mean 'onnx'"):
        load("onx:model.onnx?window=povey")
    with pytest.raises(UserError, match=r"(?s)a teacher is given as scheme:rest.*perhaps run:runs/a\?b=c"):
        load("runs/a?b=c")


def test_the_uri_is_kept_as_it_was_given() -> None:
    assert load("ge2e:").uri == "ge2e:"


def test_the_licence_is_that_of_the_package_or_of_the_uri() -> None:
    assert load("ge2e:").licence == "Apache-2.0"
    said = load("ge2e:?licence=CC-BY-4.0")
    assert said.licence == "CC-BY-4.0"
    assert said.id == load("ge2e:").id
    assert said.record() == {
        "uri": "ge2e:?licence=CC-BY-4.0", "id": said.id, "licence": "CC-BY-4.0", "frontend": None
    }  # fmt: skip
    both = load("ge2e:,dvector:?licence=MIT")
    assert both.licence == "Apache-2.0 + MIT"
    assert [member["licence"] for member in both.record()["members"]] == ["Apache-2.0", "MIT"]


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if SCHEMES[name].package])
def test_the_licence_of_a_package_is_what_its_own_files_say(scheme: str) -> None:
    """In its metadata, its classifiers, or the files of licences that it ships for what it carries."""
    package, words = SCHEMES[scheme].package, {"Apache-2.0": r"Apache(-| )(2\.0|Software License|License)"}
    held = metadata.metadata(package).json
    texts = [str(held.get(key, "")) for key in ("license_expression", "license", "classifier")]
    texts += [
        Path(str(file.locate())).read_text()
        for file in metadata.files(package) or []
        if "LICENSE" in file.name
    ]
    assert re.search(words[SCHEMES[scheme].licence], "\n".join(texts), re.IGNORECASE)
