"""The whole journey on a handful of voices: every part leaves what the next one needs, and a second call keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.store import Corpus
from distilvox.demo import Size, demo
from distilvox.errors import UserError
from distilvox.files import read_json
from distilvox.ship.runtime import Verifier
from distilvox.study.recipe import Recipe
from distilvox.train.config import replace_fields
from tests.making import TINY

pytest.importorskip("espeakng_loader", reason="the demo's voices need the extra [synth]")

SIZE = Size(speakers=6, unseen_speakers=16, utterances=7, teacher_epochs=12, student_epochs=1, jobs=1)
SMALL = {"student_options": TINY, "batch_size": 6}


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """The demo with networks of a few thousand parameters: everything else is as it ships."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "distilvox.demo.replace_fields",
            lambda config, values: replace_fields(config, {**values, **SMALL, "learning_rate": 1e-2}),
        )
        patch.setattr("distilvox.demo.Recipe", lambda base, **rest: Recipe(base={**base, **SMALL}, **rest))
        yield


@pytest.fixture(scope="module")
def out(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert demo(folder, size=SIZE, device="cpu") == folder / "report.html"
    return folder


def test_the_speakers_that_judge_are_others(out: Path) -> None:
    train, dev = Corpus.open(out / "train"), Corpus.open(out / "dev")
    assert (len(train.speakers), len(dev.speakers)) == (6, 16)
    assert not set(train.speakers) & set(dev.speakers)


def test_every_objective_is_judged_and_shown(out: Path) -> None:
    study = read_json(out / "students" / "study.json", noun="study")
    assert set(study["methods"]) == {"none", "cosine", "kld", "nskd"}
    page = (out / "report.html").read_text(encoding="utf-8")
    for method, found in study["methods"].items():
        assert 0 <= found["eer"]["mean"] <= 1
        assert f"{method}-seed0" in page
    assert "synthetic" in page


def test_the_bundle_decides(out: Path) -> None:
    verifier, dev = Verifier.load(out / "bundle"), Corpus.open(out / "dev")
    wave = dev.wave(0).astype(np.float32) / 32768
    assert verifier.verify(wave, wave).accept is True
    assert verifier.card.operating_point is not None
    assert verifier.card.operating_point.trial_list == "trials.txt"


def test_a_second_call_keeps_what_is_there(out: Path) -> None:
    kept = [*out.rglob("model.safetensors"), *out.rglob("audio*"), out / "trials.txt"]
    kept = [path for path in kept if "bundle" not in path.parts]
    before = {path: path.stat().st_mtime_ns for path in kept}
    demo(out, size=SIZE, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_a_demo_of_another_size_is_not_mixed_in(out: Path) -> None:
    with pytest.raises(UserError, match="holds a demo of another size"):
        demo(out, size=replace(SIZE, speakers=7), device="cpu")
