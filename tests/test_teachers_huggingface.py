from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    SeamlessM4TFeatureExtractor,
    UniSpeechSatConfig,
    UniSpeechSatForXVector,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForXVector,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForXVector,
    WavLMConfig,
    WavLMForXVector,
)
from transformers.utils import logging

from distilvox.errors import UserError
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from tests.hub_making import put_folder, use_cache

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "tdnn_dim": (16, 16, 16, 16, 24),
    "xvector_output_dim": 20,
}
WAVES: dict[str, Any] = {
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
KINDS: dict[str, tuple[Any, Any]] = {
    "wavlm": (WavLMConfig, WavLMForXVector),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForXVector),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatForXVector),
    "wav2vec2-bert": (Wav2Vec2BertConfig, Wav2Vec2BertForXVector),
}


def make(folder: Path, kind: str = "wavlm", *, normalize: bool = True, **options: Any) -> Any:
    """Writes a tiny random x-vector model, and returns it."""
    config, model_type = KINDS[kind]
    features = kind == "wav2vec2-bert"
    model = model_type(config(**SIZES, **({} if features else WAVES), **options)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:  # louder than it is born, so that an embedding depends on its input
                value.normal_(std=(1 / value[0].numel()) ** 0.5)
            elif name.endswith("bias"):
                value.normal_(std=0.1)
    model.save_pretrained(folder)
    extractor = (
        SeamlessM4TFeatureExtractor()
        if features
        else Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=True)
    )
    extractor.save_pretrained(folder)
    return model, extractor


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_embedding_equals_the_model_on_what_its_extractor_makes(
    tmp_path: Path, kind: str, normalize: bool, rng: np.random.Generator
) -> None:
    model, extractor = make(tmp_path, kind, normalize=normalize)
    waves = (0.05 * rng.standard_normal((2, 9_000)) + 0.02).astype(np.float32)
    teacher = load(f"hf:{tmp_path}")
    made = extractor(list(waves), sampling_rate=16_000, return_tensors="pt", padding=False)
    made.pop("attention_mask") if kind != "wav2vec2-bert" else None
    with torch.no_grad():
        truth = model(**made).embeddings
    ours = teacher.embed(torch.from_numpy(waves))
    assert (teacher.embedding_dim, teacher.sample_rate) == (20, 16_000)
    assert truth.std() > 1e-3
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_items_alone(tmp_path: Path, kind: str) -> None:
    make(tmp_path, kind)
    teacher = load(f"hf:{tmp_path}")
    waves = torch.randn(3, 8_000) * torch.tensor([[0.01], [0.1], [1.0]])
    together = teacher.embed(waves)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    assert together.dtype == torch.float32
    assert not together.requires_grad
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert teacher.embed(waves[:0]).shape == (0, 20)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.train().training


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    make(made)
    return made


def change(folder: Path, **changes: Tensor | None) -> Path:
    """Rewrites tensors of a saved model; None takes one away."""
    state = load_file(folder / "model.safetensors") | changes
    kept = {name: value for name, value in state.items() if value is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_the_id_follows_what_an_embedding_depends_on(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    first = load(f"hf:{folder}").id
    moved = folder.with_name("moved")
    shutil.copytree(folder, moved)
    change_json(moved / "config.json", transformers_version="4.57.0", id2label={"0": "a", "1": "b"})
    classifier, mask = state["classifier.weight"] + 1, state["wavlm.masked_spec_embed"] + 1
    change(moved, **{"classifier.weight": classifier, "wavlm.masked_spec_embed": mask})
    assert load(f"hf:{moved}").id == first
    change_json(moved / "preprocessor_config.json", do_normalize=False)
    assert load(f"hf:{moved}").id != first
    change_json(folder / "config.json", tdnn_dilation=[1, 2, 2, 1, 1])
    assert load(f"hf:{folder}").id != first
    change_json(folder / "config.json", tdnn_dilation=[1, 2, 3, 1, 1])
    assert load(f"hf:{folder}").id == first
    change(folder, **{"tdnn.3.kernel.bias": state["tdnn.3.kernel.bias"] + 1e-3})
    assert load(f"hf:{folder}").id != first


def test_the_class_centres_are_of_another_space(folder: Path) -> None:
    teacher = load(f"hf:{folder}")
    assert teacher.head() is None
    assert teacher.unnamed_head() is None


def test_loading_leaves_the_logging_of_transformers_as_it_was(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(f"hf:{folder}")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = "wavlm.encoder.layers.1.attention.q_proj.weight"
    change(folder, **{name: None, "classifier.bias": None})
    with pytest.raises(
        UserError, match=rf"(?s)do not fit an x-vector model \(wavlm\).*got: +{name} is missing\n"
    ):
        load(f"hf:{folder}")
    change(folder, **{name: torch.full((32, 32), torch.inf)})
    with pytest.raises(UserError, match=f"{name} holds NaN or infinity"):
        load(f"hf:{folder}")
    change(folder, **{name: torch.zeros(32, 31)})
    with pytest.raises(UserError, match=rf"{name} has another shape than \[32, 32\]"):
        load(f"hf:{folder}")
    change(folder, **{name: state[name]})
    assert load(f"hf:{folder}").embedding_dim == 20  # without the layer that no embedding passes


def test_a_model_without_x_vector_layers_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    change(folder, **{name: None for name in state if not name.startswith("wavlm.")})
    with pytest.raises(
        UserError, match=r"(?s)projector\.weight is missing.*fine-tuned for speaker verification"
    ):
        load(f"hf:{folder}")
    change_json(folder / "config.json", model_type="hubert")
    with pytest.raises(UserError, match=r"(?s)no model that makes x-vectors.*hubert.*wav2vec2, .*wavlm"):
        load(f"hf:{folder}")


class Mischief:
    """Unpickles into a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_nothing_in_a_folder_is_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert load(f"hf:{folder}").embedding_dim == 20  # tensors alone are welcome in either format
    torch.save(state | {"bomb": Mischief(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the weights"):
        load(f"hf:{folder}")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Mischief(mark)))
    with pytest.raises(UserError, match="cannot load the weights"):
        load(f"hf:{folder}")
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass C: pass\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    change_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.C"})
    with pytest.raises(UserError, match=r"cannot load config\.json"):
        load(f"hf:{folder}")
    assert not mark.exists()


def test_damaged_folders_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for content in (b"", data[:100], data[:-1000]):
        weights.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot load the weights of the model in .*model"):
            load(f"hf:{folder}")
    weights.unlink()
    with pytest.raises(UserError, match=r"(?s)cannot load the weights of the model in .*no file named"):
        load(f"hf:{folder}")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"cannot load preprocessor_config\.json of the model in .*model"):
        load(f"hf:{folder}")
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot load config\.json of the model in .*model"):
        load(f"hf:{folder}")


@pytest.mark.parametrize("rest", ["/nowhere/at/all", "./runs/none", "a b", "https://huggingface.co/a/b"])
def test_what_is_neither_folder_nor_repository_is_refused_without_the_network(rest: str) -> None:
    with pytest.raises(UserError, match=r"(?s)no such file or folder for hf:.*hf:OWNER/NAME"):
        load(f"hf:{rest}")
    with pytest.raises(UserError, match="needs a repository or a folder"):
        load("hf:")


def test_a_repository_is_read_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = use_cache(monkeypatch, tmp_path / "hub")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    commit = put_folder(cache, "owner/name", folder)
    teacher = load("hf:owner/name")
    assert teacher.id == load(f"hf:{folder}").id
    assert teacher.licence == "cc-by-4.0"
    assert (
        load(f"hf:owner/name?revision={commit}&offline=1").uri == f"hf:owner/name?revision={commit}&offline=1"
    )
    with pytest.raises(UserError, match=r"nobody/no-such-model is no folder here and not in the local cache"):
        load("hf:nobody/no-such-model")


def shortest(teacher: Teacher) -> int:
    """The fewest samples that are embedded, by bisection."""
    low, high = 0, 16_000
    while high - low > 1:
        middle = (low + high) // 2
        try:
            teacher.embed(0.1 * torch.randn(1, middle))
            high = middle
        except UserError:
            low = middle
    return high


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2-bert"])
def test_half_a_second_is_long_enough_and_less_is_refused(tmp_path: Path, kind: str) -> None:
    make(tmp_path, kind)
    teacher = load(f"hf:{tmp_path}")
    least = shortest(teacher)
    assert least <= 8_000
    assert bool(torch.isfinite(teacher.embed(0.1 * torch.randn(1, least))).all())
    with pytest.raises(UserError, match=rf"(?s)too short for hf:.*{least - 1} samples, 15 frames.*16 frames"):
        teacher.embed(0.1 * torch.randn(1, least - 1))
    with pytest.raises(UserError, match="too short for hf:"):
        teacher.embed(torch.zeros(1, 1))
