"""A folder in SpeechBrain's layout: its numbers against a slow reading, its damage named, nothing executed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distilvox.errors import UserError
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import PRESETS
from distilvox.teachers import load
from distilvox.teachers.speechbrain import LogMel, mel_filters, read_labels
from distilvox.teachers.speechbrain_net import Sizes, SpeechBrainECAPA, sizes
from tests.hub_making import put_folder, use_cache
from tests.reference import speechbrain as reference

MELS, CHANNELS, SCALE, GATE, POOLED, INNER, DIM = 20, 12, 4, 3, 10, 5, 7
HYPERPARAMS = f"""n_mels: {MELS}
pretrained_path: speechbrain/spkrec-ecapa-voxceleb
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:os.system ['touch mark']
modules:
    compute_features: !ref <compute_features>
"""
SPEAKERS = ("id10001", "o'neill", "id10003", "Zoë")


def layout(
    mels: int, channels: int, scale: int, gate: int, pooled: int, inner: int, dim: int
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of `embedding_model.ckpt`, written out here from the published file's list."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, outputs: int, inputs: int, width: int = 1) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs, width), f"{name}.bias": (outputs,)})

    def norm(name: str, size: int) -> None:
        shapes.update({f"{name}.{p}": (size,) for p in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def tdnn(name: str, outputs: int, inputs: int, width: int = 1) -> None:
        conv(f"{name}.conv.conv", outputs, inputs, width)
        norm(f"{name}.norm.norm", outputs)

    tdnn("blocks.0", channels, mels, 5)
    for k in (1, 2, 3):
        tdnn(f"blocks.{k}.tdnn1", channels, channels)
        for i in range(scale - 1):
            tdnn(f"blocks.{k}.res2net_block.blocks.{i}", channels // scale, channels // scale, 3)
        tdnn(f"blocks.{k}.tdnn2", channels, channels)
        conv(f"blocks.{k}.se_block.conv1.conv", gate, channels)
        conv(f"blocks.{k}.se_block.conv2.conv", channels, gate)
    tdnn("mfa", pooled, 3 * channels)
    tdnn("asp.tdnn", inner, 3 * pooled)
    conv("asp.conv.conv", pooled, inner)
    norm("asp_bn.norm", 2 * pooled)
    conv("fc.conv", dim, 2 * pooled)
    return shapes


def random_state() -> dict[str, Tensor]:
    state = {}
    for name, shape in layout(MELS, CHANNELS, SCALE, GATE, POOLED, INNER, DIM).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(123)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape)
        else:
            state[name] = (
                torch.randn(shape) * (shape[1] * shape[2]) ** -0.5 if len(shape) > 1 else torch.randn(shape)
            )
    return state


def labels(names: tuple[str, ...] = SPEAKERS) -> str:
    """As SpeechBrain writes it; the order of lines is not that of the numbers."""
    lines = [f"{name!r} => {number}\n" for number, name in enumerate(names)]
    return "".join(reversed(lines)) + "================\n'starting_index' => 0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(random_state(), tmp_path / "embedding_model.ckpt")
    torch.save({"weight": torch.randn(len(SPEAKERS), DIM)}, tmp_path / "classifier.ckpt")
    torch.save({"count": 3, "glob_mean": torch.zeros(1)}, tmp_path / "mean_var_norm_emb.ckpt")
    (tmp_path / "label_encoder.txt").write_text(labels(), encoding="utf-8")
    (tmp_path / "hyperparams.yaml").write_text(HYPERPARAMS)
    return tmp_path


def speech_like(rng: np.random.Generator, samples: int) -> np.ndarray:
    times = np.arange(samples) / 16_000
    tone = sum(np.sin(2 * np.pi * hz * times + hz) / hz for hz in (130, 260, 1900, 3300))
    return (10 * tone * (1 + np.sin(9 * times)) + 0.01 * rng.standard_normal(samples)).astype(np.float32)


def test_the_published_layout_is_the_network_s() -> None:
    with torch.device("meta"):
        network = SpeechBrainECAPA(Sizes(80, 1024, 8, 128, 3072, 128, 192))
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == layout(80, 1024, 8, 128, 3072, 128, 192)
    assert sum(p.numel() for p in network.parameters()) == 20_767_552


@pytest.mark.parametrize("mels", [20, 80])
def test_filters_equal_the_reference(mels: int) -> None:
    truth = [[reference.triangle(f, 40.0 * k, mels) for k in range(201)] for f in range(mels)]
    np.testing.assert_allclose(mel_filters(mels), truth, atol=1e-12)


@pytest.mark.parametrize("samples", [640, 4_000, 9_999])
def test_features_equal_the_reference(rng: np.random.Generator, samples: int) -> None:
    wave = speech_like(rng, samples)
    ours = LogMel(80)(torch.from_numpy(wave)[None])[0].numpy()
    truth = reference.log_mel(wave, 80)
    assert ours.shape == truth.shape == (samples // 160 + 1, 80)
    np.testing.assert_allclose(ours, truth, atol=2e-3)  # decibels; float32 of a bin 80 dB below the loudest


def test_features_reach_80_db_below_the_loudest_and_no_further() -> None:
    wave = torch.zeros(1, 16_000)
    wave[0, :8_000] = torch.sin(torch.arange(8_000) * 0.7)
    features = LogMel(80)(wave)[0]
    spread = features.max(0).values - features.min(0).values
    assert 79.9 < float(spread.max()) < 80.1


def test_gain_drops_out_above_the_floor(rng: np.random.Generator) -> None:
    waves = torch.from_numpy(speech_like(rng, 8_000))[None]
    torch.testing.assert_close(LogMel(20)(waves), LogMel(20)(0.1 * waves), rtol=0, atol=1e-3)


@pytest.mark.parametrize("frames", [5, 6, 31])
def test_network_equals_the_reference(frames: int) -> None:
    state = random_state()
    network = SpeechBrainECAPA(sizes(state, where="here")).eval()
    network.load_state_dict(state)
    features = 5 * torch.randn(3, frames, MELS)
    truth = reference.network(state, features.double().numpy())
    with torch.no_grad():
        found = network(features).numpy()
    assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()


def test_embedding_equals_the_reference(rng: np.random.Generator, folder: Path) -> None:
    wave = speech_like(rng, 8_123)
    teacher = load(f"speechbrain:{folder}")
    ours = teacher.embed(torch.from_numpy(wave)[None]).numpy()
    state = torch.load(folder / "embedding_model.ckpt", weights_only=True)
    truth = reference.network(state, reference.log_mel(wave, MELS)[None])
    assert ours.shape == (1, DIM)
    assert np.abs(ours - truth).max() < 1e-3 * np.abs(truth).max()
    assert (teacher.sample_rate, teacher.embedding_dim) == (16_000, DIM)


def test_a_batch_equals_its_items_alone(rng: np.random.Generator, folder: Path) -> None:
    teacher = load(f"speechbrain:{folder}")
    waves = torch.from_numpy(np.stack([speech_like(rng, 9_000) * gain for gain in (1, 0.001, 0)]))
    together = teacher.embed(waves)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, atol=1e-4 * float(together.abs().max()), rtol=0)
    assert teacher.embed(waves[:0]).shape == (0, DIM)


def test_it_is_frozen(folder: Path) -> None:
    teacher = load(f"speechbrain:{folder}").train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(UserError, match=r"too short(.|\n)*639 samples(.|\n)*640 and more"):
        teacher.embed(torch.zeros(1, 639))
    assert teacher.embed(torch.zeros(1, 640)).isfinite().all()


@pytest.mark.parametrize("name", ["label_encoder.txt", "label_encoder.ckpt"])
def test_the_head_is_the_classifier_with_the_encoder_s_names(folder: Path, name: str) -> None:
    (folder / "label_encoder.txt").rename(folder / name)
    head = load(f"speechbrain:{folder}").head()
    assert head is not None
    assert head.names == SPEAKERS
    stored = torch.load(folder / "classifier.ckpt", weights_only=True)["weight"]
    assert torch.equal(head.weight, stored)


def test_without_a_classifier_there_is_no_head(folder: Path) -> None:
    with_head = load(f"speechbrain:{folder}")
    for name in ("classifier.ckpt", "label_encoder.txt", "mean_var_norm_emb.ckpt"):
        (folder / name).unlink()
    teacher = load(f"speechbrain:{folder}")
    assert teacher.head() is None
    assert teacher.id == with_head.id


def test_the_id_follows_the_weights_and_not_the_counters(folder: Path) -> None:
    path = folder / "embedding_model.ckpt"
    first = load(f"speechbrain:{folder}").id
    state = torch.load(path, weights_only=True)
    torch.save({name: v for name, v in state.items() if "num_batches" not in name}, path)
    assert load(f"speechbrain:{folder}").id == first
    state["fc.conv.bias"][0] += 1e-3
    torch.save(state, path)
    assert load(f"speechbrain:{folder}").id != first


def test_nothing_in_the_folder_is_executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    class Mischief:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, ("mark",))

    for name in ("embedding_model.ckpt", "classifier.ckpt"):
        whole = (folder / name).read_bytes()
        torch.save({"weight": Mischief()}, folder / name)
        with pytest.raises(UserError, match=rf"{name}(.|\n)*asks for {os.name}\.mkdir, which is code"):
            load(f"speechbrain:{folder}")
        (folder / name).write_bytes(whole)
    load(f"speechbrain:{folder}")
    assert not (folder / "mark").exists()


def change(name: str, edit: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = torch.load(folder / name, weights_only=True)
        edit(state)
        torch.save(state, folder / name)

    return apply


def written(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="latin-1")


FC, GROUP = "fc.conv.weight", "blocks.1.res2net_block.blocks.0.conv.conv.weight"
CUT = "blocks.2.res2net_block.blocks.1.conv.conv.bias"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "embedding_model.ckpt").unlink(), r"embedding_model\.ckpt\n  got:     no such file"),
        (lambda f: os.truncate(f / "embedding_model.ckpt", 5_000), r"embedding_model\.ckpt(.|\n)*cut short"),
        (lambda f: os.truncate(f / "classifier.ckpt", 300), r"classifier\.ckpt(.|\n)*cut short"),
        (change("embedding_model.ckpt", lambda s: s.pop(FC)), f"no {FC}"),
        (change("embedding_model.ckpt", lambda s: s.pop(CUT)), f"{CUT} is missing"),
        (change("embedding_model.ckpt", lambda s: s.update(other=torch.ones(1))), "other is unexpected"),
        (
            change("embedding_model.ckpt", lambda s: s.update({CUT: torch.ones(2)})),
            rf"{CUT} has shape \[2\], expected \[3\]",
        ),
        (
            change("embedding_model.ckpt", lambda s: s.update({FC: torch.ones(7)})),
            rf"{FC} has shape \[7\], three sizes expected",
        ),
        (
            change("embedding_model.ckpt", lambda s: s.update({FC: torch.ones(0, 20, 1)})),
            rf"{FC} has shape \[0, 20, 1\]",
        ),
        (
            change("embedding_model.ckpt", lambda s: s.update({GROUP: torch.ones(5, 5, 3)})),
            "12 channels in groups of 5",
        ),
        (change("embedding_model.ckpt", lambda s: s["mfa.norm.norm.bias"].fill_(np.nan)), "holds NaN"),
        (
            change("classifier.ckpt", lambda s: s.update(w=s.pop("weight"))),
            "weight is missing",
        ),
        (
            change("classifier.ckpt", lambda s: s.update(weight=torch.ones(4, 8))),
            r"weight has shape \[4, 8\], expected \[4, 7\]",
        ),
        (
            change("classifier.ckpt", lambda s: s.update(weight=torch.ones(5, 7))),
            r"label_encoder\.txt does not name the rows of classifier\.ckpt\n  got:     4 names, 5 rows",
        ),
        (lambda f: (f / "label_encoder.txt").unlink(), r"label_encoder\.txt does not exist"),
        (written("label_encoder.txt", "'Zo\xeb' => 0\n"), r"label_encoder\.txt is no text"),
        (written("label_encoder.txt", "'a' => 0\nid10001 1\n"), r"line 2 of .*label_encoder\.txt names no"),
        (written("label_encoder.txt", "a => 0\n"), "line 1 of"),
        (written("label_encoder.txt", "'a' => -1\n"), "line 1 of"),
        (written("label_encoder.txt", "__import__('os') => 0\n"), "line 1 of"),
        (written("label_encoder.txt", "'a' => 0\n\n'b' => 1\n"), "line 2 of"),
        (
            written("label_encoder.txt", "'a' => 0\n'b' => 0\n"),
            r"gives a number twice\n  got:     line 2: 'b'",
        ),
        (
            written("label_encoder.txt", "'a' => 0\n'b' => 2\n"),
            r"leaves numbers out\n  got:     2 speakers.*\[1\]",
        ),
        (written("label_encoder.txt", ""), "0 names, 4 rows"),
        (
            written("label_encoder.txt", "".join(f"'a' => {k}\n" for k in range(4))),
            r"names a speaker twice\n  got:     a",
        ),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=message):
        load(f"speechbrain:{folder}")


def test_names_may_be_numbers_and_hold_arrows(tmp_path: Path) -> None:
    path = tmp_path / "label_encoder.txt"
    path.write_text("17 => 1\n'a => b' => 0\n================\n'unk' => 9\nanything\n")
    assert read_labels(path) == ("a => b", "17")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allowed: speechbrain:FOLDER"):
        load("speechbrain:")
    with pytest.raises(
        UserError, match=r"(?s)no such file or folder for speechbrain:.*absent.*speechbrain:OWNER/NAME"
    ):
        load(f"speechbrain:{tmp_path / 'absent'}")


def test_a_repository_of_that_layout_is_read_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(use_cache(monkeypatch, tmp_path / "hub"), "speechbrain/spkrec", folder)
    teacher, same = load("speechbrain:speechbrain/spkrec"), load(f"speechbrain:{folder}")
    head, own = teacher.head(), same.head()
    assert teacher.id == same.id
    assert head is not None
    assert own is not None
    assert head.names == own.names == SPEAKERS


def test_without_settings_the_features_are_asked_for(folder: Path) -> None:
    """3D-Speaker's ECAPA-TDNN under SpeechBrain's names was fed SpeechBrain's features in silence."""
    own = load(f"speechbrain:{folder}")
    (folder / "hyperparams.yaml").unlink()
    with pytest.raises(UserError) as caught:
        load(f"speechbrain:{folder}")
    message = str(caught.value)
    assert f"nothing says with which features the network in {folder} was trained" in message
    for words in ("?frontend=speechbrain", "?frontend=3dspeaker", "Povey", "fetch hyperparams.yaml too"):
        assert words in message
    assert load(f"speechbrain:{folder}?frontend=speechbrain").id == own.id
    waves = 0.1 * torch.randn(2, 8_000)
    other = load(f"speechbrain:{folder}?frontend=3dspeaker")
    assert other.frontend == dataclasses.replace(PRESETS["3dspeaker"], mels=MELS)
    assert other.id != own.id
    truth = other.get_submodule("network")(Fbank(other.frontend)(waves))
    torch.testing.assert_close(other.embed(waves), truth)
    twin = other.under(dataclasses.replace(other.frontend, window="hamming"))
    assert twin is not None
    assert twin.id == load(f"speechbrain:{folder}?frontend=3dspeaker&window=hamming").id
    with pytest.raises(UserError, match=r"(?s)too short.*800 samples.*\d+ and more"):
        other.embed(torch.zeros(1, 800))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("n_mels: 20", "n_mels: 24"), r"(?s)says other features than those of spkrec.*n_mels: 24"),
        (
            ("    n_mels: !ref <n_mels>", "    n_mels: 20\n    f_max: 7600"),
            r"(?s)says other features.*f_max: 7600",
        ),
        (("std_norm: False", "std_norm: True"), r"(?s)says other features.*std_norm"),
        (("lobes.features.Fbank", "lobes.features.MFCC"), r"nothing says with which features"),
        (
            ("n_mels: 20", "n_mels: !!python/name:os.system"),
            r"these settings are damaged: .*hyperparams\.yaml",
        ),
        (("n_mels: 20", "n_mels: [20"), r"these settings are damaged"),
    ],
)
def test_settings_of_other_features_are_refused(folder: Path, change: tuple[str, str], message: str) -> None:
    text = HYPERPARAMS.replace(*change)
    assert text != HYPERPARAMS
    (folder / "hyperparams.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load(f"speechbrain:{folder}")


def test_the_licence_is_that_of_the_card(folder: Path) -> None:
    assert load(f"speechbrain:{folder}").licence is None
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert load(f"speechbrain:{folder}").licence == "apache-2.0"
