from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError
from distilvox.teachers import load
from distilvox.teachers.voxceleb2 import dev_speakers
from distilvox.teachers.wavlm_ecapa import WavLMEcapa
from distilvox.teachers.wavlm_head import WavLMECAPA
from tests.reference import wavlm as reference
from tests.wavlm_making import random_wavlm

ROWS, DIM = 7, 12


def random_checkpoint(*, large: bool = True) -> dict[str, Tensor]:
    """The published layout, tiny: WavLM of width 16, 2 layers; 8 channels, 12 dimensions, 7 speakers."""
    state = {f"feature_extract.model.{name}": value for name, value in random_wavlm(large=large).items()}
    state["feature_weight"] = torch.randn(3)
    state |= WavLMECAPA(16, 8, DIM).state_dict()
    state["loss_calculator.projection.weight"] = torch.randn(ROWS, DIM)
    return state


def write(path: Path, state: object) -> Path:
    torch.save({"model": state}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "finetune.pth", random_checkpoint())


@pytest.mark.parametrize("large", [True, False])
def test_embedding_equals_its_parts_read_slowly(tmp_path: Path, large: bool) -> None:
    state = random_checkpoint(large=large)
    teacher = load(f"wavlm-ecapa:{write(tmp_path / 'w.pth', state)}")
    wave = 0.05 * torch.randn(9_000) + 0.3  # neither zero mean nor unit variance
    prefix = "feature_extract.model."
    wavlm = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    given = F.layer_norm(wave.double(), wave.shape) if large else wave
    states, out = reference.hidden_states(given, wavlm, large=large, farthest=800)
    stacked = torch.stack([*states[:-1], out])  # as s3prl collects them: the last one after its norm
    shares = state["feature_weight"].double().softmax(0)
    ecapa = WavLMECAPA(16, 8, DIM).eval()
    ecapa.load_state_dict({name: state[name] for name in ecapa.state_dict()})
    truth = ecapa((shares[:, None, None] * stacked).sum(0).T[None].float())[0]
    assert teacher.embedding_dim == DIM
    torch.testing.assert_close(teacher.embed(wave[None])[0], truth, atol=1e-4, rtol=1e-4)


def test_a_batch_equals_its_items_alone(checkpoint: Path) -> None:
    teacher = load(f"wavlm-ecapa:{checkpoint}")
    waves = torch.randn(3, 8_000) * torch.tensor([[0.01], [0.1], [1.0]])
    together = teacher.embed(waves)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    assert together.dtype == torch.float32
    assert not together.requires_grad
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert teacher.embed(waves[:0]).shape == (0, DIM)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_autocast_around_the_teacher_changes_nothing(checkpoint: Path) -> None:
    teacher = load(f"wavlm-ecapa:{checkpoint}")
    waves = torch.randn(1, 8_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = teacher.embed(waves)
    assert torch.equal(inside, teacher.embed(waves))


def test_the_id_follows_what_an_embedding_depends_on(tmp_path: Path) -> None:
    state = random_checkpoint()

    def id_of() -> str:
        return load(f"wavlm-ecapa:{write(tmp_path / 'w.pth', state)}").id

    first = id_of()
    state["feature_extract.model.mask_emb"] += 1
    state["loss_calculator.projection.weight"] += 1
    assert id_of() == first
    for name in (
        "feature_extract.model.encoder.layers.1.fc2.bias",
        "feature_weight",
        "layer3.SE_Connect.linear1.bias",
    ):
        state[name][0] += 1e-3
        assert id_of() != first
        state[name][0] -= 1e-3


def test_a_flat_file_serves_as_well(tmp_path: Path) -> None:
    state = random_checkpoint()
    torch.save(state, tmp_path / "flat.pth")
    nested = load(f"wavlm-ecapa:{write(tmp_path / 'nested.pth', state)}")
    assert load(f"wavlm-ecapa:{tmp_path / 'flat.pth'}").id == nested.id


def test_rows_get_names_from_the_file_beside_the_checkpoint(checkpoint: Path) -> None:
    teacher = load(f"wavlm-ecapa:{checkpoint}")
    assert teacher.head() is None
    rows = teacher.unnamed_head()
    assert rows is not None
    assert rows.shape == (ROWS, DIM)
    listed = checkpoint.with_name("finetune.pth.speakers")
    listed.write_text("\n".join(f"speaker {row}" for row in range(ROWS)) + "\n\n", encoding="utf-8")
    teacher = load(f"wavlm-ecapa:{checkpoint}")
    head = teacher.head()
    assert head is not None
    assert teacher.unnamed_head() is None
    assert head.names[-1] == "speaker 6"
    assert torch.equal(head.weight, rows)
    listed.write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)finetune\.pth\.speakers does not name.*2 names.*7 names"):
        load(f"wavlm-ecapa:{checkpoint}")
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text"):
        load(f"wavlm-ecapa:{checkpoint}")


def test_a_checkpoint_without_class_centres_has_no_head(tmp_path: Path) -> None:
    state = random_checkpoint()
    del state["loss_calculator.projection.weight"]
    teacher = load(f"wavlm-ecapa:{write(tmp_path / 'w.pth', state)}")
    assert teacher.head() is None
    assert teacher.unnamed_head() is None


def test_5994_rows_are_the_development_speakers_of_voxceleb2(tmp_path: Path) -> None:
    names = dev_speakers()
    assert len(names) == 5994
    assert list(names) == sorted(set(names))
    assert (names[0], names[3], names[-1]) == ("id00012", "id00018", "id09272")  # id00017 is a test speaker
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest.startswith("b4d18a7a8f0519ea")  # of the ids marked dev in vox2_meta.csv
    state = random_checkpoint()
    state["loss_calculator.projection.weight"] = torch.randn(5994, DIM)
    head = load(f"wavlm-ecapa:{write(tmp_path / 'w.pth', state)}").head()
    assert head is not None
    assert head.names == names


def test_the_published_head_fits_the_names(golden: Callable[[str], Any]) -> None:
    shapes = {name: shape for name, shape, *_ in golden("wavlm_ecapa_head")["state"]}
    ours = {name: list(value.shape) for name, value in WavLMECAPA().state_dict().items()}
    assert ours | {"loss_calculator.projection.weight": [len(dev_speakers()), 256]} == shapes


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    good = random_checkpoint()

    def message(**changes: Tensor | None) -> str:
        state = {name: value for name, value in (good | changes).items() if value is not None}
        with pytest.raises(UserError) as caught:
            load(f"wavlm-ecapa:{write(tmp_path / 'w.pth', state)}")
        assert "w.pth do not fit the model" in str(caught.value)
        return str(caught.value)

    wavlm = "feature_extract.model.encoder.layers.1.self_attn.q_proj.weight"
    assert f"{wavlm} is missing" in message(**{wavlm: None})
    assert f"{wavlm} has shape [16, 17], expected [16, 16]" in message(**{wavlm: torch.zeros(16, 17)})
    assert "feature_weight has shape [4], expected [3]" in message(feature_weight=torch.zeros(4))
    assert "feature_weight is missing" in message(feature_weight=None)
    assert "linear.bias holds NaN" in message(**{"linear.bias": torch.full((DIM,), torch.nan)})
    assert "layer1.conv.weight is missing" in message(**{"layer1.conv.weight": None})
    assert "linear.weight has shape [12]" in message(**{"linear.weight": torch.zeros(12)})
    assert "linear.weight has shape [12, 9]" in message(**{"linear.weight": torch.zeros(12, 9)})
    assert "other is unexpected" in message(other=torch.zeros(1))
    projection = "loss_calculator.projection.weight"
    assert f"{projection} has shape [7, 5], expected [7, 12]" in message(**{projection: torch.zeros(7, 5)})
    assert f"{projection} has shape []" in message(**{projection: torch.tensor(1.0)})


class Mischief:
    """Unpickles into a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = write(tmp_path / "w.pth", random_checkpoint() | {"bomb": Mischief(mark)})
    with pytest.raises(UserError, match=r"(?s)cannot read the WavLM-ECAPA checkpoint.*nothing was run"):
        load(f"wavlm-ecapa:{path}")
    assert not mark.exists()


def test_files_that_are_none_are_named(tmp_path: Path, checkpoint: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:20_000])
    with pytest.raises(UserError, match=r"(?s)cut\.pth.*cut short.*wavlm_large_finetune\.pth"):
        load(f"wavlm-ecapa:{cut}")
    with pytest.raises(UserError, match="no such file"):
        load(f"wavlm-ecapa:{tmp_path / 'nowhere.pth'}")
    with pytest.raises(UserError, match="needs its file"):
        load("wavlm-ecapa:")


def test_an_utterance_too_short_for_wavlm_is_refused() -> None:
    teacher = WavLMEcapa(random_checkpoint(), uri="wavlm-ecapa:w", where="w")
    with pytest.raises(UserError, match=r"(?s)too short for WavLM.*1599 samples.*1600 and more"):
        teacher.embed(torch.zeros(1, 1_599))
    assert bool(torch.isfinite(teacher.eval().embed(torch.randn(1, 1_600))).all())
    assert bool(torch.isfinite(teacher.embed(torch.zeros(1, 8_000))).all())
