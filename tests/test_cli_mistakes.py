"""Mistaken words on the command line: each is named with its remedy, exits with 2 and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilvox.cli import VERBS
from distilvox.models import MODELS
from distilvox.teachers.table import SCHEMES
from tests.journey import Journey, travelled
from tests.running import refused, said, tree

MISTAKEN = {
    "no corpus": (["corpus", "{tmp}/none"], "no corpus here: {tmp}/none does not exist", "distilvox pack SRC OUT"),
    "run as corpus": (["corpus", "{run}"], "no corpus here: {run}/corpus.json", "distilvox pack SRC OUT"),
    "run as training corpus": (
        ["train", "--corpus", "{run}", "--out", "{tmp}/run"],
        "no corpus here: {run}/corpus.json",
        "distilvox pack",
    ),
    "corpus as run": (["export", "{corpus}", "{tmp}/b"], "no run folder here: {corpus}/config.json", "distilvox train"),
    "corpus in a report": (["report", "{corpus}", "--out", "{tmp}/r.html"], "no run folder here", "distilvox train"),
    "corpus as bundle": (["verify", "{corpus}", "a", "b"], "no bundle here: {corpus}", "distilvox export RUN BUNDLE"),
    "run as bundle": (["embed", "{run}", "a"], "{run} is a run folder, not a bundle", "distilvox export {run} BUNDLE"),
    "corpus as model": (
        ["evaluate", "{corpus}", "--corpus", "{dev}", "--trials", "{trials}"],
        "no model here: {corpus}",
        "a run folder, a bundle, or a teacher's URI",
    ),
    "run as teacher without its scheme": (
        ["distil", "--corpus", "{corpus}", "--teacher", "{run}", "--out", "{tmp}/r"],
        "a teacher is given as scheme:rest",
        "perhaps run:{run}",
    ),
    "corpus as teacher": (
        ["distil", "--corpus", "{corpus}", "--teacher", "run:{corpus}", "--out", "{tmp}/r"],
        "no run folder here: {corpus}/config.json",
        "distilvox train",
    ),
    "unknown kind of teacher": (
        ["teacher", "geee:", "--corpus", "{corpus}"],
        "unknown kind of teacher",
        f"allowed: {', '.join(sorted(SCHEMES))}",
    ),
    "unknown student": (
        ["train", "--corpus", "{corpus}", "--out", "{tmp}/r", "--student", "resnet43"],
        f"allowed: {', '.join(sorted(MODELS))}",
        "did you mean 'resnet34'?",
    ),
    "unknown field of a student": (
        ["train", "--corpus", "{corpus}", "--out", "{tmp}/r", "--student-options", "chanels=8"],
        "unknown option of model 'xvector-s'",
        "did you mean 'channels'?",
    ),
    "a field without a value": (
        ["train", "--corpus", "{corpus}", "--out", "{tmp}/r", "--student-options", "channels"],
        "a student option is written field=value",
        "got: 'channels'",
    ),
    "unknown device": (
        ["evaluate", "{run}", "--corpus", "{dev}", "--trials", "{trials}", "--device", "gpu"],
        "unknown device",
        "auto, cpu, cuda, cuda:N",
    ),
    "no recipe": (
        ["study", "{tmp}/r.yaml", "--corpus", "c", "--trials", "t", "--trials-corpus", "d", "--out", "{tmp}/s"],
        "no recipe here: {tmp}/r.yaml does not exist",
        "",
    ),
    "nothing to report": (["report", "--out", "{tmp}/r.html"], "a report needs at least one run", "run folders"),
    "nothing to embed": (["embed", "{bundle}"], "nothing to embed", "one or more files"),
    "nothing to pack": (["pack"], "pack needs what to pack, and the corpus folder to write", "got: neither"),
    "nowhere to pack to": (["pack", "{tmp}"], "pack needs what to pack, and the corpus folder to write", "got: "),
    "too many processes": (["pack", "{tmp}", "{tmp}/c", "--jobs", "0"], "jobs must be at least 1", "got: 0"),
    "not enough epochs": (
        ["train", "--corpus", "{corpus}", "--out", "{tmp}/r", "--epochs", "0"],
        "a run needs at least one epoch",
        "1 or more",
    ),
    "existing bundle": (
        ["export", "{run}", "{bundle}", "--false-accept", "0.4"],
        "a bundle is already here: {bundle}",
        "--force",
    ),
    "existing run": (
        ["train", "--corpus", "{corpus}", "--out", "{run}"],
        "{run} holds a run already",
        "--resume",
    ),
    "no run folder in the way": (
        ["train", "--corpus", "{corpus}", "--out", "{bundle}"],
        "{bundle} exists and is no run folder: it is left alone",
        "choose another folder",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return travelled(tmp_path_factory)


@pytest.mark.parametrize("mistake", MISTAKEN)
def test_a_mistake_is_named_with_its_remedy(mistake: str, place: Journey, tmp_path: Path) -> None:
    words, *parts = MISTAKEN[mistake]
    known = {name: str(value) for name, value in vars(place).items()} | {"tmp": str(tmp_path)}
    before = tree(place.home)
    message = said(refused(2, *[word.format(**known) for word in words]))
    assert message.startswith("error: ")
    for part in parts:
        assert part.format(**known) in message
    assert tree(place.home) == before
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_verb_lists_all_and_names_the_nearest() -> None:
    message = refused(2, "distill")
    assert "did you mean 'distil'?" in message
    assert all(verb in message for verb in VERBS)
    assert "did you mean '--version'?" in refused(2, "--verison")
    assert "distilvox --help" in refused(2, "qqqqq")


@pytest.mark.parametrize(
    "verb",
    [
        verb
        for verb in VERBS
        if verb not in ("demo", "models", "teachers", "report", "embed", "pack", "serve")
    ],
)
def test_a_verb_without_its_words_says_which_it_needs(verb: str) -> None:
    message = said(refused(2, verb))
    assert f"Missing from distilvox {verb}" in message
    assert "(required)" in message
    assert f"distilvox {verb} --help" in message


def test_a_wrong_option_names_the_right_one() -> None:
    message = said(refused(2, "pack", "a", "b", "--max-reject", "1"))
    assert "Unrecognized options: --max-reject" in message
    assert "Perhaps you meant: --max-rejected" in message


def test_a_wrong_choice_lists_all_and_names_the_nearest(tmp_path: Path) -> None:
    words = ["--corpus", tmp_path, "--teacher", "ge2e:", "--out", tmp_path / "run"]
    message = said(refused(2, "distil", *words, "--kd-centres", "techer"))
    assert "--kd-centres: 'techer' is none of own, teacher; did you mean 'teacher'?" in message
    message = said(refused(2, "distil", *words, "--objective", "nskd+cosin"))
    assert "unknown objective got: 'cosin' allowed: cosine, kld, mse" in message
    assert "did you mean 'cosine'?" in message
    assert tree(tmp_path) == {}
