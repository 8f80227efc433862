"""Laws of the synthetic corpus: the same bits for the same seed, for however many, in however many parts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus import synthetic
from distilvox.corpus.channel import LONGEST, apply_channel, draw_channel
from distilvox.corpus.espeak import Engine
from distilvox.corpus.sentences import GRAMMARS, draw_sentence
from distilvox.corpus.speaking import SHORTEST, render
from distilvox.corpus.store import Corpus
from distilvox.corpus.synthetic import synthesise
from distilvox.corpus.voices import BASES, draw_voice, voice_file
from distilvox.errors import UserError

needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="needs espeakng_loader: pip install 'distilvox[synth]'",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    pytest.importorskip("espeakng_loader", reason="needs pip install 'distilvox[synth]'")
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    return synthesise(out, speakers=4, utterances=4, seed=1, jobs=1, progress=False)


def waves(corpus: Corpus) -> dict[str, bytes]:
    return {name: corpus.wave(index).tobytes() for index, name in enumerate(corpus.utterances)}


def test_same_seed_same_bits_and_another_seed_others(corpus: Corpus, tmp_path: Path) -> None:
    again = synthesise(tmp_path / "again", speakers=4, utterances=4, seed=1, jobs=1, progress=False)
    other = synthesise(tmp_path / "other", speakers=4, utterances=4, seed=2, jobs=1, progress=False)
    assert again.id == corpus.id
    assert not set(waves(other).values()) & set(waves(corpus).values())


def test_processes_do_not_change_a_bit(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "_FEW", 1)
    monkeypatch.setattr(synthetic, "_TOGETHER", 1)
    monkeypatch.setattr(synthetic, "VOICES_PER_PROCESS", 2)
    for jobs in (1, 2):  # one process in two rounds; two processes in one round
        out = synthesise(tmp_path / str(jobs), speakers=4, utterances=4, seed=1, jobs=jobs, progress=False)
        assert out.id == corpus.id


def test_more_of_either_keeps_what_was(corpus: Corpus, tmp_path: Path) -> None:
    larger = synthesise(tmp_path / "larger", speakers=5, utterances=6, seed=1, jobs=1, progress=False)
    assert len(larger) == 30
    assert waves(corpus).items() <= waves(larger).items()


@needs_engine
def test_a_speaker_does_not_depend_on_who_spoke_before() -> None:
    alone = render(7, [3], 3)
    after = [item for item in render(7, [1, 0, 3], 3) if item.speaker == "synth0003"]
    assert len(alone) == 3
    for a, b in zip(alone, after, strict=True):
        np.testing.assert_array_equal(a.wave, b.wave)


def test_names_sessions_and_columns(corpus: Corpus) -> None:
    assert corpus.speakers == ["synth0000", "synth0001", "synth0002", "synth0003"]
    assert corpus.utterances[0] == "synth0000/s0/00"
    for name, session, label in zip(corpus.utterances, corpus.sessions, corpus.labels, strict=True):
        assert name.split("/")[:2] == [corpus.speakers[label], session]
    for speaker in corpus.speakers:
        assert {
            s for n, s in zip(corpus.utterances, corpus.sessions, strict=True) if n.startswith(speaker)
        } in (
            {"s0", "s1"},
            {"s0", "s1", "s2"},
        )
    assert set(corpus.columns["language"]) <= set(GRAMMARS)
    assert all(50.0 < pitch < 400.0 for pitch in corpus.columns["pitch"])


def test_level_and_duration(corpus: Corpus) -> None:
    assert corpus.sample_rate == 16_000
    assert np.all(corpus.samples >= SHORTEST * 16_000)
    assert np.all(corpus.samples <= LONGEST * 16_000)
    for index in range(len(corpus)):
        wave = corpus.wave(index).astype(np.float64) / 32767.0
        peak = 20.0 * np.log10(np.abs(wave).max())
        assert -15.01 <= peak <= -0.99
        loudness = np.sqrt(np.mean(wave**2))
        assert loudness > 0.02 * np.abs(wave).max()  # speech, not a click in silence
        assert abs(wave.mean()) < 0.05 * loudness


def test_speakers_differ_more_than_their_sessions(corpus: Corpus) -> None:
    def spectrum(wave: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), 512)[::256]
        power = np.abs(np.fft.rfft(frames * np.hanning(512))) ** 2
        bands = np.add.reduceat(power, np.arange(3, 200, 6), axis=1)
        loud = power.sum(1) > np.quantile(power.sum(1), 0.4)
        log = np.log(bands[loud]).mean(0)
        return log - log.mean()

    spectra = np.array([spectrum(corpus.wave(index)) for index in range(len(corpus))])
    distance = np.linalg.norm(spectra[:, None] - spectra[None], axis=2)
    same = corpus.labels[:, None] == corpus.labels[None]
    within = distance[same & ~np.eye(len(corpus), dtype=bool)].mean()
    between = distance[~same].mean()
    assert between > 1.2 * within


def test_channel_is_linear_in_level_and_adds_the_noise_it_names(rng: np.random.Generator) -> None:
    channel = draw_channel(rng)
    wave = rng.standard_normal(48_000).astype(np.float32)
    seed = int(rng.integers(1 << 31))
    heard = apply_channel(wave, channel, np.random.default_rng(seed))
    louder = apply_channel(8.0 * wave, channel, np.random.default_rng(seed))
    np.testing.assert_allclose(louder, 8.0 * heard, atol=1e-4 * np.abs(heard).max())
    other = apply_channel(wave, channel, np.random.default_rng(seed + 1))
    noise = np.linalg.norm(other - heard) / np.sqrt(2.0)
    assert noise / np.linalg.norm(heard) == pytest.approx(channel.noise_level, rel=0.15)


def test_every_language_has_a_grammar_and_every_draw_is_a_sentence(rng: np.random.Generator) -> None:
    assert set(BASES) == set(GRAMMARS)
    for language in GRAMMARS:
        said = {draw_sentence(language, rng) for _ in range(50)}
        assert len(said) >= 45
        assert all(5 <= len(sentence.split()) <= 30 and sentence.isprintable() for sentence in said)
    assert len({voice_file(draw_voice(rng)) for _ in range(50)}) == 50


@needs_engine
def test_every_accent_speaks() -> None:
    with Engine(tuple(GRAMMARS)) as engine:
        for language, bases in BASES.items():
            sentence = draw_sentence(language, np.random.default_rng(0))
            for base in bases:
                engine.set_voice(base, "language variant\npitch 90 140\n")
                said = engine.say(sentence, noise=0, rate=175, pitch=50, pitch_range=50)
                assert len(said) > 22_050
                assert np.abs(said.astype(int)).max() > 3_000


@needs_engine
def test_an_unknown_accent_is_refused_and_the_folder_of_the_engine_goes() -> None:
    with Engine(("en",)) as engine:
        folder = engine._folder
        assert folder.is_dir()
        with pytest.raises(UserError, match="cannot load this language"):
            engine.set_voice("gmw/klingon", "language variant\n")
    assert not folder.exists()


@needs_engine
def test_a_temporary_folder_too_deep_for_the_engine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("d" * 130)))
    with pytest.raises(UserError, match="set TMPDIR to a shorter path"):
        Engine(("en",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"speakers": 0}, "speakers ≥ 1"),
        ({"utterances": 0}, "utterances ≥ 1"),
        ({"seed": -1}, "seed ≥ 0"),
        ({"first": -1}, "first ≥ 0"),
        ({"jobs": 0}, "jobs ≥ 1"),
    ],
)
def test_numbers_are_checked_at_the_door(wrong: dict[str, int], message: str, tmp_path: Path) -> None:
    numbers = {"speakers": 1, "utterances": 1, "seed": 0, "first": 0, "jobs": 1} | wrong
    with pytest.raises(UserError, match=message):
        synthesise(
            tmp_path / "out",
            speakers=numbers["speakers"],
            utterances=numbers["utterances"],
            seed=numbers["seed"],
            first=numbers["first"],
            jobs=numbers["jobs"],
        )
    assert not list(tmp_path.iterdir())


def test_without_the_engine_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'distilvox\[synth\]'"):
        synthesise(tmp_path / "out", speakers=1, utterances=1, seed=0)
    assert not list(tmp_path.iterdir())


def test_what_stands_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(UserError, match="exists"):
        synthesise(tmp_path, speakers=1, utterances=1, seed=0)
    assert (tmp_path / "note").read_text() == "mine"


@needs_engine
def test_a_failure_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seed: int, speakers: list[int], utterances: int) -> list:
        if speakers == [1]:
            raise UserError("no breath left")
        return render(seed, speakers, utterances)

    monkeypatch.setattr(synthetic, "render", fail)
    with pytest.raises(UserError, match="no breath left"):
        synthesise(tmp_path / "out", speakers=2, utterances=1, seed=0, jobs=1, progress=False)
    assert not list(tmp_path.iterdir())
