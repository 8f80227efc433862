"""Something of everything that verbs read, made in seconds: two corpora, trials, a run that nobody trained."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from distilvox.files import write_json
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import VERSION, save_model
from distilvox.models.table import build
from distilvox.ship.export import export
from distilvox.train.fields import to_json
from tests.journey import RECIPE, speak
from tests.making import TINY, make_corpus, make_trials


class Place:
    """A folder with all of it; tests write elsewhere, or on a copy.

    Attributes:
        corpus, dev: six and four speakers, six utterances of each.
        trials: of `dev`.
        run: a run folder, its weights drawn.
        recipe: of a study whose teacher is that run.
        speech: a folder of speech files, one speaker.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.corpus = make_corpus(home / "train").path
        dev = make_corpus(home / "dev", speakers=4, seed=1, prefix="d")
        self.dev = dev.path
        self.trials = make_trials(dev, home / "trials.txt")
        self.run = home / "run"
        self.recipe = home / "tiny.yaml"
        self.recipe.write_text(RECIPE.format(teacher=self.run))
        torch.manual_seed(0)
        student = build("xvector-s", **TINY)
        names = [f"s{k}" for k in range(6)]
        save_model(self.run, student=student, head=SpeakerHead(names, 8), projection=None)
        model = {"name": student.name, "config": to_json(student.config)}
        write_json(self.run / "config.json", {"version": VERSION, "model": model, "speakers": names})
        self.speech = speak(home / "speech", seed=0, speakers="a")

    @functools.cached_property
    def bundle(self) -> Path:
        """A bundle of that run."""
        export(self.run, self.home / "bundle")
        return self.home / "bundle"

    def words(self, words: list[str], **more: object) -> list[str]:
        """Words of a command with `{corpus}` and the like filled in."""
        known = {name: str(value) for name, value in {**vars(self), **more}.items()}
        return [word.format(**known) for word in words]


def placed(factory: pytest.TempPathFactory) -> Place:
    """The one place of the session."""
    return _make(factory.getbasetemp() / "place")


@functools.cache
def _make(home: Path) -> Place:
    home.mkdir()
    return Place(home)
