"""The gate: what is no speech is refused in every pair, with reason and number; force lets it through, and says so."""

from __future__ import annotations

import json
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.errors import UserError
from distilvox.ship.card import FILES, Card, OperatingPoint
from distilvox.ship.gate import Refused
from distilvox.ship.lengths import Lengths, measure_lengths
from distilvox.ship.quality import ENROL
from distilvox.ship.runtime import Verifier
from distilvox.sound import AudioError
from tests.making import murmur
from tests.nonspeech import MADE
from tests.running import refused, run, succeed
from tests.test_ship_runtime import write_card, write_model

ACCEPTING = OperatingPoint(-1.0, 0.01, "dev.txt", 41_746, 1_746)
"""Accepts every pair that reaches it: what is rejected here, the gate has refused."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    for name in FILES:
        write_model(folder / name)
    write_card(folder, point=ACCEPTING)
    return folder


@pytest.fixture
def voice(rng: np.random.Generator) -> np.ndarray:
    return murmur(rng, 140, 32_000).astype(np.float32) / 32768


def accepted(verifier: Verifier, one: np.ndarray, two: np.ndarray) -> bool:
    try:
        return verifier.verify(one, two).accept is True
    except AudioError:
        return False


def test_no_pair_of_what_is_no_speech_is_accepted(bundle: Path, rng: np.random.Generator) -> None:
    verifier = Verifier.load(bundle)
    made = [make(rng, int(rng.uniform(1, 3) * 16_000)).astype(np.float32) for make in MADE.values()]
    pairs = list(combinations_with_replacement(range(len(made)), 2))
    assert len(pairs) == 91
    assert not [pair for pair in pairs if accepted(verifier, made[pair[0]], made[pair[1]])]


def test_speech_passes_and_states_its_figures(bundle: Path, voice: np.ndarray) -> None:
    found = Verifier.load(bundle).examine(voice)
    assert found.refusal is None
    assert found.quality is not None
    assert found.seconds == found.quality.seconds > 1.5
    assert Verifier.load(bundle).verify(voice, voice).note == ""


def test_a_refusal_names_reason_number_bound_and_remedy(bundle: Path, rng: np.random.Generator) -> None:
    hiss = 0.1 * rng.standard_normal(16_000).astype(np.float32)
    with pytest.raises(
        Refused, match=r"cannot use samples in memory: no speech: one sound throughout \(its level"
    ) as no:
        Verifier.load(bundle).embed(hiss)
    assert "speech by 3.4 or more" in str(no.value)
    assert "--force (in Python force=True)" in str(no.value)
    assert no.value.exit_code == 2


def test_force_decides_and_says_what_spoke_against_it(
    bundle: Path, voice: np.ndarray, rng: np.random.Generator
) -> None:
    verifier = Verifier.load(bundle)
    hiss = 0.1 * rng.standard_normal(16_000).astype(np.float32)
    assert verifier.embed(hiss, force=True).shape == (4,)
    note = verifier.verify(voice, hiss, force=True).note
    assert note.startswith("the second recording was used by force: no speech: one sound throughout")
    with pytest.raises(AudioError, match="silence"):
        verifier.embed(np.zeros(16_000, np.float32), force=True)  # that is nothing at all


def test_enrolment_asks_for_more(bundle: Path, rng: np.random.Generator) -> None:
    short = murmur(rng, 140, 12_000)
    verifier = Verifier.load(bundle)
    assert verifier.examine(short).refusal is None
    with pytest.raises(Refused, match=r"too little speech: 0\.\d\d s of sound, at least 1\.00 s"):
        verifier.examine(short, bounds=ENROL)


# --- lengths of embeddings ----------------------------------------------------------------------------


def test_an_embedding_of_no_speech_is_told_by_its_length(
    bundle: Path, voice: np.ndarray, tmp_path: Path
) -> None:
    verifier = Verifier.load(bundle)
    usual = float(np.linalg.norm(verifier.embed(voice)))
    for low, high, told in (
        (usual / 2, usual * 2, False),
        (usual * 3, usual * 9, True),
        (usual / 9, usual / 3, True),
    ):
        changed = Verifier.load(restated(bundle, tmp_path / f"{low}", Lengths(low, high, 64)))
        if not told:
            assert changed.examine(voice).refusal is None
            continue
        with pytest.raises(Refused, match=r"no speech: its embedding has a length of .*, speech of"):
            changed.verify(voice, voice)
        changed.save_embedding(tmp_path / "a.npz", changed.embed(voice, force=True))
        with pytest.raises(Refused, match=r"a\.npz: no speech: its embedding"):
            changed.verify(tmp_path / "a.npz", tmp_path / "a.npz")


def restated(bundle: Path, copy: Path, lengths: Lengths) -> Path:
    """A copy of a bundle whose card states a range of lengths."""
    copy.mkdir()
    for path in bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    write_card(copy, point=ACCEPTING, speech={"float32": lengths})
    return copy


def test_lengths_travel_with_the_card(bundle: Path, tmp_path: Path) -> None:
    said = Lengths(4.5, 11.0, 32)
    card = Verifier.load(restated(bundle, tmp_path / "copy", said)).card
    assert card.speech == {"float32": said}
    content = json.loads(json.dumps(card.to_json()))
    assert Card.from_json(content, "here") == card
    with pytest.raises(UserError, match="lengths of embeddings must be a range"):
        Card.from_json({**content, "speech": {"float32": {"low": 5, "high": 4, "recordings": 1}}}, "here")
    with pytest.raises(UserError, match=r"card[\s\S]*high"):
        Card.from_json({**content, "speech": {"float32": {"low": 5, "high": "4", "recordings": 1}}}, "here")


def test_lengths_are_measured_on_recordings_and_their_first_second(rng: np.random.Generator) -> None:
    waves = [murmur(rng, 140, 48_000) / 32768 for _ in range(4)]
    found = measure_lengths(lambda wave: np.full(4, len(wave) / 32_000), waves)
    assert found is not None
    assert found.recordings == 4
    assert found.low < 1.6  # the first second of sound, pauses included
    assert found.high == pytest.approx(3.0)
    assert measure_lengths(np.asarray, []) is None


# --- the verbs ----------------------------------------------------------------------------------------


def test_the_verbs_refuse_and_can_be_forced(bundle: Path, rng: np.random.Generator, tmp_path: Path) -> None:
    voice, hiss, book = tmp_path / "voice.wav", tmp_path / "hiss.wav", tmp_path / "people.book"
    soundfile.write(voice, murmur(rng, 140, 32_000), 16_000)
    soundfile.write(hiss, 0.1 * rng.standard_normal(32_000), 16_000)
    assert "hiss.wav: no speech: one sound" in refused(2, "verify", bundle, voice, hiss)
    assert "by force: no speech" in succeed("verify", bundle, voice, hiss, "--force").out
    ran = run("embed", bundle, voice, hiss)
    good, bad = map(json.loads, ran.out.splitlines())
    assert ran.code == 1
    assert good["quality"]["seconds"] > 1.5
    assert bad["error"].startswith("no speech: one sound")
    assert json.loads(succeed("embed", bundle, hiss, "--force").out)["refusal"].startswith(
        "no speech: one sound"
    )
    words = ("enrol", book, "Anna", voice, hiss, "--model", bundle)
    message = refused(2, *words)
    assert "1 of 2 recordings cannot be used: nobody was enrolled" in message
    assert "hiss.wav: no speech" in message
    assert not book.exists()
    assert "hiss.wav: no speech: one sound" in succeed(*words, "--force").err
    for verb in (("identify", book), ("verify", "--as", "Anna", book)):
        assert "hiss.wav: no speech" in refused(2, *verb, hiss)
        assert "the recording was used by force: no speech" in succeed(*verb, hiss, "--force").out
