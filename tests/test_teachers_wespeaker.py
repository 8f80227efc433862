from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.models.frontend import PRESETS
from distilvox.models.wespeaker import import_wespeaker
from distilvox.teachers import load
from tests.hub_making import put_folder, use_cache
from tests.reference.fill import features
from tests.wespeaker_making import filled, small_state, write_folder


def test_a_folder_teaches_as_the_run_that_it_becomes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "w", small_state(), rows=torch.randn(3, 6))
    import_wespeaker(folder, tmp_path / "run")
    teacher, same = load(f"wespeaker:{folder}"), load(f"run:{tmp_path / 'run'}")
    waves = torch.randn(2, 16_000) * 0.1
    assert torch.equal(teacher.embed(waves), same.embed(waves))
    assert teacher.id == same.id
    assert (teacher.embedding_dim, teacher.sample_rate) == (6, 16_000)
    assert not teacher.train().training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_repository_of_that_layout_is_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "w", small_state(), rows=torch.randn(2, 6), names=["a", "b"])
    commit = put_folder(use_cache(monkeypatch, tmp_path / "hub"), "owner/name", folder)
    teacher = load(f"wespeaker:owner/name?revision={commit}")
    assert teacher.id == load(f"wespeaker:{folder}").id
    head = teacher.head()
    assert head is not None
    assert head.names == ("a", "b")


def test_its_rows_have_names_or_serve_unnamed(tmp_path: Path) -> None:
    rows = torch.randn(3, 6)
    unnamed = load(f"wespeaker:{write_folder(tmp_path / 'a', small_state(), rows=rows)}")
    assert unnamed.head() is None
    centres = unnamed.unnamed_head()
    assert centres is not None
    assert torch.equal(centres, rows)
    named = load(f"wespeaker:{write_folder(tmp_path / 'b', small_state(), rows=rows, names=['z', 'a', 'm'])}")
    head = named.head()
    assert head is not None
    assert head.names == ("z", "a", "m")
    assert torch.equal(head.weight, rows)
    assert named.unnamed_head() is None
    bare = load(f"wespeaker:{write_folder(tmp_path / 'c', small_state())}")
    assert bare.head() is None
    assert bare.unnamed_head() is None


def test_the_published_layout_gives_the_golden_embedding(
    tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    truth = golden("wespeaker_xvec")
    folder = write_folder(tmp_path / "w", filled(truth["state"]), args=truth["kwargs"])
    teacher = load(f"wespeaker:{folder}")
    case = truth["cases"][0]
    expected = torch.tensor(case["embedding"], dtype=torch.float64)
    with torch.no_grad():
        found = teacher.get_submodule("student.backbone")(features(case["frames"]).float())[0]
    assert (found.double() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs its folder"):
        load("wespeaker:")
    with pytest.raises(UserError, match=r"(?s)no such file or folder for wespeaker:.*wespeaker:OWNER/NAME"):
        load("wespeaker:/nowhere")
    state = small_state()
    del state["seg_2.bias"]
    with pytest.raises(UserError, match=r"seg_2\.bias is missing"):
        load(f"wespeaker:{write_folder(tmp_path / 'w', state)}")


@pytest.mark.parametrize("data", [{}, {"resample_rate": 16_000}])
def test_without_its_features_they_are_asked_for(tmp_path: Path, data: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "w", small_state(), data=data)
    with pytest.raises(UserError) as caught:
        load(f"wespeaker:{folder}")
    message = str(caught.value)
    assert f"nothing says with which features the XVEC in {folder} was trained" in message
    for words in ("?frontend=wespeaker", "?frontend=3dspeaker", "Povey", "distilvox teacher URI"):
        assert words in message
    povey, same = load(f"wespeaker:{folder}?window=povey"), load(f"wespeaker:{folder}?frontend=3dspeaker")
    assert povey.frontend == same.frontend == PRESETS["3dspeaker"]
    assert povey.id == same.id != load(f"wespeaker:{folder}?frontend=wespeaker").id
    stated = load(f"wespeaker:{write_folder(tmp_path / 's', small_state())}")
    assert stated.frontend == PRESETS["wespeaker"]


def test_what_wespeaker_packages_of_3d_speaker_s_is_asked_for(tmp_path: Path) -> None:
    """campplus_cn_common_200k: a CAM++ of 192 numbers without a classifier, whatever its configuration copied."""
    sizes: dict[str, Any] = {"growth": 4, "channels": 8, "bottleneck": 1}
    state = build("campplus", embedding_dim=192, **sizes).backbone.state_dict()
    args = {
        "feat_dim": 80,
        "embed_dim": 192,
        "pooling_func": "TSTP",
        "growth_rate": 4,
        "bn_size": 1,
        "init_channels": 8,
    }
    folder = write_folder(tmp_path / "w", state, model="CAMPPlus", args=args)
    with pytest.raises(
        UserError, match=r"(?s)nothing says with which features the CAMPPlus.*campplus_cn_common_200k"
    ):
        load(f"wespeaker:{folder}")
    assert load(f"wespeaker:{folder}?frontend=3dspeaker").frontend == PRESETS["3dspeaker"]
    trained = write_folder(tmp_path / "t", state, model="CAMPPlus", args=args, rows=torch.randn(3, 192))
    assert load(f"wespeaker:{trained}").frontend == PRESETS["wespeaker"]
