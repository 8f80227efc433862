"""`onnx:` reads from a graph what it takes, and runs it as its makers do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldi_native_fbank
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from distilvox.errors import UserError
from distilvox.models.frontend import FrontEnd
from distilvox.teachers import load

DIM = 5
WEIGHT = np.random.default_rng(7).standard_normal((80, DIM)).astype(np.float32)

WESPEAKER = {"framework": "wespeaker", "normalize_samples": "0", "feature_normalize_type": "global-mean"}
SPEAKER3D = {"framework": "3d-speaker", "normalize_samples": "1", "feature_normalize_type": "global-mean"}


def write(
    path: Path,
    shape: list[Any],
    *,
    nodes: list[onnx.NodeProto] | None = None,
    metadata: dict[str, str] | None = None,
    outputs: dict[str, list[Any]] | None = None,
    kind: int = TensorProto.FLOAT,
    weight: np.ndarray = WEIGHT,
) -> Path:
    """A graph from `speech` of this shape to `embs`; by default the mean over frames times a matrix.

    A graph of log-mels says that it is WeSpeaker's, unless metadata are given.
    """
    if metadata is None:
        metadata = WESPEAKER if len(shape) == 3 else {}
    made = nodes or [
        helper.make_node("ReduceMean", ["speech", "time"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weight"], ["embs"]),
    ]
    graph = helper.make_graph(
        made,
        "encoder",
        [helper.make_tensor_value_info("speech", kind, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
            for name, size in (outputs or {"embs": ["B", DIM]}).items()
        ],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "time"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def waveform_nodes() -> list[onnx.NodeProto]:
    """[B, N] → mean, mean of squares, largest: enough to tell samples and scales apart."""
    return [
        helper.make_node("ReduceMean", ["speech", "time"], ["mean"], keepdims=1),
        helper.make_node("ReduceL2", ["speech", "time"], ["length"], keepdims=1),
        helper.make_node("Concat", ["mean", "length"], ["embs"], axis=1),
    ]


def square_nodes() -> list[onnx.NodeProto]:
    """[B, T, 80] → mean of the squares over frames, times the matrix: sees what mean removal leaves."""
    return [
        helper.make_node("Mul", ["speech", "speech"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "time"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weight"], ["embs"]),
    ]


def kaldi(wave: np.ndarray, *, window: str, scale: float) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = 80
    options.use_energy = False
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(16_000, (wave * scale).astype(np.float32).tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(t) for t in range(extractor.num_frames_ready)])


def speech(rng: np.random.Generator, count: int = 2) -> torch.Tensor:
    loud = np.exp(rng.uniform(-3, 0, size=(count, 1)))
    return torch.from_numpy(0.1 * loud * rng.standard_normal((count, 12_000))).float()


def expected_of(features: list[np.ndarray]) -> np.ndarray:
    """What `square_nodes` make of features."""
    return np.stack([(each**2).mean(0) @ WEIGHT for each in features])


def test_a_waveform_graph_gets_the_samples(tmp_path: Path, rng: np.random.Generator) -> None:
    waves = speech(rng)
    path = write(tmp_path / "m.onnx", ["B", "N"], nodes=waveform_nodes(), outputs={"embs": ["B", 2]})
    teacher = load(f"onnx:{path}")
    expected = torch.stack([waves.mean(1), waves.norm(dim=1)], dim=1)
    torch.testing.assert_close(teacher.embed(waves), expected, rtol=1e-4, atol=1e-6)
    assert (teacher.embedding_dim, teacher.sample_rate, teacher.head()) == (2, 16_000, None)
    loud = {"normalize_samples": "0", "sample_rate": "8000"}
    path = write(
        tmp_path / "l.onnx", ["B", "N"], nodes=waveform_nodes(), outputs={"embs": ["B", 2]}, metadata=loud
    )
    teacher = load(f"onnx:{path}")
    torch.testing.assert_close(teacher.embed(waves), expected * 32768, rtol=1e-4, atol=1e-2)
    assert teacher.sample_rate == 8_000


@pytest.mark.parametrize(
    ("metadata", "window", "scale", "mean"),
    [
        (WESPEAKER, "hamming", 32768, True),
        (SPEAKER3D, "povey", 1, True),
        ({"framework": "3d-speaker"}, "povey", 1, True),
        ({**SPEAKER3D, "feature_normalize_type": ""}, "povey", 1, False),
        ({**WESPEAKER, "window_type": "povey"}, "povey", 32768, True),
        ({"framework": "wespeaker", "normalize_samples": "1"}, "hamming", 1, True),
    ],
)
def test_a_graph_of_log_mels_gets_those_of_its_makers(
    tmp_path: Path,
    rng: np.random.Generator,
    metadata: dict[str, str],
    window: str,
    scale: float,
    mean: bool,
) -> None:
    path = write(tmp_path / "m.onnx", ["B", "T", 80], nodes=square_nodes(), metadata=metadata)
    waves = speech(rng)
    waves[1] *= 1e-3  # at scale 1 some energies are below the floor
    features = [kaldi(wave.numpy(), window=window, scale=scale).astype(np.float64) for wave in waves]
    features = [each - each.mean(0) if mean else each for each in features]
    expected = np.stack([(each**2).mean(0) @ WEIGHT for each in features])
    found = load(f"onnx:{path}").embed(waves).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [["B", 80, "T"], [1, 80, "T"]])
def test_planes_are_frames_transposed(tmp_path: Path, rng: np.random.Generator, shape: list[Any]) -> None:
    turned = [helper.make_node("Transpose", ["speech"], ["frames"], perm=[0, 2, 1])]
    turned += [helper.make_node("Mul", ["frames", "frames"], ["squares"]), *square_nodes()[1:]]
    planes = load(f"onnx:{write(tmp_path / 'p.onnx', shape, nodes=turned)}")
    frames = load(f"onnx:{write(tmp_path / 'f.onnx', ['B', 'T', 80], nodes=square_nodes())}")
    waves = speech(rng)
    torch.testing.assert_close(planes.embed(waves), frames.embed(waves))


def test_a_graph_of_one_utterance_equals_one_of_many(tmp_path: Path, rng: np.random.Generator) -> None:
    one = load(f"onnx:{write(tmp_path / '1.onnx', [1, 'T', 80], nodes=square_nodes())}")
    many = load(f"onnx:{write(tmp_path / 'm.onnx', ['B', 'T', 80], nodes=square_nodes())}")
    waves = speech(rng, 3)
    torch.testing.assert_close(one.embed(waves), many.embed(waves))
    assert one.embed(waves[:0]).shape == (0, DIM)


def test_a_graph_that_mixes_a_batch_is_run_one_by_one(tmp_path: Path, rng: np.random.Generator) -> None:
    """As 8-bit layers do whose range is that of the whole batch."""
    nodes = [
        helper.make_node("ReduceMax", ["speech"], ["largest"], keepdims=1),
        helper.make_node("Div", ["speech", "largest"], ["scaled"]),
        helper.make_node("ReduceL2", ["scaled", "time"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weight"], ["embs"]),
    ]
    teacher = load(f"onnx:{write(tmp_path / 'm.onnx', ['B', 'T', 80], nodes=nodes)}")
    waves = speech(rng, 3)
    alone = torch.cat([teacher.embed(wave[None]) for wave in waves])
    torch.testing.assert_close(teacher.embed(waves), alone)


def test_of_several_outputs_the_embedding_is_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    more = [*square_nodes(), helper.make_node("Neg", ["embs"], ["logits"])]
    both = {"logits": ["B", DIM], "embs": ["B", DIM]}
    two = load(f"onnx:{write(tmp_path / '2.onnx', ['B', 'T', 80], nodes=more, outputs=both)}")
    one = load(f"onnx:{write(tmp_path / '1.onnx', ['B', 'T', 80], nodes=square_nodes())}")
    waves = speech(rng)
    assert torch.equal(two.embed(waves), one.embed(waves))


def test_the_id_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    first = load(f"onnx:{write(path, ['B', 'T', 80])}").id
    assert load(f"onnx:{write(tmp_path / 'same.onnx', ['B', 'T', 80])}").id == first
    assert load(f"onnx:{write(path, ['B', 'T', 80], weight=WEIGHT + 1e-3)}").id != first
    assert len(first) == 16


def test_weights_beside_the_graph_count_too(tmp_path: Path) -> None:
    ids = []
    for weight in (WEIGHT, WEIGHT + 1e-3):
        model = onnx.load(write(tmp_path / "m.onnx", ["B", "T", 80], weight=weight))
        (tmp_path / "m.data").unlink(missing_ok=True)
        onnx.save(
            model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=100
        )
        assert (tmp_path / "m.data").stat().st_size >= WEIGHT.nbytes
        ids.append(load(f"onnx:{tmp_path / 'm.onnx'}").id)
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    "shape", [["B"], ["B", "C", "T", 80], ["B", "T", 40], [4, "T", 80], ["B", 200, 80], ["B", 16_000]]
)
def test_other_inputs_are_refused(tmp_path: Path, shape: list[Any]) -> None:
    path = write(
        tmp_path / "m.onnx",
        shape,
        nodes=[helper.make_node("Identity", ["speech"], ["embs"])],
        outputs={"embs": shape},
    )
    message = r"(?s)takes something else than speech: .*m\.onnx.*speech tensor\(float\).*\[B, T, 80\]"
    with pytest.raises(UserError, match=message):
        load(f"onnx:{path}")


def test_other_types_outputs_and_makers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    same = [helper.make_node("Cast", ["speech"], ["embs"], to=TensorProto.FLOAT)]
    write(path, ["B", "T", 80], nodes=same, outputs={"embs": ["B", "T", 80]}, kind=TensorProto.DOUBLE)
    with pytest.raises(UserError, match="something else than speech"):
        load(f"onnx:{path}")
    write(path, ["B", "T", 80], nodes=same, outputs={"embs": ["B", "T", 80]})
    with pytest.raises(UserError, match=r"(?s)without one embedding.*one output \[B, D\]"):
        load(f"onnx:{path}")
    write(path, ["B", "T", 80], metadata={"framework": "nemo"})
    with pytest.raises(UserError, match=r"(?s)unknown framework in the metadata.*3d-speaker, wespeaker"):
        load(f"onnx:{path}")
    write(path, ["B", "T", 80], metadata={**WESPEAKER, "feature_normalize_type": "per_feature"})
    with pytest.raises(UserError, match=r"(?s)unknown feature_normalize_type.*global-mean"):
        load(f"onnx:{path}")
    write(path, ["B", "T", 80], metadata={**WESPEAKER, "window_type": "square"})
    with pytest.raises(UserError, match=r"(?s)unknown window of the front end.*hamming, hann, povey"):
        load(f"onnx:{path}")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"not a graph", "ONNXRuntimeError"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64, "a Git LFS pointer"),
    ],
)
def test_what_is_no_onnx_is_named(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(
        UserError,
        match=rf"(?s)not an ONNX model that onnxruntime can run: .*m\.onnx.*{got}.*fetch the file again",
    ):
        load(f"onnx:{path}")


@pytest.mark.parametrize(("ir", "opset"), [(99, 18), (9, 99)])
def test_a_file_newer_than_the_runtime_is_no_damaged_one(tmp_path: Path, ir: int, opset: int) -> None:
    path = write(tmp_path / "m.onnx", ["B", "T", 80])
    model = onnx.load(path)
    model.ir_version, model.opset_import[0].version = ir, opset
    onnx.save(model, path)
    with pytest.raises(
        UserError, match=r"(?s)99.*newer than this onnxruntime: update it \(pip install -U onnxruntime"
    ):
        load(f"onnx:{path}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs its file"):
        load("onnx:")
    with pytest.raises(UserError, match="no such file for onnx:"):
        load(f"onnx:{tmp_path / 'nothing.onnx'}")


# ---- what the file does not say, the URI says ---------------------------------------------------------------------


def test_features_that_nobody_says_are_asked_for(tmp_path: Path) -> None:
    """3D-Speaker's own export, and WeSpeaker's, have no metadata: both were fed a Hamming window in silence."""
    path = write(tmp_path / "m.onnx", ["B", "T", 80], metadata={})
    with pytest.raises(UserError) as caught:
        load(f"onnx:{path}")
    what, got, allowed, remedy = str(caught.value).splitlines()
    assert what == f"nothing says with which features this ONNX model was trained: {path}"
    assert "no framework in its metadata" in got
    for words in (
        f"onnx:{path}?frontend=wespeaker (",
        "Hamming",
        "frontend=3dspeaker (",
        "Povey",
        "frontend=sherpa (",
    ):
        assert words in allowed
    assert "distilvox teacher URI --corpus" in remedy


@pytest.mark.parametrize(
    ("said", "window", "scale"),
    [
        ("frontend=wespeaker", "hamming", 32768),
        ("frontend=3dspeaker", "povey", 1),
        ("window=povey", "povey", 1),
        ("window=hamming", "hamming", 32768),
        ("window=povey&scale=32768", "povey", 32768),
        ("frontend=3dspeaker&window=hann", "hann", 1),
    ],
)
def test_the_uri_says_the_features(
    tmp_path: Path, rng: np.random.Generator, said: str, window: str, scale: float
) -> None:
    path = write(tmp_path / "m.onnx", ["B", "T", 80], nodes=square_nodes(), metadata={})
    waves = speech(rng)
    waves[1] *= 1e-3
    theirs = {"hann": "hanning"}.get(window, window)  # as kaldi-native-fbank calls Kaldi's
    features = [kaldi(wave.numpy(), window=theirs, scale=scale).astype(np.float64) for wave in waves]
    expected = expected_of([each - each.mean(0) for each in features])
    teacher = load(f"onnx:{path}?{said}")
    np.testing.assert_allclose(
        teacher.embed(waves).numpy(), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max()
    )
    assert teacher.frontend is not None
    assert (teacher.frontend.window, teacher.frontend.scale) == (window, scale)
    assert teacher.record()["frontend"]["window"] == window


def test_the_uri_changes_what_the_metadata_say_and_the_id_follows(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ["B", "T", 80], metadata=WESPEAKER)
    plain, other = load(f"onnx:{path}"), load(f"onnx:{path}?window=povey")
    assert plain.frontend is not None
    assert other.frontend is not None
    assert dataclasses.replace(plain.frontend, window="povey") == other.frontend
    assert plain.id != other.id
    assert load(f"onnx:{path}?frontend=wespeaker").id == plain.id
    twin = plain.under(other.frontend)
    assert twin is not None
    assert twin.id == other.id


def test_our_own_export_carries_its_front_end_whole(tmp_path: Path) -> None:
    front = FrontEnd(window="hann", high=7_000.0, scale=1.0, snip_edges=False, gate_db=30.0)
    meta = {"frontend": json.dumps(front.to_json())}
    teacher = load(f"onnx:{write(tmp_path / 'm.onnx', ['B', 'T', 80], metadata=meta)}")
    assert teacher.frontend == dataclasses.replace(front, gate_db=0.0)  # that one is inside the graph
    for damaged, message in (
        ("{", "frontend in the metadata of .* is damaged"),
        ("[]", "is no table"),
        ('{"windw": 1}', "windw"),
    ):
        path = write(tmp_path / "d.onnx", ["B", "T", 80], metadata={"frontend": damaged})
        with pytest.raises(UserError, match=message):
            load(f"onnx:{path}")


def test_what_a_uri_cannot_say(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ["B", "T", 80], metadata={})
    for said, message in (
        ("frontend=3d-speaker", r"(?s)unknown front end.*did you mean '3dspeaker'"),
        ("window=square", r"(?s)unknown window of the front end.*hamming, hann, povey"),
        ("windw=povey", r"(?s)unknown option of onnx:.*did you mean 'window'"),
        ("scale=1", r"(?s)single fields.*scale=1.*frontend=.*window=hamming\|povey"),
        ("window=hann", r"(?s)single fields.*window=hann"),
        ("window=povey&scale=full", r"(?s)bad scale of the front end.*'full'"),
        ("window=povey&snip_edges=perhaps", r"(?s)bad snip_edges of the front end.*true or false"),
    ):
        with pytest.raises(UserError, match=message):
            load(f"onnx:{path}?{said}")
    path = write(tmp_path / "w.onnx", ["B", "N"], nodes=waveform_nodes(), outputs={"embs": ["B", 2]})
    with pytest.raises(UserError, match=r"(?s)makes its features itself.*window.*leave the options out"):
        load(f"onnx:{path}?window=povey")


@pytest.mark.parametrize("rate", ["16k", "", "16000.0", "-16000", "0", "१६०००"])
@pytest.mark.parametrize("shape", [["B", "T", 80], ["B", "N"]])
def test_a_sample_rate_that_is_no_number_is_refused(tmp_path: Path, rate: str, shape: list[Any]) -> None:
    path = write(tmp_path / "m.onnx", shape, metadata={**WESPEAKER, "sample_rate": rate})
    with pytest.raises(UserError) as caught:
        load(f"onnx:{path}")
    what, got, *_ = str(caught.value).splitlines()
    assert what == f"sample_rate in the metadata of {path} is no whole number"
    assert got == f"  got:     {rate!r}"


# ---- NeMo's, as sherpa-onnx distributes them ----------------------------------------------------------------------

NEMO = {
    "framework": "nemo",
    "sample_rate": "16000",
    "window_type": "hann",
    "feature_normalize_type": "per_feature",
}


def write_nemo(path: Path, metadata: dict[str, str], *, batch: Any = "B") -> Path:
    """Features [B, 80, T] and their lengths → logits, then the embedding: mean of the features' fourth powers,
    and the length."""
    nodes = [
        helper.make_node("Mul", ["audio", "audio"], ["squares"]),
        helper.make_node("Mul", ["squares", "squares"], ["fourth"]),
        helper.make_node("ReduceMean", ["fourth", "time"], ["pooled"], keepdims=0),
        helper.make_node("Cast", ["length"], ["frames"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["frames", "last"], ["column"]),
        helper.make_node("Concat", ["pooled", "column"], ["second"], axis=1),
        helper.make_node("Neg", ["pooled"], ["first"]),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "titanet",
        [tensor("audio", TensorProto.FLOAT, [batch, 80, "T"]), tensor("length", TensorProto.INT64, [batch])],
        [tensor("first", TensorProto.FLOAT, [batch, 80]), tensor("second", TensorProto.FLOAT, [batch, 81])],
        [
            numpy_helper.from_array(np.array([2], dtype=np.int64), "time"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["B", 1])
def test_nemo_is_fed_by_position_and_its_second_output_is_the_embedding(
    tmp_path: Path, golden: Callable[[str], Any], batch: Any
) -> None:
    case = golden("sherpa_nemo_features")["cases"][0]
    n = np.arange(case["samples"])
    wave = (
        0.3 * np.sin(0.02 * n) + 0.2 * np.sin(1e-4 * n**2) + 0.05 * np.sin(1.7 * n + 0.5 * np.sin(0.003 * n))
    )
    teacher = load(f"onnx:{write_nemo(tmp_path / 'm.onnx', NEMO, batch=batch)}")
    found = teacher.embed(torch.from_numpy(np.stack([wave, 0.5 * wave])).float())
    features = np.array(case["normalised"]).reshape(case["shape"])
    np.testing.assert_allclose(found[0, :80], (features**4).mean(0), rtol=2e-3, atol=1e-3)
    assert found[:, 80].tolist() == [case["shape"][0]] * 2
    assert (teacher.embedding_dim, teacher.sample_rate, teacher.frontend) == (81, 16_000, None)


def test_nemo_without_metadata_is_asked_for(tmp_path: Path) -> None:
    bare = write_nemo(tmp_path / "m.onnx", {})
    with pytest.raises(
        UserError, match=r"(?s)nothing says with which features.*number of frames.*\?frontend=nemo"
    ):
        load(f"onnx:{bare}")
    said = load(f"onnx:{bare}?frontend=nemo")
    waves = 0.1 * torch.randn(2, 8_000)
    assert torch.equal(said.embed(waves), load(f"onnx:{write_nemo(tmp_path / 'n.onnx', NEMO)}").embed(waves))
    with pytest.raises(UserError, match=r"(?s)NeMo's features have no such option.*scale"):
        load(f"onnx:{bare}?frontend=nemo&scale=1")
    with pytest.raises(
        UserError, match=r"(?s)nothing says with which features.*3dspeaker, and a second input"
    ):
        load(f"onnx:{bare}?frontend=3dspeaker")
    loud = write_nemo(tmp_path / "l.onnx", {**NEMO, "feature_normalize_type": "global-mean"})
    with pytest.raises(UserError, match=r"(?s)unknown feature_normalize_type.*per_feature"):
        load(f"onnx:{loud}")
