"""3D-Speaker's files and folders: read to the golden embedding, or refused with what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.models.eres2net import ERes2NetConfig
from distilvox.models.frontend import PRESETS
from distilvox.models.threedspeaker import read_threedspeaker, recognise
from tests.reference.fill import features, fill_state, sweep
from tests.threedspeaker_making import funasr, modelscope

GOLDEN = ("3dspeaker_campplus",)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_published_file_gives_the_golden_embeddings(
    name: str, tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    truth = golden(name)
    torch.save(fill_state(truth["state"]), tmp_path / "weights.bin")
    found = read_threedspeaker(tmp_path / "weights.bin")
    assert found.weights == tmp_path / "weights.bin"
    assert found.student.frontend.config == PRESETS["3dspeaker"]
    backbone = found.student.backbone
    state = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for key, value in backbone.state_dict().items()
    ]
    assert state == truth["state"]
    assert sum(p.numel() for p in backbone.parameters()) == truth["parameters"]
    for cases, make in ((truth["cases"], features), (truth["sweep_cases"], sweep)):
        for case in cases:
            expected = torch.tensor(case["embedding"], dtype=torch.float64)
            with torch.no_grad():
                got = backbone(make(case["frames"]).float())[0]
            deviation = (got.double() - expected).abs().max() / expected.abs().max()
            assert deviation < 1e-4, f"{deviation:.1e} of the largest value"


WIDER = ("3dspeaker_eres2net_base", "3dspeaker_eres2netv2", "3dspeaker_eres2netv2_w24s4ep4")


@pytest.mark.parametrize("name", WIDER)
def test_names_and_shapes_say_which_eres2net_it_is(name: str, golden: Callable[[str], Any]) -> None:
    """Its values for this layout: test_models_golden."""
    truth = golden(name)
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape, _ in truth["state"]}
        backbone = build(*(found := recognise(tensors, Path("w.ckpt")))[:1], **found[1]).backbone
    state = [[key, list(value.shape)] for key, value in backbone.state_dict().items()]
    assert state == [[key, shape] for key, shape, _ in truth["state"]]


@pytest.mark.parametrize(
    "config",
    [
        ERes2NetConfig(channels=8, embedding_dim=5),
        ERes2NetConfig(channels=8, base_width=24, scale=3, expansion=4, embedding_dim=5),
    ],
    ids=["base", "huge"],
)
def test_a_file_of_eres2net_is_read(config: ERes2NetConfig, tmp_path: Path) -> None:
    backbone = config.build().eval()
    torch.save(backbone.state_dict(), tmp_path / "pretrained_eres2net.ckpt")
    student = read_threedspeaker(tmp_path).student
    assert student.config == config
    assert torch.equal(student.backbone(features(50).float()), backbone(features(50).float()))


def test_a_damaged_eres2net_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save({"layer3_ds.weight": torch.zeros(2), "conv1.weight": torch.zeros(2)}, path)
    assert "holds a damaged ERes2Net" in refusal(path)


def campplus(dim: int = 192) -> dict[str, Tensor]:
    return build("campplus", embedding_dim=dim).backbone.state_dict()


@pytest.mark.parametrize("dim", [192, 512])
def test_folders_of_modelscope_and_funasr_are_the_file_inside(tmp_path: Path, dim: int) -> None:
    state = campplus(dim)
    folders = [
        modelscope(tmp_path / "m", state, emb_size=dim),
        modelscope(tmp_path / "n", state, emb_size=dim, file="campplus_voxceleb.bin"),
        funasr(tmp_path / "f", state, embedding_size=dim),
    ]
    (tmp_path / "bare").mkdir()
    torch.save(state, tmp_path / "bare" / "campplus_cn_en_common.pt")
    for folder in (*folders, tmp_path / "bare"):
        student = read_threedspeaker(folder).student
        assert student.embedding_dim == dim
        assert not student.training
        found = student.backbone.state_dict()
        assert all(torch.equal(found[name], value) for name, value in state.items())


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_threedspeaker(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emb_size": 512}, "emb_size: 512 (expected 192)"),
        ({"sample_rate": 8_000}, "sample_rate: 8000 (expected 16000)"),
        ({"fbank_dim": 40}, "fbank_dim: 40 (expected 80)"),
    ],
)
def test_a_modelscope_folder_that_contradicts_itself(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(modelscope(tmp_path / "m", campplus(), **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "ERes2NetV2"}, "model: ERes2NetV2 (expected CAMPPlus)"),
        ({"growth_rate": 16}, "growth_rate: 16 (expected 32)"),
        ({"output_level": "frame"}, "output_level: frame (expected segment)"),
    ],
)
def test_a_funasr_folder_that_contradicts_itself(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    said = refusal(funasr(tmp_path / "f", campplus(), **changes))
    assert message in said
    assert f"3dspeaker:{tmp_path / 'f' / 'model.pt'}" in said


def test_folders_without_the_weights_that_they_name(tmp_path: Path) -> None:
    assert "no weights of 3D-Speaker here" in refusal(tmp_path)
    folder = modelscope(tmp_path / "m", {}, file="campplus_cn_common.bin")
    (folder / "campplus_cn_common.bin").unlink()
    assert "names campplus_cn_common.bin, which is not there" in refusal(folder)
    text = (folder / "configuration.json").read_text()
    (folder / "configuration.json").write_text(text.replace("campplus_cn", "../campplus_cn"))
    assert "does not name a file beside it" in refusal(folder)
    (folder / "configuration.json").write_text("[1]")
    assert "holds no table" in refusal(folder)
    (folder / "configuration.json").write_text("{")
    assert "this ModelScope configuration is damaged" in refusal(folder)


def test_other_networks_and_damage_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    torch.save({"blocks.0.conv.conv.weight": torch.zeros(2)}, path)
    assert "an ECAPA-TDNN" in refusal(path)
    torch.save({"fc.weight": torch.zeros(2)}, path)
    assert "1 tensors, the first fc.weight" in refusal(path)
    state = campplus()
    del state["head.bn1.bias"]
    torch.save(state, path)
    assert "head.bn1.bias is missing" in refusal(path)
    assert "no such file" in refusal(tmp_path / "nowhere.bin")


class Mischief:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_nothing_in_a_folder_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    folder = funasr(tmp_path / "f", campplus())
    torch.save({**campplus(), "extra": Mischief(mark)}, folder / "model.pt")
    assert "nothing was run" in refusal(folder)
    folder = funasr(tmp_path / "g", campplus())
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{mark}']\n")
    assert "configuration is damaged" in refusal(folder)
    assert not mark.exists()
