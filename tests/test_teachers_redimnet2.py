"""`redimnet2:` and WeSpeaker's ReDimNet2: golden embeddings of waveforms, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models.wespeaker import read_wespeaker
from distilvox.teachers import Teacher, load
from distilvox.teachers.redimnet2_settings import of_wespeaker, read_settings
from tests.redimnet2_making import SMALL, matrices, save_small, wave
from tests.reference.fill import fill_state
from tests.wespeaker_making import write_folder

NETWORKS = ("b0", "b1", "b2", "small_gnorm", "small_dual", "small_other")


def state_of(truth: dict[str, Any], prefix: str, kind: str) -> dict[str, Tensor]:
    """The golden fill, and the front end's matrices as the published code makes them."""
    made = {prefix + name: value for name, value in matrices(kind).items()}
    return {name: made.get(name, value) for name, value in fill_state(truth["state"]).items()}


def check_waves(uri: str, truth: dict[str, Any]) -> Teacher:
    teacher = load(uri)
    for case in truth["wave_cases"]:
        expected = torch.tensor(case["embedding"], dtype=torch.float64)
        found = teacher.embed(wave(case["samples"]))[0].double()
        assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    return teacher


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_file_embeds_waveforms_as_its_own_code_does(
    name: str, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    truth = golden(f"redimnet2_{name}")
    state = state_of(truth, "spec.torchfbank.", truth["kwargs"]["feat_type"])
    torch.save({"model_config": truth["kwargs"], "state_dict": state}, tmp_path / "x.pt")
    check_waves(f"redimnet2:{tmp_path / 'x.pt'}", truth)


@pytest.mark.parametrize("name", ["b0", "b1", "b2"])
def test_a_folder_of_wespeaker_embeds_waveforms_as_its_own_code_does(
    name: str, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    truth = golden(f"wespeaker_redimnet2_{name}")
    state, said = state_of(truth, "frontend.spec.torchfbank.", "tf"), truth["config"]
    write_folder(
        tmp_path, state, model=said["model"], args=said["model_args"], data=said["dataset_args"],
        rows=torch.randn(2, 192), names=("anna", "bert"),
    )  # fmt: skip
    head = check_waves(f"wespeaker:{tmp_path}", truth).head()
    assert head is not None
    assert head.names == ("anna", "bert")
    with pytest.raises(UserError, match=r"(?s)features are not Kaldi's.*it can teach as it is: wespeaker:"):
        read_wespeaker(tmp_path)
    with pytest.raises(UserError, match=r"(?s)a ReDimNet2 has its own features.*frontend=sherpa"):
        load(f"wespeaker:{tmp_path}?frontend=sherpa")


def test_sizes_by_wespeakers_names_are_those_of_its_constructors(golden: Callable[[str], Any]) -> None:
    for name in ("B0", "B1", "B2", "B6"):
        built = dict(golden(f"wespeaker_redimnet2_{name.lower()}")["built_as"])
        spectrum = {"norm_signal": True}
        ours = read_settings(of_wespeaker(f"ReDimNet2{name}") | {"spec_params": spectrum}, "x")
        assert ours == read_settings(built, "x")


def test_the_configuration_that_a_published_file_is_said_to_hold_is_read(
    golden: Callable[[str], Any],
) -> None:
    said = golden("facts_redimnet2_checkpoint")["model_config_as_quoted_for_b6"]["value"]
    config, features = read_settings(said, "x")
    assert config.group_norm
    assert (features.kind, features.mels, features.normalise) == ("tf", 72, True)


def test_the_id_carries_the_features(tmp_path: Path) -> None:
    ids = set()
    for kind in ("tf", "pt"):
        for normal in (True, False):
            path = save_small(
                tmp_path / f"{kind}{normal}.pt", feat_type=kind, spec_params={"norm_signal": normal}
            )
            teacher = load(f"redimnet2:{path}")
            assert (teacher.frontend, teacher.head(), teacher.embedding_dim) == (None, None, 8)
            ids.add(teacher.id)
    assert len(ids) == 4


class Mischief:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"causal": False}, r"causal: False \(known is none\)"),
        ({"causal": "full"}, r"causal: full \(known is none\)"),
        ({"feat_type": "tf_spec"}, r"feat_type: tf_spec \(known are tf, tf_mel, pt, pt_mel\)"),
        ({"spec_params": {"do_preemph": False}}, r"do_preemph: False \(known is True\)"),
        ({"spec_params": {"gain": 1}}, "spec_params: gain is unknown"),
        ({"spec_params": 3}, "spec_params is a int"),
        ({"depth": 3}, "depth is unknown"),
        ({"C": "8"}, "C: 8 is of the wrong kind"),
        ({"C": 10**9}, "(?s)a width of the network"),
        ({"F": 0}, "mels"),
        ({"stages_setup": [[1, 1]]}, "stages_setup is no list"),
        ({"stages_setup": [[[1, 1], 1, 1, [[3, 3]], "9"]]}, "stages_setup is no list"),
        ({"C": 10}, r"(?s)the weights in .*x\.pt do not fit.*has shape"),
    ],
)
def test_what_a_file_says_otherwise_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save_small(tmp_path / "x.pt", said=change)
    with pytest.raises(UserError, match=message):
        load(f"redimnet2:{path}")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a redimnet2 teacher needs its file"):
        load("redimnet2:")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"(?s)no published checkpoint of ReDimNet2.*'model_config'"):
        load(f"redimnet2:{tmp_path / 'a.pt'}")
    torch.save({"model_config": Mischief(), "state_dict": {}}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="which is code, not a tensor; nothing was run"):
        load(f"redimnet2:{tmp_path / 'b.pt'}")
    torch.save({"model_config": {**SMALL}, "state_dict": {"a": 1}}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="is no published checkpoint"):
        load(f"redimnet2:{tmp_path / 'c.pt'}")
    torch.save({"model_config": {**SMALL}, "state_dict": {"a": torch.ones(1)}}, tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"(?s)do not fit the model.*is missing"):
        load(f"redimnet2:{tmp_path / 'c.pt'}")


@pytest.mark.parametrize("name", ["2.melbanks_pt", "2.real_kernel_pt", "1.flipped_filter"])
def test_another_front_end_inside_the_file_is_refused(name: str, tmp_path: Path) -> None:
    path = save_small(tmp_path / "x.pt", scaled=name)
    with pytest.raises(UserError, match=rf"(?s)is not the one that its settings name.*{name}"):
        load(f"redimnet2:{path}")


def test_a_size_of_wespeakers_without_golden_values_is_refused(tmp_path: Path) -> None:
    data = {"frontend": "tfmel", "cmvn": False, "resample_rate": 16_000, "tfmel_args": {"norm_signal": True}}
    args = {"feat_dim": 72, "embed_dim": 8, "pooling_func": "ASTP"}
    folder = write_folder(tmp_path, {"a": torch.ones(1)}, model="ReDimNet2B4", args=args, data=data)
    with pytest.raises(
        UserError, match=r"(?s)no ReDimNet2 of WeSpeaker that is known here.*B0.*B6.*onnx:FILE"
    ):
        load(f"wespeaker:{folder}")
    folder = write_folder(
        tmp_path, {"a": torch.ones(1)}, model="ReDimNet2B0", args=args, data={**data, "cmvn": True}
    )
    with pytest.raises(UserError, match=r"not the features of a ReDimNet2B0\n.*cmvn: True"):
        load(f"wespeaker:{folder}")
    folder = write_folder(tmp_path, {"a": torch.ones(1)}, model="ReDimNet2B0", args={}, data=data)
    with pytest.raises(UserError, match="feat_dim, embed_dim missing"):
        load(f"wespeaker:{folder}")
