"""pyannote.audio's checkpoints: read to the golden embedding, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.models.frontend import PRESETS
from distilvox.models.pyannote import read_pyannote
from tests.lightning_making import ASKED, save_as_lightning
from tests.reference.fill import features, fill_state

SETTINGS = {
    "sample_rate": 16_000,
    "num_channels": 1,
    "num_mel_bins": 80,
    "frame_length": 25,
    "frame_shift": 10,
}
SETTINGS |= {"dither": 0.0, "window_type": "hamming", "use_energy": False}  # type: ignore[dict-item]


def under(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"resnet.{name}": value for name, value in state.items()}


def small(**options: Any) -> dict[str, Tensor]:
    return build(
        "resnet34", blocks=(1, 1, 1, 1), channels=4, embedding_dim=6, **options
    ).backbone.state_dict()


@pytest.mark.parametrize("name", ["wespeaker_resnet34", "wespeaker_resnet34_two_emb"])
def test_a_published_file_gives_the_golden_embedding(
    name: str, tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    state = under(fill_state(truth["state"]))
    found = read_pyannote(save_as_lightning(tmp_path / "pytorch_model.bin", state, SETTINGS))
    assert set(ASKED) <= set(found.skipped)
    assert found.student.frontend.config == PRESETS["wespeaker"]
    assert found.student.name == "resnet34"
    case = truth["cases"][0]
    expected = torch.tensor(case["embedding"], dtype=torch.float64)
    with torch.no_grad():
        got = found.student.backbone(features(case["frames"]).float())[0]
    assert (got.double() - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("place", ["pytorch_model.bin", "embedding/pytorch_model.bin"])
@pytest.mark.parametrize("options", [{}, {"bottleneck": True, "two_emb_layer": True}])
def test_folders_and_other_depths_are_read(place: str, options: dict[str, Any], tmp_path: Path) -> None:
    state = small(**options)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    save_as_lightning(tmp_path / place, under(state), SETTINGS)
    student = read_pyannote(tmp_path).student
    assert student.name == ("resnet293" if options else "resnet34")
    assert all(torch.equal(student.backbone.state_dict()[name], value) for name, value in state.items())
    assert not student.training


@pytest.mark.parametrize(
    ("state", "settings", "message"),
    [
        ({"sincnet.conv.weight": torch.zeros(2)}, {}, "tensors under sincnet"),
        ({"resnet.conv1.weight": torch.zeros(2)}, {}, "conv1 or seg_1 is missing"),
        (None, {"window_type": "povey"}, "window_type: povey (expected hamming)"),
        (None, {"sample_rate": 8_000}, "sample_rate: 8000 (expected 16000)"),
    ],
)
def test_other_networks_and_features_are_named(
    state: dict[str, Tensor] | None, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    content = {"state_dict": under(small()) if state is None else state, "hyper_parameters": settings}
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError) as caught:
        read_pyannote(tmp_path)
    assert message in str(caught.value)


def test_tensors_that_do_not_fit_and_a_folder_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint of pyannote here"):
        read_pyannote(tmp_path)
    state = small()
    del state["bn1.bias"]
    torch.save(
        {"state_dict": {**under(state), "loss.weight": torch.zeros(2)}}, tmp_path / "pytorch_model.bin"
    )
    with pytest.raises(UserError, match=r"(?s)bn1\.bias is missing.*loss\.weight is unexpected"):
        read_pyannote(tmp_path)
