"""Published layouts: a file in each, what is written to load it, and whether it loads or is refused with which words.

docs/layouts.md is this table: `python -m tests.test_layouts` writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models import build
from distilvox.teachers import load
from tests.lightning_making import save_as_lightning
from tests.redimnet2_making import save_small, wespeaker_folder
from tests.threedspeaker_making import funasr, modelscope
from tests.wespeaker_making import small_state, write_folder

PAGE = Path(__file__).parents[1] / "docs" / "layouts.md"
HEAD = """<!-- written by `python -m tests.test_layouts`; each row is a test with a file in that layout -->
# Published layouts

What of other projects loads, and what is refused with which words. Nothing in any file is executed.

| published layout | given as | what happens |
|---|---|---|
"""


class Row(NamedTuple):
    """One layout.

    Attributes:
        layout: what is published.
        given: the URI, PATH for the file or the folder.
        make: writes it into a folder, and says what PATH is.
        refused: words of the message, none where it loads.
        kaldi: whether its features are Kaldi's log-mels.
    """

    layout: str
    given: str
    make: Callable[[Path], Path]
    refused: str = ""
    kaldi: bool = True


def backbone(name: str, **options: Any) -> dict[str, Tensor]:
    return build(name, **options).backbone.state_dict()


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def resnet(**options: Any) -> dict[str, Tensor]:
    return backbone("resnet34", channels=4, embedding_dim=6, **options)


def pyannote(place: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / place).parent.mkdir(exist_ok=True)
        state = {f"resnet.{name}": value for name, value in resnet().items()}
        save_as_lightning(folder / place, state, {"sample_rate": 16_000, "window_type": "hamming"})
        return folder

    return make


class Mischief:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


def hostile(folder: Path) -> Path:
    return saved({"state_dict": small_state(), "callbacks": Mischief()}, folder / "pytorch_model.bin")


def wespeaker(prefix: str = "", **more: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return write_folder(folder, {prefix + name: value for name, value in small_state().items()}, **more)

    return make


def other(model: str, name: str, args: dict[str, Any], **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return write_folder(folder, backbone(name, **options), model=model, args=args)

    return make


def with_data(model: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        args = {"feat_dim": 80, "embed_dim": 192, "pooling_func": "TSTP"}
        return write_folder(folder, backbone("campplus", embedding_dim=192), model=model, args=args, data={})

    return make


DIMS = {"feat_dim": 80, "embed_dim": 6}
ROWS = (
    Row(
        "3D-Speaker, CAM++ weights (`campplus_cn_en_common.pt`, `campplus_cn_common.bin`)",
        "3dspeaker:PATH",
        lambda at: saved(backbone("campplus", embedding_dim=192), at / "campplus_cn_en_common.pt"),
    ),
    Row(
        "ModelScope folder of CAM++, 512 dimensions (`configuration.json`)",
        "3dspeaker:PATH",
        lambda at: modelscope(at, backbone("campplus"), emb_size=512),
    ),
    Row(
        "FunASR folder of CAM++ (`config.yaml` with `model_conf`, `model.pt`)",
        "3dspeaker:PATH",
        lambda at: funasr(at, backbone("campplus", embedding_dim=192)),
    ),
    Row(
        "3D-Speaker, ERes2Net weights (`pretrained_eres2net.pt`)",
        "3dspeaker:PATH",
        lambda at: saved(backbone("eres2net", channels=8), at / "pretrained_eres2net.pt"),
    ),
    Row(
        "3D-Speaker, ERes2NetV2 weights (`pretrained_eres2netv2.ckpt`)",
        "3dspeaker:PATH",
        lambda at: saved(
            backbone("eres2netv2", channels=8, base_width=32), at / "pretrained_eres2netv2.ckpt"
        ),
    ),
    Row(
        "3D-Speaker, ECAPA-TDNN weights (`ecapa_tdnn.bin`)",
        "3dspeaker:PATH",
        lambda at: saved({"blocks.0.conv.conv.weight": torch.ones(2), "fc.w": torch.ones(1)}, at / "e.bin"),
        "holds no network of 3D-Speaker that is known here",
    ),
    Row(
        "pyannote.audio, `pytorch_model.bin` of a WeSpeaker ResNet",
        "pyannote:PATH",
        pyannote("pytorch_model.bin"),
    ),
    Row(
        "pyannote.audio, the same inside a pipeline's folder (`embedding/`)",
        "pyannote:PATH",
        pyannote("embedding/pytorch_model.bin"),
    ),
    Row(
        "pyannote.audio, x-vector on SincNet (`pyannote/embedding`)",
        "pyannote:PATH",
        lambda at: saved(
            {"state_dict": {"sincnet.a.w": torch.ones(1), "tdnns.0.w": torch.ones(1)}},
            at / "pytorch_model.bin",
        ),
        "holds none of the networks that are known here",
    ),
    Row(
        "a checkpoint that asks for `os.system`",
        "pyannote:PATH",
        hostile,
        "which is code, not a tensor; nothing was run",
    ),
    Row("WeSpeaker folder, `avg_model.pt`", "wespeaker:PATH", wespeaker()),
    Row("WeSpeaker folder, `models/model_150.pt`", "wespeaker:PATH", wespeaker(file="models/model_150.pt")),
    Row("WeSpeaker folder, `avg_model` without suffix", "wespeaker:PATH", wespeaker(file="avg_model")),
    Row(
        "WeSpeaker folder, all names behind `module._orig_mod.`",
        "wespeaker:PATH",
        wespeaker("module._orig_mod."),
    ),
    Row(
        "WeSpeaker folder, SimAM_ResNet34_ASP (SimAM_ResNet100_ASP alike)",
        "wespeaker:PATH",
        other("SimAM_ResNet34_ASP", "simam34", {"in_planes": 4, "embed_dim": 6}, channels=4, embedding_dim=6),
    ),
    Row(
        "WeSpeaker folder, ResNet with attentive pooling (`pooling_func: ASTP`)",
        "wespeaker:PATH",
        other("ResNet18", "resnet18", {**DIMS, "pooling_func": "ASTP"}, attentive=True, embedding_dim=6),
    ),
    Row(
        "WeSpeaker folder, ECAPA-TDNN with `emb_bn`",
        "wespeaker:PATH",
        other(
            "ECAPA_TDNN_c512",
            "ecapa512",
            {**DIMS, "emb_bn": True},
            global_context=False,
            embedding_norm=True,
            embedding_dim=6,
        ),
    ),
    Row(
        "WeSpeaker folder, an architecture that is not known here (Res2Net34_Base)",
        "wespeaker:PATH",
        wespeaker(model="Res2Net34_Base"),
        "no model of WeSpeaker that is known here",
    ),
    Row(
        "WeSpeaker's package of 3D-Speaker's CAM++ (`campplus_cn_common_200k`)",
        "wespeaker:PATH",
        with_data("CAMPPlus"),
        "nothing says with which features the CAMPPlus in PATH was trained",
    ),
    Row("the same, with its features", "wespeaker:PATH?frontend=3dspeaker", with_data("CAMPPlus")),
    Row(
        "WeSpeaker folder, ReDimNet2B0 (B1, B2 and B6 alike), `frontend: tfmel`",
        "wespeaker:PATH",
        lambda at: wespeaker_folder(at, "ReDimNet2B0"),
        kaldi=False,
    ),
    Row(
        "WeSpeaker folder, ReDimNet2B3 (B4 and B5 alike)",
        "wespeaker:PATH",
        lambda at: wespeaker_folder(at, "ReDimNet2B3"),
        "no ReDimNet2 of WeSpeaker that is known here",
    ),
    Row(
        "PalabraAI, ReDimNet2 (`b2-vox2-lm.pt`: `model_config`, `state_dict`), `feat_type` tf",
        "redimnet2:PATH",
        lambda at: save_small(at / "b2-vox2-lm.pt"),
        kaldi=False,
    ),
    Row(
        "the same, `feat_type` pt",
        "redimnet2:PATH",
        lambda at: save_small(at / "x.pt", feat_type="pt"),
        kaldi=False,
    ),
    Row(
        "the same, trained as causal",
        "redimnet2:PATH",
        lambda at: save_small(at / "x.pt", said={"causal": "full"}),
        "not a ReDimNet2 that is known here",
    ),
    Row(
        "a state dict of ReDimNet2 alone",
        "redimnet2:PATH",
        lambda at: saved({"backbone.stem.0.weight": torch.ones(1)}, at / "x.pt"),
        "is no published checkpoint of ReDimNet2",
    ),
)


def page() -> str:
    lines = [
        f"| {row.layout} | `{row.given}` | {f'refused: “{row.refused}”' if row.refused else 'loads'} |"
        for row in ROWS
    ]
    return HEAD + "\n".join(lines) + "\n"


@pytest.mark.parametrize("row", ROWS, ids=[re.sub(r"\W+", "-", row.layout)[:50] for row in ROWS])
def test_a_published_layout_loads_or_is_refused_with_these_words(row: Row, tmp_path: Path) -> None:
    path = str(row.make(tmp_path))
    uri = row.given.replace("PATH", path)
    if row.refused:
        with pytest.raises(UserError, match=re.escape(row.refused.replace("PATH", path))):
            load(uri)
        return
    teacher = load(uri)
    assert teacher.embed(torch.randn(1, 8_000) * 0.1).isfinite().all()
    assert (teacher.frontend is not None) == row.kaldi


def test_the_page_is_this_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.test_layouts"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
