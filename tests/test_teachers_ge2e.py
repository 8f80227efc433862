from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.teachers import ge2e, load
from tests.reference import ge2e as reference

SHAPES = {
    **{f"lstm.weight_ih_l{layer}": (1024, 256 if layer else 40) for layer in range(3)},
    **{f"lstm.weight_hh_l{layer}": (1024, 256) for layer in range(3)},
    **{f"lstm.bias_{kind}_l{layer}": (1024,) for layer in range(3) for kind in ("ih", "hh")},
    "linear.weight": (256, 256),
    "linear.bias": (256,),
    "similarity_weight": (1,),
    "similarity_bias": (1,),
}


def random_state() -> dict[str, Tensor]:
    return {name: torch.randn(shape) * 0.08 for name, shape in SHAPES.items()}


def write(path: Path, state: object) -> Path:
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write(tmp_path / "pretrained.pt", random_state())


def speech_like(rng: np.random.Generator, samples: int) -> np.ndarray:
    times = np.arange(samples) / 16_000
    tone = sum(np.sin(2 * np.pi * hz * times + hz) / hz for hz in (130, 260, 1900, 3300))
    return (10 * tone * (1 + np.sin(9 * times)) + 0.01 * rng.standard_normal(samples)).astype(np.float32)


def test_filters_equal_the_reference() -> None:
    np.testing.assert_allclose(ge2e.mel_filters(), reference.mel_filters(), atol=1e-12)


def test_mel_power_equals_a_plain_dft(rng: np.random.Generator) -> None:
    wave = speech_like(rng, 2_345)
    ours = ge2e.MelPower()(torch.from_numpy(wave)[None])[0]
    truth = reference.mel_power(wave)
    assert ours.shape == truth.shape
    np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-3, atol=1e-6 * truth.max())


@pytest.mark.parametrize("samples", [8_000, 30_001])
def test_embedding_equals_the_reference(rng: np.random.Generator, weights: Path, samples: int) -> None:
    wave = speech_like(rng, samples)
    teacher = load(f"ge2e:{weights}")
    state = {name: value.double().numpy() for name, value in teacher.state_dict().items()}
    ours = teacher.embed(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(ours, reference.embed(wave, state), atol=2e-5)


def test_a_batch_equals_its_items_alone(rng: np.random.Generator, weights: Path) -> None:
    teacher = load(f"ge2e:{weights}")
    waves = torch.from_numpy(np.stack([speech_like(rng, 9_000) * gain for gain in (1, 0.3, 2)]))
    together = teacher.embed(waves)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert teacher.embed(waves[:0]).shape == (0, 256)


def test_windows_cover_an_utterance_and_the_last_is_mostly_speech() -> None:
    assert ge2e.window_starts(1) == ge2e.window_starts(25_599) == [0]
    for samples in range(26_000, 200_000, 777):
        starts = ge2e.window_starts(samples)
        assert np.diff(starts).tolist() == [77] * (len(starts) - 1)
        assert len(starts) == 1 or samples - starts[-1] * 160 >= 0.75 * 160 * 160
        assert samples / 160 - (starts[-1] + 160) <= 77  # no more than one step of the end is unseen


def test_a_teacher_is_frozen_and_its_embedding_enters_a_loss(weights: Path) -> None:
    teacher = load(f"ge2e:{weights}").train()
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    embedding = teacher.embed(torch.randn(2, 8_000) * 0.1)
    assert embedding.dtype == torch.float32
    assert not embedding.requires_grad
    student = torch.randn(2, 256, requires_grad=True)
    torch.cosine_similarity(student, embedding).sum().backward()
    assert student.grad is not None
    assert teacher.head() is None


def test_autocast_around_a_teacher_changes_nothing(weights: Path) -> None:
    teacher = load(f"ge2e:{weights}")
    waves = torch.randn(2, 8_000) * 0.1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = teacher.embed(waves)
    assert torch.equal(inside, teacher.embed(waves))


def test_the_id_follows_the_weights_alone(tmp_path: Path) -> None:
    state = random_state()
    first = load(f"ge2e:{write(tmp_path / 'a.pt', state)}").id
    reordered = dict(reversed([*state.items(), ("similarity_bias", torch.ones(1))]))
    assert load(f"ge2e:{write(tmp_path / 'b.pt', reordered)}").id == first
    state["linear.bias"][0] += 1e-3
    assert load(f"ge2e:{write(tmp_path / 'c.pt', state)}").id != first
    assert len(first) == 16


def test_the_wheel_serves_as_well_as_the_file_in_it(tmp_path: Path, weights: Path) -> None:
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(weights, "resemblyzer/pretrained.pt")
    assert load(f"ge2e:{wheel}").id == load(f"ge2e:{weights}").id


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = random_state()
    del state["lstm.bias_hh_l1"]
    state["linear.weight"] = torch.zeros(256, 128)
    state["other"] = torch.zeros(1)
    state["linear.bias"][3] = float("nan")
    with pytest.raises(UserError) as caught:
        load(f"ge2e:{write(tmp_path / 'w.pt', state)}")
    message = str(caught.value)
    assert "lstm.bias_hh_l1 is missing" in message
    assert "linear.weight has shape [256, 128], expected [256, 256]" in message
    assert "other is unexpected" in message
    assert "linear.bias holds NaN" in message


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not the weights that ge2e: needs: .*w\.pt"):
        load(f"ge2e:{path}")


def test_a_truncated_checkpoint_is_named(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes(weights.read_bytes()[:50_000])
    with pytest.raises(UserError, match="not the weights that ge2e: needs"):
        load(f"ge2e:{path}")


class Mischief:
    """Unpickles into a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_checkpoint_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model_state"):
        load(f"ge2e:{write(tmp_path / 'w.pt', [1, 2])}")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = write(tmp_path / "w.pt", Mischief(mark))
    with pytest.raises(UserError, match="not the weights"):
        load(f"ge2e:{path}")
    assert not mark.exists()


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(UserError, match="pip install --no-deps resemblyzer"):
        load("ge2e:")


def test_a_missing_file_and_unknown_schemes() -> None:
    with pytest.raises(UserError, match="no such weights file"):
        load("ge2e:/nowhere/w.pt")
    with pytest.raises(UserError, match=r"(?s)unknown kind of teacher.*ge2e, .*run.*did you mean 'ge2e'"):
        load("gee2e:")
    with pytest.raises(UserError, match=r"(?s)scheme:rest.*run:runs/teacher"):
        load("runs/teacher")


def test_the_installed_weights_load_without_the_package(shared: Path) -> None:
    """The real weights tell one speaker of the dev set from another."""
    soundfile = pytest.importorskip("soundfile")
    try:
        metadata.distribution("resemblyzer")
    except metadata.PackageNotFoundError:
        pytest.skip("needs the weights of resemblyzer: pip install --no-deps resemblyzer")
    teacher = load("ge2e:")
    assert "resemblyzer" not in sys.modules
    audio = shared / "corpora" / "chorus" / "audio"
    folders = sorted(folder for folder in audio.glob("so*/*") if len(list(folder.iterdir())) > 5)[:3]
    files = [path for folder in folders for path in sorted(folder.iterdir())[:4]]
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    units = torch.cat([teacher.embed(torch.from_numpy(wave)[None]) for wave in waves])
    cosines = (units @ units.T).unflatten(0, (3, 4)).unflatten(2, (3, 4)).mean(dim=(1, 3))
    same, other = cosines.diagonal().min(), (cosines - 2 * torch.eye(3)).max()
    assert same > other + 0.05
