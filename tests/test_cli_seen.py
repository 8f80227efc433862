"""A model is not judged on the speakers that it was trained on: the same check at every door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distilvox.ship.seen import Seen
from tests.faults.place import Place, placed
from tests.making import make_trials
from tests.running import TINY, refused, said, succeed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return placed(tmp_path_factory)


@pytest.fixture
def own(place: Place, tmp_path: Path) -> Path:
    """A trial list of the run's own training speakers."""
    from distilvox.corpus.store import Corpus

    return make_trials(Corpus.open(place.corpus), tmp_path / "own.txt")


@pytest.mark.parametrize("model", ["{run}", "run:{run}", "bundle", "ge2e:,run:{run}"])
def test_evaluate_refuses_a_models_own_speakers(place: Place, own: Path, model: str) -> None:
    name = str(place.bundle) if model == "bundle" else model.format(run=place.run)
    words = [
        "evaluate",
        name,
        "--corpus",
        place.corpus,
        "--trials",
        own,
        "--device",
        "cpu",
        "--replicates",
        10,
    ]
    message = refused(2, *words)
    assert "6 speakers of own.txt are also among those that" in message
    assert "its EER would flatter" in message
    assert "s0, s1" in message
    assert "--force" in message


def test_force_says_what_it_costs(place: Place, own: Path) -> None:
    words = [
        "evaluate",
        place.run,
        "--corpus",
        place.corpus,
        "--trials",
        own,
        "--device",
        "cpu",
        "--replicates",
        10,
    ]
    ran = succeed(*words, "--force", "--json")
    assert "the EER then flatters" in ran.err
    assert json.loads(ran.out)["repeated_trials"] == 0


def test_other_speakers_are_judged(place: Place) -> None:
    words = ["--corpus", place.dev, "--trials", place.trials, "--device", "cpu", "--replicates", 10]
    assert json.loads(succeed("evaluate", place.bundle, *words, "--json").out)["trials"] > 0


def test_the_teacher_that_a_model_is_compared_with(place: Place, own: Path) -> None:
    words = ["evaluate", "ge2e:", "--corpus", place.corpus, "--trials", own, "--device", "cpu"]
    assert f"that run:{place.run} was trained on" in refused(2, *words, "--teacher", f"run:{place.run}")


def test_the_verb_teacher(place: Place, own: Path) -> None:
    message = refused(2, "teacher", f"run:{place.run}", "--corpus", place.dev, "--trials", own,
                      "--trials-corpus", place.corpus, "--device", "cpu")  # fmt: skip
    assert "are also among those that run:" in message


@pytest.mark.parametrize("option", ["--teacher", "--init"])
def test_a_training_from_a_model_that_saw_the_trials_speakers(
    place: Place, own: Path, tmp_path: Path, option: str
) -> None:
    verb = "distil" if option == "--teacher" else "train"
    tiny = TINY if option == "--teacher" else TINY[-8:]
    message = refused(2, verb, "--corpus", place.dev, option, f"run:{place.run}", "--trials", own,
                      "--trials-corpus", place.corpus, "--out", tmp_path / "out", *tiny)  # fmt: skip
    assert f"are also among those that run:{place.run} was trained on" in said(message)
    assert not (tmp_path / "out").exists()


def test_repeated_trials_are_said_beside_the_figures(place: Place, tmp_path: Path) -> None:
    lines = place.trials.read_text()
    (tmp_path / "twice.txt").write_text(lines + lines)
    words = ["--corpus", place.dev, "--trials", tmp_path / "twice.txt", "--device", "cpu", "--replicates", 10]
    shown = succeed("evaluate", place.run, *words).out
    count = len(lines.splitlines())
    assert f"repeated     {count:,} of the trials: they count each time" in shown
    assert json.loads(succeed("evaluate", place.run, *words, "--json").out)["repeated_trials"] == count


def test_marks_answer_for_a_name_and_list_none(place: Place) -> None:
    card = json.loads((place.bundle / "card.json").read_text())
    seen = Seen.from_text(card["training"]["seen"], card["space"])
    assert "s0" in seen
    assert "d0" not in seen
    assert Seen.of(["s0"], "another space").marks.isdisjoint(seen.marks)
    assert len(card["training"]["seen"]) == 32
