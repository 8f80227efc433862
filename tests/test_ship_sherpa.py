"""sherpa-onnx computes our embeddings from `model.fbank.onnx`, silence and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sherpa_onnx
import soundfile
import torch

from distilvox.models import Student, build
from distilvox.ship.export import write_models

TINY = {"channels": 24, "last_channels": 40, "hidden": 24, "embedding_dim": 16}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Student, Path]:
    """A tiny student whose batch norms have seen sound, and its graph for features."""
    torch.manual_seed(0)
    student = build("xvector-s", **TINY).train()
    with torch.no_grad():
        student(0.1 * torch.randn(4, 12_000))
    folder = tmp_path_factory.mktemp("sherpa")
    write_models(student.eval(), folder, "space")
    return student, folder / "model.fbank.onnx"


def theirs(model: Path, wave: np.ndarray) -> np.ndarray:
    """The embedding [D] that sherpa-onnx computes of a wave [N] at 16 kHz."""
    config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(model), num_threads=1)
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config)
    stream = extractor.create_stream()
    stream.accept_waveform(16_000, wave)
    stream.input_finished()
    return np.array(extractor.compute(stream))


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


@pytest.fixture(scope="module")
def speech(shared: Path) -> list[np.ndarray]:
    files = sorted((shared / "corpora" / "chorus" / "audio").rglob("*.opus"))[::1500]
    return [soundfile.read(path, dtype="float32")[0] for path in files]


def test_sherpa_onnx_computes_our_embedding(shipped: tuple[Student, Path], speech: list[np.ndarray]) -> None:
    student, model = shipped
    for wave in speech:
        with torch.no_grad():
            ours = student(torch.from_numpy(wave)[None])[0].numpy()
        assert cosine(ours, theirs(model, wave)) > 0.9999


@pytest.mark.parametrize("level", [0.0, 2.0**-15, 1e-4])
def test_silence_behind_speech_is_left_out_there_too(
    level: float, shipped: tuple[Student, Path], speech: list[np.ndarray], rng: np.random.Generator
) -> None:
    student, model = shipped
    padded = np.concatenate([speech[0], level * rng.standard_normal(16_000)]).astype(np.float32)
    with torch.no_grad():
        ours = student(torch.from_numpy(padded)[None])[0].numpy()
    assert cosine(ours, theirs(model, padded)) > 0.9999
