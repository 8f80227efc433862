"""A student that starts from a run has its weights and its speakers' centres, and is refused where it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.files import read_json, sha256_file
from distilvox.models.head import SpeakerHead
from distilvox.models.runfolder import load_student
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.loop import fit
from distilvox.train.start import make_student
from distilvox.views.bank import synthetic_bank
from tests.making import TINY, make_corpus, tiny_config

BANK = synthetic_bank(0, seconds=0.5)
PLAIN = {"targets": None, "objective": "none", "epochs": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "train", speakers=4, utterances=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Path:
    return fit(
        tiny_config(**PLAIN),
        corpus=corpus,
        out=tmp_path_factory.mktemp("runs") / "first",
        device="cpu",
        bank=BANK,
    )


def test_the_weights_are_the_run_s_and_so_are_the_centres_of_its_speakers(run: Path) -> None:
    student, init = make_student(RunConfig(init=f"run:{run}"))
    theirs = load_student(run)
    assert student.training
    assert student.config == theirs.student.config
    for name, value in theirs.student.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name
    assert init is not None
    assert init.record() == {"uri": f"run:{run}", "sha256": sha256_file(run / "model.safetensors")}
    head = SpeakerHead(["s3", "stranger", "s0"], 8)
    drawn = head.weight.detach().clone()
    assert init.copy_centres(head) == 2
    assert torch.equal(head.weight[[0, 2]], theirs.head[[3, 0]])
    assert torch.equal(head.weight[1], drawn[1])
    strangers = SpeakerHead(["a", "b"], 8)
    drawn = strangers.weight.detach().clone()
    assert init.copy_centres(strangers) == 0
    assert torch.equal(strangers.weight, drawn)
    strangers(torch.randn(1, 8)).sum().backward()
    assert strangers.weight.grad is not None


def test_training_goes_on_from_there(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = make_corpus(tmp_path / "more", speakers=6, utterances=3)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "student_options": {}}
    out = fit(
        tiny_config(**PLAIN, **still, init=f"run:{run}"),
        corpus=more,
        out=tmp_path / "run",
        device="cpu",
        bank=BANK,
    )
    assert "its weights, and its class centres of 4 of 6 speakers, matched by name" in capfd.readouterr().err
    ours, theirs = load_student(out), load_student(run)
    assert torch.equal(ours.head[:4], theirs.head)
    assert not torch.equal(ours.head[4:], theirs.head[:2])
    for (name, a), (_, b) in zip(
        ours.student.named_parameters(), theirs.student.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    record = read_json(out / "config.json", noun="run")
    assert record["model"] == read_json(run / "config.json", noun="run")["model"]
    assert record["init"]["uri"] == f"run:{run}"


def test_resuming_keeps_the_start(corpus: Corpus, run: Path, tmp_path: Path) -> None:
    config = tiny_config(**PLAIN, init=f"run:{run}")
    out = fit(config, corpus=corpus, out=tmp_path / "run", device="cpu", bank=BANK)
    moved = shutil.copytree(run, tmp_path / "moved")
    fit(
        tiny_config(**PLAIN, init=f"run:{moved}"),
        corpus=corpus,
        out=out,
        device="cpu",
        bank=BANK,
        resume=True,
    )
    with pytest.raises(UserError, match=r"changed: init\n"):
        fit(tiny_config(**PLAIN), corpus=corpus, out=out, device="cpu", bank=BANK, resume=True)
    with pytest.raises(UserError, match=r"changed: init\.sha256\n"):
        fit(
            tiny_config(**PLAIN, init=f"run:{out}"),
            corpus=corpus,
            out=out,
            device="cpu",
            bank=BANK,
            resume=True,
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"student_options": {"channels": 9}}, r"got: +channels 9, there 8\n[\s\S]*name no student"),
        ({"student_options": {"channel": 9}}, r"unknown option[\s\S]*did you mean 'channels'"),
        (
            {"student": "xvector-s"},
            r"channels 128, there 8; embedding_dim 128, there 8; hidden 128, there 8; last_channels 384, there 12",
        ),
        ({"student": "resnet-s"}, "resnet-s, there xvector-s"),
        ({"student": "xvectr"}, r"unknown model[\s\S]*did you mean 'xvector'"),
    ],
)
def test_another_architecture_is_refused_by_its_fields(
    fields: dict[str, object], message: str, run: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make_student(replace_fields(RunConfig(), {**fields, "init": f"run:{run}"}))


def test_the_same_architecture_may_be_named(run: Path) -> None:
    for config in (
        RunConfig("xvector-s", TINY, init=f"run:{run}"),
        RunConfig("xvector", TINY, init=f"run:{run}"),
        RunConfig("", {"channels": 8}, init=f"run:{run}"),
    ):
        student, _ = make_student(config)
        assert student.name == "xvector-s"
        assert student.config == load_student(run).student.config


def test_without_a_run_the_default_is_built() -> None:
    student, init = make_student(RunConfig())
    assert (student.name, init) == ("xvector-s", None)


@pytest.mark.parametrize("uri", ["first", "run:", "ge2e:", "Run:x"])
def test_what_is_no_run_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"starts from a run folder[\s\S]*run:FOLDER"):
        make_student(RunConfig(init=uri))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run folder here: .*absent"):
        make_student(RunConfig(init=f"run:{tmp_path / 'absent'}"))
