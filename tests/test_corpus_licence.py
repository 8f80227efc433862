"""A corpus says the licence of its speech, and stays the corpus that it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distilvox.corpus.licence import state_licence
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from tests.making import make_corpus
from tests.running import said, succeed


def test_a_licence_is_stated_and_read_back(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", speakers=2, utterances=2)
    assert corpus.licence is None
    stated = state_licence(tmp_path / "c", " CC-BY-4.0 ")
    assert (stated.licence, stated.id) == ("CC-BY-4.0", corpus.id)
    assert Corpus.open(tmp_path / "c").licence == "CC-BY-4.0"
    shown = json.loads(succeed("corpus", tmp_path / "c", "--licence", "CC0-1.0", "--json").out)
    assert shown["licence"] == "CC0-1.0"
    assert "licence CC0-1.0" in said(succeed("corpus", tmp_path / "c").out)


@pytest.mark.parametrize("licence", ["", "  ", "one\ntwo", "a\x1b[0m"])
def test_what_is_no_licence_is_refused(tmp_path: Path, licence: str) -> None:
    make_corpus(tmp_path / "c", speakers=1, utterances=1)
    with pytest.raises(UserError, match="a licence is stated in words on one line"):
        state_licence(tmp_path / "c", licence)
    with pytest.raises(UserError, match="no corpus here"):
        state_licence(tmp_path / "none", "MIT")
