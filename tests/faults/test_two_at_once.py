"""Two processes that write to one place: the second is refused, by name, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.holding import Holder
from tests.faults.place import Place, placed
from tests.faults.table import fault
from tests.running import TINY, refused, tree

JUDGED = ("--trials", "{trials}", "--trials-corpus", "{dev}", "--device", "cpu")
VERBS = {
    "pack": (False, ["{speech}", "{out}"]),
    "synth": (False, ["{out}", "--speakers", "1", "--utterances", "1"]),
    "trials": (False, ["{dev}", "{out}"]),
    "train": (True, ["--corpus", "{corpus}", "--out", "{out}", *TINY]),
    "distil": (True, ["--corpus", "{corpus}", "--teacher", "run:{run}", "--out", "{out}", *TINY]),
    "export": (False, ["{run}", "{out}"]),
    "embed": (True, ["{home}/bundle", "{home}/no.wav", "--out-folder", "{out}"]),
    "study": (True, ["{recipe}", "--corpus", "{corpus}", *JUDGED, "--out", "{out}"]),
    "demo": (True, ["{out}", "--speakers", "2"]),
}
"""Verb → whether it writes in a folder in place, and its words."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return placed(tmp_path_factory)


@pytest.mark.parametrize("verb", VERBS)
def test_the_second_is_refused(verb: str, place: Place, tmp_path: Path) -> None:
    inside, words = VERBS[verb]
    out = tmp_path / "out"
    with Holder(out, inside=inside) as holder:
        before = tree(tmp_path)
        message = refused(1, verb, *place.words(words, out=out))
        assert f"{fault('two at once').sees}{out}" in message
        assert f"process {holder.process} on " in message
        assert tree(tmp_path) == before
    assert tree(tmp_path) == {}
