"""Export: ONNX equals PyTorch at unseen lengths, and a bundle exists whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from distilvox.corpus.licence import state_licence
from distilvox.errors import UserError
from distilvox.files import sha256_file
from distilvox.models import MODELS, Student, build
from distilvox.models.frontend import PRESETS, FrontEnd
from distilvox.models.runfolder import model_record
from distilvox.ship import export as exporting
from distilvox.ship import parity
from distilvox.ship.card import FILES, Card, OperatingPoint
from distilvox.ship.export import export, training_of
from distilvox.ship.quantize import quantize
from distilvox.ship.readme import contents, escape, render
from distilvox.ship.runtime import Verifier, cosine
from tests.making import make_corpus

TINY = {"channels": 24, "last_channels": 40, "hidden": 24, "embedding_dim": 16}
POINT = {
    "threshold": 0.4,
    "false_accept_target": 0.01,
    "false_accept": 0.013,
    "miss": 0.08,
    "trials": 41_746,
    "target_trials": 1_746,
    "trial_list": "dev_<b>.txt",
    "how": "by hand, for a test",
}
METRICS = {
    "eer": 0.097,
    "eer_ci": [0.08, 0.11],
    "min_dcf": {"0.01": 0.6},
    "trials": 41_746,
    "target_trials": 1_746,
    "speakers": 117,
    "trial_list": "dev.txt",
    "scores": "raw cosine",
}


def write_run(folder: Path, *, seed: int = 0, teacher: str = "ge2e:") -> Path:
    """A run folder as training leaves it, of a tiny student with drawn weights and statistics."""
    torch.manual_seed(seed)
    student = build("xvector-s", **TINY)
    for name, buffer in student.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    folder.mkdir(parents=True)
    speakers = ["anna", "bert|<i>", "carl"]
    tensors = {f"student.{name}": tensor for name, tensor in student.state_dict().items()}
    save_file({**tensors, "head.weight": torch.randn(3, TINY["embedding_dim"])}, folder / "model.safetensors")
    config = {
        "version": 1,
        "distilvox": "0.1.0",
        "model": model_record(student),
        "train": {"epochs": 1},
        "objective": {"objective": "nskd"},
        "views": {"seconds": 2.0},
        "corpus": {"path": "/home/someone/private/chorus", "id": "c" * 64},
        "teacher": {"uri": teacher, "id": "t" * 16},
        "speakers": speakers,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One run and its bundle; exporting takes seconds, so all tests share it and none may write to it."""
    root = tmp_path_factory.mktemp("ship")
    run = write_run(root / "run", teacher="run:/x/*bold*<script>")
    export(run, root / "bundle", operating_point=OperatingPoint.of(POINT), evaluation=METRICS)
    return run, root / "bundle"


@pytest.fixture
def bundle(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the bundle that a test may spoil."""
    return Path(shutil.copytree(exported[1], tmp_path / "bundle"))


def read_card(bundle: Path) -> Card:
    return Card.from_json(json.loads((bundle / "card.json").read_text()), "card.json")


def test_onnx_equals_pytorch_at_unseen_lengths(exported: tuple[Path, Path], rng: np.random.Generator) -> None:
    run, bundle = exported
    student = exporting.load_student(run, "cpu")[0]
    waves_in = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    feats_in = onnxruntime.InferenceSession(str(bundle / "model.fbank.onnx"))
    for batch, length in ((1, 8_000), (2, 8_159), (1, 23_456), (5, 16_000), (1, 160_007)):
        waves = rng.normal(0, 0.1, (batch, length)).astype(np.float32)
        with torch.no_grad():
            truth = student(torch.from_numpy(waves)).numpy()
            features = student.frontend(torch.from_numpy(waves)).numpy()
        assert parity.relative_error(waves_in.run(None, {"waves": waves})[0], truth) < 1e-5
        # Features with an offset per bin: the graph takes means off itself.
        raw = features + rng.normal(0, 3, (1, 1, features.shape[2])).astype(np.float32)
        assert parity.relative_error(feats_in.run(None, {"feats": raw})[0], truth) < 1e-4


SMALL = [name for name in MODELS if name.endswith("-s")]
"""One of every architecture."""

SHORTER: dict[str, dict[str, Any]] = {"redimnet2-s": {"blocks": [1, 1, 1, 1], "reductions": [20, 0, 0, 10]}}
"""Whose graph is long: some of its blocks, every kind of them."""


@pytest.fixture(scope="module", params=SMALL)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Student, Path]:
    """A small student whose batch norms have seen sound, and the folder of its ONNX models."""
    torch.manual_seed(0)
    student = build(request.param, PRESETS["wespeaker"], **SHORTER.get(request.param, {})).train()
    with torch.no_grad():
        student(0.1 * torch.randn(4, 12_000))
    folder = tmp_path_factory.mktemp(request.param)
    exporting.write_models(student.eval(), folder, "space")
    return student, folder


def test_every_architecture_ships_what_pytorch_computes(
    shipped: tuple[Student, Path], rng: np.random.Generator
) -> None:
    student, folder = shipped
    waves_in = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    feats_in = onnxruntime.InferenceSession(str(folder / "model.fbank.onnx"))
    lengths = (9_600, 22_331, 54_321, 100_009, 320_000)  # 0.6 s to 20 s
    assert not set(lengths) & {*parity.SAMPLES[:-1], exporting.EXAMPLE_SAMPLES}
    for length, batch in zip(lengths, (1, 4, 2, 1, 1), strict=True):
        waves = rng.normal(0, 0.1, (batch, length)).astype(np.float32)
        with torch.no_grad():
            features = student.frontend(torch.from_numpy(waves))
            truth = student.backbone(features).numpy()
        assert parity.relative_error(waves_in.run(None, {"waves": waves})[0], truth) < 1e-4
        raw = features.numpy() + rng.normal(0, 3, (1, 1, features.shape[2])).astype(np.float32)
        assert parity.relative_error(feats_in.run(None, {"feats": raw})[0], truth) < 1e-4


def test_every_architecture_ships_in_8_bits(
    shipped: tuple[Student, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    """Its weights are integers, all but those that the exporter takes apart (the pooling's attention); little is lost.

    Nothing overflows on a processor without VNNI either: with 8 bits of weight ECAPA has 0.85 there.
    """
    student, folder = shipped
    waves = [rng.normal(0, 0.1, 16_000 + 999 * k).astype(np.float32) for k in range(8)]
    figures = quantize(folder / "model.onnx", tmp_path / "int8.onnx", waves)
    assert figures["cosine_worst"] > 0.999
    graph = onnx.load(tmp_path / "int8.onnx").graph
    integers = sum(np.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8)
    named = student.backbone.named_parameters()
    apart = ("pool.linear1.weight",)
    weights = sum(p.numel() for name, p in named if p.ndim > 1 and name not in apart)
    assert integers >= 0.9 * weights


def test_the_runtime_embeds_as_pytorch_does(exported: tuple[Path, Path], rng: np.random.Generator) -> None:
    run, bundle = exported
    wave = rng.normal(0, 0.1, 20_001).astype(np.float32)
    with torch.no_grad():
        truth = exporting.load_student(run, "cpu")[0](torch.from_numpy(wave[None])).numpy()[0]
    for precision, least in (("float32", 0.999999), ("int8", 0.95)):
        verifier = Verifier.load(bundle, precision=precision)
        embedding = verifier.embed(wave, force=True)
        assert (embedding.dtype, embedding.shape) == (np.float32, (16,))
        assert cosine(embedding, truth) > least


def test_a_batch_equals_its_items_alone(exported: tuple[Path, Path], rng: np.random.Generator) -> None:
    for name, limit in (("model.onnx", 1e-5), ("model.int8.onnx", 1e-3)):
        session = onnxruntime.InferenceSession(str(exported[1] / name))
        waves = rng.normal(0, 0.1, (3, 12_000)).astype(np.float32)
        together = session.run(None, {"waves": waves})[0]
        alone = np.concatenate([session.run(None, {"waves": wave[None]})[0] for wave in waves])
        assert parity.relative_error(together, alone) < limit


def test_parity_goes_to_the_card(exported: tuple[Path, Path]) -> None:
    figures = read_card(exported[1]).parity
    assert set(figures) == {"model.onnx", "model.fbank.onnx"}
    for part in figures.values():
        assert {case["seconds"] for case in part["cases"]} >= {0.5, 20.0}
        assert len(part["cases"]) == len(parity.SAMPLES) * 2
        assert part["worst"] == max(case["error"] for case in part["cases"]) <= part["limit"]


def test_failed_parity_leaves_nothing(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_run(tmp_path / "other", seed=1)

    def stale(module: torch.nn.Module, path: Path, *_: object, **__: object) -> None:
        path.touch() if path.name not in FILES else shutil.copy(exported[1] / path.name, path)

    monkeypatch.setattr(exporting, "write_onnx", stale)
    monkeypatch.setattr(
        exporting, "join", lambda front, back, path, metadata: stale(torch.nn.Identity(), path)
    )
    with pytest.raises(UserError, match=r"does not compute what PyTorch computes[\s\S]*0\.500 s x 1: \d"):
        export(other, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_relative_error_is_infinite_where_numbers_are_not() -> None:
    one = np.ones((2, 3))
    assert parity.relative_error(one, one) == 0
    assert parity.relative_error(one * np.nan, one) == float("inf")
    assert parity.relative_error(one[:1], one) == float("inf")
    assert parity.relative_error(one * 1.5, one) == pytest.approx(0.5)


def test_card_states_every_file(exported: tuple[Path, Path]) -> None:
    _, bundle = exported
    card = read_card(bundle)
    assert set(card.files) == set(FILES) == {path.name for path in bundle.iterdir()} - {"card.json"}
    for name, stated in card.files.items():
        assert stated == {"sha256": sha256_file(bundle / name), "bytes": (bundle / name).stat().st_size}
    assert card.metrics == METRICS
    assert card.operating_point == OperatingPoint.of(POINT)
    assert card.model["parameters"] == sum(p.numel() for p in build("xvector-s", **TINY).parameters())


def test_nothing_of_the_training_speakers_or_this_machine_ships(exported: tuple[Path, Path]) -> None:
    run, bundle = exported
    assert "head.weight" not in load_file(bundle / "model.safetensors")
    for path in bundle.iterdir():
        data = path.read_bytes()
        for secret in (b"anna", b"/home/someone", str(run).encode(), b"distilvox/models"):
            assert secret not in data, (path.name, secret)


def test_the_space_follows_the_weights(exported: tuple[Path, Path], tmp_path: Path) -> None:
    card = read_card(exported[1])
    model = json.loads((exported[0] / "config.json").read_text())["model"]
    same, other = (
        exporting.space_id(exporting.load_student(write_run(tmp_path / str(k), seed=k), "cpu")[0], model)
        for k in (0, 1)
    )
    assert same == card.space != other
    assert card.space_of("int8") != card.space_of("float32") == card.space


def test_sherpa_onnx_finds_its_metadata(exported: tuple[Path, Path]) -> None:
    session = onnxruntime.InferenceSession(str(exported[1] / "model.fbank.onnx"))
    found = session.get_modelmeta().custom_metadata_map
    assert (found["framework"], found["output_dim"], found["sample_rate"]) == ("wespeaker", "16", "16000")
    assert (found["normalize_samples"], found["feature_normalize_type"]) == ("1", "global-mean")
    assert FrontEnd.from_json(json.loads(found["frontend"])) == PRESETS["sherpa"]
    assert found["language"]
    assert session.get_inputs()[0].shape == ["batch", "frames", 80]
    assert session.get_outputs()[0].shape[1] == 16


@pytest.mark.parametrize("preset", ["wespeaker", "3dspeaker"])
def test_other_features_than_sherpas_carry_none_of_its_keys(preset: str) -> None:
    assert exporting.sherpa_metadata(PRESETS[preset], 16) == {}
    assert (
        exporting.sherpa_metadata(replace(PRESETS["sherpa"], scale=32768.0), 16)["normalize_samples"] == "0"
    )
    assert exporting.sherpa_metadata(replace(PRESETS["sherpa"], mels=64), 16) == {}


def test_int8_quantises_the_backbone_alone(exported: tuple[Path, Path]) -> None:
    graph = onnx.load(exported[1] / "model.int8.onnx").graph
    integers = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    heavy = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    quantised = {node.name for node in heavy if node.input[1] in integers}
    assert quantised == {node.name for node in heavy if node.name.startswith("backbone/")}
    assert len(quantised) == 7
    assert len(heavy) == 9  # the Fourier transform and the mel filters stay float


def test_int8_is_close_to_float(
    exported: tuple[Path, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    card = read_card(exported[1])
    assert card.int8["calibrated_on"] == "synthetic noise"
    assert "real speech" in card.int8["note"]
    assert card.int8["cosine_mean"] >= card.int8["cosine_worst"] > 0.95
    waves = [rng.normal(0, 0.1, 16_000 + 999 * k).astype(np.float32) for k in range(5)]
    figures = quantize(exported[1] / "model.onnx", tmp_path / "int8.onnx", waves)
    assert (figures["calibrated_on"], figures["waves"], figures["held_waves"]) == ("recordings", 4, 1)
    assert (figures["cosine_mean"] > 0.95, figures["note"]) == (True, "")
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_int8_needs_two_recordings(exported: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few recordings to calibrate int8"):
        quantize(exported[1] / "model.onnx", tmp_path / "int8.onnx", [])


def test_readme_states_quality_and_threshold_and_escapes_names(exported: tuple[Path, Path]) -> None:
    text = (exported[1] / "README.md").read_text()
    assert "**9.7 %** (95 % interval 8 % to 11 %)" in text
    assert "41,746 trials" in text
    assert "above **0.4000**. Set for a false-accept rate of 1 %" in text
    assert "dev\\_&lt;b&gt;.txt" in text
    assert "\\*bold\\*&lt;script&gt;" in text
    assert "<script>" not in text
    assert "To be filled in by the owner" in text


def test_the_readme_tells_the_licences_that_the_model_inherits(exported: tuple[Path, Path]) -> None:
    card = read_card(exported[1])
    assert "- Of the training speech: not stated\n- Of the teacher's weights: not stated" in render(card)
    told = replace(
        card,
        training={**card.training, "corpus": {**card.training["corpus"], "licence": "CC-BY-4.0"}},
        teacher={"uri": "ge2e:", "id": "t", "licence": "Apache-2.0 <b>"},
    )
    text = render(told)
    assert "- Of the training speech: CC-BY-4.0\n- Of the teacher's weights: Apache-2.0 &lt;b&gt;" in text
    assert "Of the teacher" not in render(replace(told, teacher=None))


def test_readme_of_an_unmeasured_model_says_so(exported: tuple[Path, Path]) -> None:
    text = render(replace(read_card(exported[1]), metrics=None, operating_point=None, teacher=None))
    assert "Not measured" in text
    assert "decides nothing" in text
    assert "trained on speaker labels alone" in text


@pytest.mark.parametrize("hostile", ["a\n# title", "|x|", "[a](b)", "`code`", "<b>", "\x1b[31m", "a\\|b"])
def test_escaped_text_holds_no_markup(hostile: str) -> None:
    shown = escape(hostile)
    assert shown.isprintable()
    bare = shown.replace("\\\\", "")
    for letter in "#|[]()`<*":
        assert bare.count(letter) == bare.count("\\" + letter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": float("nan")}, "threshold must be a cosine"),
        ({"threshold": 1.5}, "threshold must be a cosine"),
        ({"false_accept_target": 2}, "false_accept_target must be a fraction"),
        ({"miss": -0.1}, "miss must be a fraction"),
        ({"trials": 0}, "trials must be a count"),
        ({"target_trials": 99_999}, "target_trials must be a count"),
        ({"trial_list": ""}, "must name the list"),
    ],
)
def test_a_bad_operating_point_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OperatingPoint.of({**POINT, **change})


def test_a_threshold_without_its_trials_is_refused() -> None:
    with pytest.raises(UserError, match="without false_accept_target, trial_list, trials"):
        OperatingPoint.of({"threshold": 0.5})


def test_export_replaces_only_bundles_and_only_when_told(bundle: Path, exported: tuple[Path, Path]) -> None:
    run, _ = exported
    before = sha256_file(bundle / "card.json")
    with pytest.raises(UserError, match="a bundle is already here"):
        export(run, bundle)
    with pytest.raises(UserError, match="exists and is no bundle"):
        export(run, run, force=True)
    assert sha256_file(bundle / "card.json") == before


def test_the_card_tells_what_the_student_started_from_and_how_it_was_tuned() -> None:
    config = {"corpus": {"path": "/somewhere/train", "id": "c0ffee"}, "train": {"epochs": 3}}
    assert set(training_of(config, 7)) == {"speakers", "corpus", "views", "train"}
    init = {"uri": "run:/home/user/big", "sha256": "1234"}
    told = training_of({**config, "init": init, "finetune": {"epochs": 2, "margin": 0.5}}, 7)
    assert told["init"] == {"sha256": "1234"}  # a path of this machine is nobody's business
    assert told["finetune"] == {"epochs": 2, "margin": 0.5}
    assert told["corpus"]["path"] == "train"


def test_a_licence_stated_after_the_training_is_on_the_card(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "train", speakers=2, utterances=2)
    config = {"corpus": {"path": str(corpus.path), "id": corpus.id, "licence": None}}
    assert training_of(config, 2)["corpus"]["licence"] is None
    state_licence(corpus.path, "CC-BY-4.0")
    assert training_of(config, 2)["corpus"] == {"path": "train", "id": corpus.id, "licence": "CC-BY-4.0"}
    config["corpus"]["id"] = "of another"
    assert training_of(config, 2)["corpus"]["licence"] is None


@pytest.mark.parametrize(("preset", "words"), [("sherpa", "the same embedding in"), ("wespeaker", "not for")])
def test_the_readme_says_whether_sherpa_onnx_computes_its_features(preset: str, words: str) -> None:
    front = PRESETS[preset].to_json()
    card = Card(
        model={"frontend": front}, space="s", training={}, teacher=None, objective={}, metrics=None,
        operating_point=None, parity={}, int8={}, distilvox="0", files={name: {"bytes": 1} for name in FILES},
    )  # fmt: skip
    assert f"{words} sherpa-onnx" in contents(card)
    assert (words == "the same embedding in") == bool(exporting.sherpa_metadata(PRESETS[preset], 16))
