"""The runtime: checks what it is given, decides honestly, and needs no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from distilvox.corpus.decode import decode
from distilvox.errors import UserError
from distilvox.files import sha256_file
from distilvox.seal import sealed
from distilvox.ship.bundle import Bundle
from distilvox.ship.card import CARD_VERSION, FILES, Card, OperatingPoint
from distilvox.ship.decision import decide
from distilvox.ship.lengths import Lengths
from distilvox.ship.runtime import Verifier, cosine
from distilvox.ship.samples import samples, sound_of
from distilvox.ship.verify import embed_files, embedding_names, verify_files
from distilvox.sound import AudioError, Sound
from tests.making import murmur

POINT = OperatingPoint(0.5, 0.01, "dev.txt", 41_746, 1_746, 0.012, 0.08, "by hand")


def write_model(path: Path) -> None:
    """The smallest stand-in for a student: four fixed filters, magnitudes averaged over time."""
    filters = np.random.default_rng(0).standard_normal((4, 1, 32)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["waves", "one"], ["channel"]),
            helper.make_node("Conv", ["channel", "filters"], ["bands"], strides=[16]),
            helper.make_node("Abs", ["bands"], ["sizes"]),
            helper.make_node("ReduceMean", ["sizes", "two"], ["embedding"], keepdims=0),
        ],
        "stand-in",
        [helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(filters, "filters"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([2]), "two"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)


def write_card(
    bundle: Path,
    *,
    point: OperatingPoint | None = POINT,
    space: str = "0123456789abcdef",
    speech: dict[str, Lengths] | None = None,
) -> None:
    card = Card(
        model={"name": "stand-in", "embedding_dim": 4, "parameters": 128},
        space=space,
        training={"speakers": 3},
        teacher=None,
        objective={},
        metrics=None,
        operating_point=point,
        parity={},
        int8={},
        distilvox="0.1.0",
        files={name: {"sha256": sha256_file(bundle / name)} for name in FILES},
        speech=speech or {},
    )
    (bundle / "card.json").write_text(json.dumps(sealed(card.to_json())))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in FILES:
        write_model(folder / name)
    write_card(folder)
    return folder


@pytest.fixture
def wave(rng: np.random.Generator) -> np.ndarray:
    return murmur(rng, 140, 16_000).astype(np.float32) / 32768


# --- the bundle ---------------------------------------------------------------------------------------


def test_an_intact_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.check()
    assert opened.card.operating_point == POINT
    assert Card.from_json(opened.card.to_json(), "here") == opened.card


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_byte_is_found(bundle: Path, position: int) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[position] ^= 1
    (bundle / "model.onnx").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.onnx does not match its card: damaged or altered") as caught:
        Verifier.load(bundle)
    assert caught.value.exit_code == 2
    Verifier.load(bundle, precision="int8")  # that file is whole


def test_a_file_that_the_card_does_not_state_is_refused(bundle: Path) -> None:
    content = json.loads((bundle / "card.json").read_text())
    del content["files"]["model.onnx"]
    (bundle / "card.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(UserError, match="does not match its card"):
        Verifier.load(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "model.int8.onnx").unlink()
    with pytest.raises(UserError, match=r"incomplete: .*model\.int8\.onnx is missing"):
        Verifier.load(bundle, precision="int8")


def test_only_files_of_a_bundle_are_read(bundle: Path) -> None:
    with pytest.raises(UserError, match="unknown file of a bundle"):
        Bundle.open(bundle).read("../secret")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": CARD_VERSION + 1}, "another version than this distilvox reads"),
        ({"version": "1"}, "damaged: .*card.json"),
        ({"space": None, "files": None}, "without files, space"),
    ],
)
def test_a_card_of_another_kind_is_refused(bundle: Path, change: dict[str, object], message: str) -> None:
    content = {**json.loads((bundle / "card.json").read_text()), **change}
    (bundle / "card.json").write_text(
        json.dumps({k: v for k, v in content.items() if v is not None or k not in change})
    )
    with pytest.raises(UserError, match=message):
        Bundle.open(bundle)


def test_a_newer_card_asks_for_an_update(bundle: Path) -> None:
    content = {**json.loads((bundle / "card.json").read_text()), "version": 99, "distilvox": "7.0"}
    (bundle / "card.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"version 99, written by distilvox 7\.0[\s\S]*update distilvox"):
        Bundle.open(bundle)


def test_a_card_cut_short_is_damaged(bundle: Path) -> None:
    text = (bundle / "card.json").read_text()
    (bundle / "card.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match="this bundle card is damaged"):
        Bundle.open(bundle)


def test_other_paths_say_what_they_are(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UserError, match=r"no bundle here: .* holds no card\.json"):
        Bundle.open(run)
    (run / "config.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"is a run folder, not a bundle\s+remedy:  distilvox export .*run BUNDLE"
    ):
        Bundle.open(run)
    with pytest.raises(UserError, match="does not exist"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a bundle is a folder, this is a file"):
        Bundle.open(bundle / "model.onnx")


def test_options_are_checked(bundle: Path) -> None:
    with pytest.raises(UserError, match=r"unknown precision[\s\S]*float32, int8"):
        Verifier.load(bundle, precision="int4")
    with pytest.raises(UserError, match="threads must be at least 1"):
        Verifier.load(bundle, threads=0)


# --- embedding ----------------------------------------------------------------------------------------


def test_a_file_and_its_samples_embed_alike(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    verifier = Verifier.load(bundle)
    integers = np.round(wave * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", integers, 16_000)
    from_file = verifier.embed(tmp_path / "a.wav")
    assert (from_file.dtype, from_file.shape) == (np.float32, (4,))
    np.testing.assert_array_equal(from_file, verifier.embed(str(tmp_path / "a.wav")))
    np.testing.assert_allclose(from_file, verifier.embed(integers), rtol=1e-6)
    np.testing.assert_allclose(from_file, verifier.embed(integers.astype(np.float64) / 32768), rtol=1e-6)


def test_another_sample_rate_is_resampled_alike_in_file_and_memory(bundle: Path, tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone, 44_100, subtype="FLOAT")
    verifier = Verifier.load(bundle)
    np.testing.assert_array_equal(
        verifier.embed(tmp_path / "a.wav", force=True), verifier.embed(tone, 44_100, force=True)
    )
    assert len(samples(tone, 44_100)) == 16_000


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros(0, np.float32), AudioError, "too short: 0.00 s, at least 0.50 s"),
        (np.ones(7_999, np.float32), AudioError, "too short: 0.49 s"),
        (np.zeros(16_000, np.float32), AudioError, "silence"),
        (np.full(16_000, 0.5), AudioError, "silence"),
        (np.full(16_000, np.nan), AudioError, "NaN or infinite"),
        (np.zeros((2, 16_000)), UserError, "must be of one channel"),
        (np.zeros(16_000, complex), UserError, "must be numbers"),
        (np.eye(1, 64_000, 16_000)[0], AudioError, "too little sound: 0.00 s, at least 0.40 s"),
        (
            1e15 * np.sin(np.arange(16_000)),
            AudioError,
            r"beyond full scale: up to 1e\+15, and full scale is 1",
        ),
    ],
)
def test_samples_that_are_no_speech_are_refused(
    given: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        samples(given)


def test_files_and_memory_are_judged_alike(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    """Whatever its level and offset, a recording is the same in a corpus, in a file and in memory."""
    verifier = Verifier.load(bundle)
    for name, given in {
        "plain": wave,
        "integers saved as floats": np.rint(wave * 32768),
        "three times full scale": wave / np.abs(wave).max() * 3,
        "an offset": wave * 0.4 + 5,
    }.items():
        given = given.astype(np.float32)
        soundfile.write(tmp_path / "a.wav", given, 16_000, subtype="FLOAT")
        np.testing.assert_array_equal(verifier.embed(tmp_path / "a.wav"), verifier.embed(given))
        packed = decode((str(tmp_path / "a.wav"), None))
        assert isinstance(packed, Sound)
        assert np.abs(packed.wave / 32768 - samples(given)).max() <= 1 / 32768, name
        assert packed.notes == sound_of(tmp_path / "a.wav").notes == sound_of(given).notes


def test_a_long_recording_is_the_mean_of_its_windows(
    bundle: Path, wave: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier.load(bundle)
    at_once = verifier.embed(np.tile(wave, 4))
    monkeypatch.setattr("distilvox.ship.samples.LONGEST_SECONDS", len(wave) // 16_000)
    sound = sound_of(np.tile(wave, 4))
    assert [note.partition(":")[0] for note in sound.notes] == ["long"]
    assert verifier.score(verifier.run(sound.wave), at_once) > 0.99
    padded = np.concatenate([wave, np.zeros(8 * len(wave), np.float32)])
    assert (
        verifier.score(verifier.embed(padded), verifier.embed(wave)) > 0.99
    )  # windows of silence weigh nothing


def test_half_a_second_is_enough(bundle: Path, wave: np.ndarray) -> None:
    assert Verifier.load(bundle).embed(wave[:8_000]).shape == (4,)


def test_one_bad_file_does_not_stop_the_others(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", wave, 16_000)
    soundfile.write(tmp_path / "short.wav", wave[:2_000], 16_000)
    names = ["good.wav", "short.wav", "absent.wav", "good.wav"]
    found = list(embed_files(bundle, [tmp_path / name for name in names]))
    assert [item.path.name for item in found] == names
    assert [item.error is None for item in found] == [True, False, False, True]
    assert [item.embedding is None for item in found] == [False, True, True, False]
    assert "too short" in str(found[1].error)
    with pytest.raises(UserError, match="no bundle here"):
        embed_files(tmp_path / "absent", [])  # at once, not at the first file


# --- scores and decisions -----------------------------------------------------------------------------


def test_cosine_laws(rng: np.random.Generator) -> None:
    one, two = rng.standard_normal((2, 7)).astype(np.float32)
    assert cosine(one, one * 3) == pytest.approx(1, abs=1e-12)
    assert cosine(one, -one) == pytest.approx(-1, abs=1e-12)
    assert cosine(one, two) == cosine(two, one) == pytest.approx(cosine(one * 1e-20, two * 1e20), rel=1e-6)
    with pytest.raises(UserError, match="no direction"):
        cosine(one, np.zeros(7))


def test_a_decision_states_what_it_rests_on() -> None:
    yes, no = decide(0.51, POINT, None, "float32"), decide(0.49, POINT, None, "float32")
    assert (yes.accept, no.accept) == (True, False)
    assert not decide(0.5, POINT, None, "float32").accept  # above, not at, as the threshold was measured
    for decision in (yes, no):
        assert (decision.threshold, decision.false_accept_target, decision.trials) == (0.5, 0.01, 41_746)
        assert "false-accept rate of 1 % on 41,746 trials of dev.txt" in str(decision)
        assert "1.2 % of false claims accepted, 8 % of true claims rejected" in str(decision)
        assert decision.note == ""
    assert str(yes).startswith("accepted: the score 0.5100 is above the threshold 0.5000")
    assert str(no).startswith("rejected: the score 0.4900 is not above the threshold 0.5000")
    assert json.loads(yes.to_json())["accept"] is True


def test_without_a_threshold_nothing_is_decided() -> None:
    decision = decide(0.99, None, None, "float32")
    assert (decision.accept, decision.threshold, decision.trials) == (None, None, None)
    assert str(decision).startswith("undecided: the score is 0.9900")
    assert "export again, or give a threshold" in str(decision)
    assert json.loads(decision.to_json())["accept"] is None


def test_a_threshold_by_hand_claims_no_rate() -> None:
    decision = decide(0.4, POINT, 0.3, "float32")
    assert (decision.accept, decision.false_accept_target, decision.trial_list) == (True, None, None)
    assert "given by hand" in str(decision)
    assert not decide(0.4, None, 0.45, "float32").accept


def test_thin_evidence_and_other_precisions_are_noted() -> None:
    assert POINT.doubt == ""
    thin = replace(POINT, trials=2_000, target_trials=500)
    assert "about 15 false accepts" in decide(0.9, thin, None, "float32").note
    assert "set on float32 scores, this score is from int8" in decide(0.9, POINT, None, "int8").note


def test_names_from_a_card_cannot_move_the_cursor() -> None:
    assert "\x1b" not in str(decide(0.9, replace(POINT, trial_list="\x1b[2Jx"), None, "float32"))


def test_verify_decides_on_files(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    same = verify_files(bundle, tmp_path / "a.wav", tmp_path / "a.wav")
    assert (same.accept, same.score) == (True, pytest.approx(1))
    write_card(bundle, point=None)
    assert verify_files(bundle, tmp_path / "a.wav", tmp_path / "a.wav").accept is None
    with pytest.raises(UserError, match="a threshold is a cosine"):
        verify_files(bundle, tmp_path / "a.wav", tmp_path / "a.wav", threshold=float("nan"))


def test_scores_need_embeddings_of_this_model(bundle: Path) -> None:
    with pytest.raises(UserError, match=r"no embedding of this model[\s\S]*\(4,\)"):
        Verifier.load(bundle).score(np.ones(4), np.ones(5))


# --- stored embeddings --------------------------------------------------------------------------------


def test_a_stored_embedding_stands_for_its_recording(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    verifier = Verifier.load(bundle)
    embedding = verifier.embed(wave)
    verifier.save_embedding(tmp_path / "anna.npz", embedding)
    np.testing.assert_array_equal(verifier.load_embedding(tmp_path / "anna.npz"), embedding)
    assert verifier.verify(tmp_path / "anna.npz", wave) == verifier.verify(wave, wave)


def test_embeddings_of_other_spaces_are_not_compared(bundle: Path, wave: np.ndarray, tmp_path: Path) -> None:
    verifier = Verifier.load(bundle)
    verifier.save_embedding(tmp_path / "anna.npz", verifier.embed(wave))
    with pytest.raises(UserError, match="of another model, and the two must not be compared"):
        Verifier.load(bundle, precision="int8").verify(tmp_path / "anna.npz", wave)
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    write_card(other, space="f" * 16)
    with pytest.raises(UserError, match="space 0123456789abcdef"):
        Verifier.load(other).load_embedding(tmp_path / "anna.npz")


def test_what_is_no_stored_embedding_is_refused(bundle: Path, tmp_path: Path) -> None:
    verifier = Verifier.load(bundle)
    with pytest.raises(UserError, match="no embedding here"):
        verifier.load_embedding(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    np.savez(tmp_path / "pickle.npz", embedding=np.array([{}], object), space=np.array(verifier.space))
    for name in ("text.npz", "other.npz", "pickle.npz"):
        with pytest.raises(UserError, match="not a stored embedding"):
            verifier.load_embedding(tmp_path / name)
    np.savez(tmp_path / "wide.npz", embedding=np.ones(5, np.float32), space=np.array(verifier.space))
    with pytest.raises(UserError, match="no embedding of this model"):
        verifier.verify(tmp_path / "wide.npz", tmp_path / "wide.npz")
    with pytest.raises(UserError, match=r"ends in \.npz"):
        verifier.save_embedding(tmp_path / "anna.npy", np.ones(4))
    with pytest.raises(UserError, match="no embedding of this model"):
        verifier.save_embedding(tmp_path / "anna.npz", np.full(4, np.nan))


# --- imports ------------------------------------------------------------------------------------------

HEAVY = ("torch", "pyarrow", "scipy", "onnx", "onnxscript", "jaxtyping", "safetensors", "distilvox.models")


def loaded_after(code: str) -> set[str]:
    """Names of the modules loaded after running `code` in a fresh interpreter."""
    code += "; import sys, json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


def test_the_runtime_imports_nothing_of_training(bundle: Path) -> None:
    load = f"import distilvox.ship.verify as v; v.Verifier.load({str(bundle)!r})"
    modules = loaded_after(load)
    assert "onnxruntime" in modules
    assert not modules & set(HEAVY)
    assert not [name for name in modules if name.startswith(("distilvox.train", "distilvox.evaluation"))]


def test_the_map_of_ship_imports_nothing() -> None:
    assert {name for name in loaded_after("import distilvox.ship") if name.startswith("distilvox")} == {
        "distilvox",
        "distilvox.ship",
    }
    assert "onnxruntime" not in loaded_after("import distilvox.ship.runtime")


def test_embeddings_of_equal_names_go_into_their_folders(bundle: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("id1/a/00001.wav", "id1/b/00001.wav", "id2/c/00002.wav")]
    assert list(embedding_names(files[1:]).values()) == ["00001.npz", "00002.npz"]
    assert list(embedding_names(files).values()) == ["id1/a/00001.npz", "id1/b/00001.npz", "id2/c/00002.npz"]
    for clash in ([files[0], files[0].with_suffix(".flac")], [files[0], files[0]]):
        with pytest.raises(UserError, match="two files would write the same embedding"):
            embedding_names(clash)


def test_a_file_in_the_place_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/a.wav").touch()
    with pytest.raises(UserError, match="the bundle comes first"):
        Verifier.load(tmp_path / "zoo/a.wav")
    with pytest.raises(UserError, match=r"perhaps .* is meant"):
        Verifier.load(bundle / "card.json")
