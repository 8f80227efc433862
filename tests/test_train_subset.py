"""Training on some of a corpus: what it hears, what it is taught, and that nothing is embedded again for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distilvox.corpus.store import Corpus
from distilvox.corpus.subset import part, training_part
from distilvox.errors import UserError
from distilvox.teachers import load
from distilvox.teachers.inspect import inspect
from distilvox.teachers.live import LiveTeacher
from distilvox.teachers.taught import Taught
from distilvox.train.config import replace_fields
from distilvox.train.distributed import World
from distilvox.train.loop import fit
from distilvox.train.targets import Targets
from distilvox.views.bank import synthetic_bank
from distilvox.views.batches import make_views
from tests.making import make_corpus, tiny_config
from tests.teaching import Prepared

BANK = synthetic_bank(0, seconds=0.5)
CHOICE = {"subset.speakers": 3, "subset.per_speaker": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("subset")
    config = tiny_config(targets=None, objective="none", epochs=6, learning_rate=1e-2)
    fit(config, corpus=make_corpus(root / "train"), out=root / "teacher", device="cpu", bank=BANK)
    return root


def targets(root: Path, corpus: Corpus, **fields: Any) -> Any:
    config = tiny_config(**{"targets.views": 2, **fields})
    assert config.targets is not None
    taught = Taught.open(
        load(f"run:{root / 'teacher'}"), corpus, config=config.targets, views=config.views, bank=BANK,
        device=torch.device("cpu"), ranks=World(), cache=root / f"cache-{config.targets.sees}",
    )  # fmt: skip
    looked = inspect(taught, scale=16.0)
    assert looked is not None
    return Prepared(Targets.of(taught), looked)


@pytest.mark.parametrize("sees", ["utterance", "view"])
@pytest.mark.parametrize("live", [False, True])
def test_the_teacher_of_a_part_is_that_of_the_whole_heard_on_it(
    root: Path, sees: str, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus.open(root / "train")
    some = training_part(corpus, tiny_config(**CHOICE).subset)
    fields = {"targets.sees": sees, "targets.live": live, "targets.head": "means", "targets.centre": "no"}
    whole = targets(root, corpus, **fields)
    before = {path: path.stat().st_mtime_ns for path in root.glob("cache-*/**/*")}
    there = targets(root, some, **fields)
    assert {path: path.stat().st_mtime_ns for path in root.glob("cache-*/**/*")} == before
    views = tiny_config().views
    ours = make_views(some, np.array([0, 5, 11]), 1, views, BANK)
    theirs = make_views(corpus, some.rows_in_whole[[0, 5, 11]], 1, views, BANK)
    assert torch.equal(ours.waves, theirs.waves)  # a view hangs on its utterance, whoever else is there
    assert [some.speakers[k] for k in ours.labels] == [corpus.speakers[k] for k in theirs.labels]
    torch.testing.assert_close(there.embed(ours, 1), whole.embed(theirs, 1))
    assert there.preflight.to_json() != whole.preflight.to_json()
    rows = np.flatnonzero(np.isin(np.asarray(corpus.speakers)[corpus.labels], some.speakers))
    all_of_them = targets(root, part(corpus, rows), **fields)
    names = [corpus.speakers.index(name) for name in some.speakers]
    torch.testing.assert_close(all_of_them.head.weight, whole.head.weight[names])
    assert there.head.weight.shape == all_of_them.head.weight.shape
    assert not torch.allclose(there.head.weight, all_of_them.head.weight)  # fewer utterances, other means


def test_a_run_on_a_subset_says_so_and_knows_its_speakers_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, teacher = Corpus.open(root / "train"), load(f"run:{root / 'teacher'}")
    asked: list[int] = []
    embed = LiveTeacher.embed

    def counted(live: LiveTeacher, view: int, indices: np.ndarray) -> torch.Tensor:
        asked.append(len(indices))
        return embed(live, view, indices)

    monkeypatch.setattr(LiveTeacher, "embed", counted)

    def run(name: str, **fields: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        out = fit(
            tiny_config(epochs=1, objective="kld", **fields), corpus=corpus, out=tmp_path / name, device="cpu",
            teacher=teacher, bank=BANK, cache=tmp_path / "cache", force=True,
        )  # fmt: skip
        return json.loads((out / "config.json").read_text()), load_file(out / "model.safetensors")

    record, weights = run("all")
    assert record["subset"] is None
    assert (record["corpus"]["utterances"], len(record["speakers"]), len(weights["head.weight"])) == (
        36,
        6,
        6,
    )
    embedded = sum(asked)
    some, weights = run("some", **CHOICE)
    assert sum(asked) - embedded <= 8  # the cache's own look at itself, and no more
    assert some["subset"] == {"speakers": 3, "per_speaker": 4, "total": 0, "at_least": 0, "seed": 0}
    assert (some["corpus"]["utterances"], len(some["speakers"]), len(weights["head.weight"])) == (12, 3, 3)
    assert some["corpus"]["id"] == record["corpus"]["id"]
    assert some["speakers"] == training_part(corpus, tiny_config(**CHOICE).subset).speakers
    assert len((tmp_path / "some" / "log.jsonl").read_text().splitlines()) == 2  # 12 utterances, batches of 6


def test_too_much_is_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    config = replace_fields(tiny_config(targets=None, objective="none"), {"subset.per_speaker": 7})
    with pytest.raises(UserError, match=r"0 of 6[\s\S]*6 speakers have 6 or more"):
        fit(config, corpus=Corpus.open(root / "train"), out=tmp_path / "run", device="cpu", bank=BANK)
    assert not (tmp_path / "run").exists()
