"""Conditions: what is asked for is what is heard, by the address of the utterance, and a codec keeps speech speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilvox.corpus.store import Corpus
from distilvox.errors import UserError
from distilvox.evaluation.codecs import CODECS, through
from distilvox.evaluation.conditions import Changed, conditions
from distilvox.views.bank import Bank, synthetic_bank
from tests.making import make_corpus, make_trials
from tests.running import refused, succeed

BANK = synthetic_bank(0, seconds=0.5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("conditions") / "dev", speakers=3, utterances=2)


def heard(corpus: Corpus, name: str, index: int = 0, bank: Bank = BANK) -> np.ndarray:
    (condition,) = conditions(bank, [name])
    return Changed(corpus, condition).wave(index).astype(np.float64)


def level(wave: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(wave)))


def test_clean_speech_stays_what_it_is(corpus: Corpus) -> None:
    np.testing.assert_array_equal(heard(corpus, "clean"), corpus.wave(0))


@pytest.mark.parametrize("snr", [10, 0])
def test_noise_is_as_loud_as_its_name_says(corpus: Corpus, snr: int) -> None:
    clean = corpus.wave(0).astype(np.float64)
    assert level(clean) - level(heard(corpus, f"noise, {snr} dB") - clean) == pytest.approx(snr, abs=0.1)


def test_a_room_is_the_convolution_with_one_of_the_bank(corpus: Corpus) -> None:
    rooms = Bank(rooms=(np.array([1, 0, 0.5], np.float32),))
    clean = corpus.wave(0).astype(np.float64)
    wanted = np.convolve(clean, [1, 0, 0.5])[: clean.size]
    np.testing.assert_allclose(heard(corpus, "room", bank=rooms), wanted.clip(-32768, 32767), atol=2)


def test_cut_speech_is_its_beginning(corpus: Corpus) -> None:
    (condition,) = conditions(BANK, ["first 1 s"])
    cut = Changed(corpus, condition)
    assert cut.samples.max() <= 16_000
    for index in range(len(corpus)):
        assert len(cut.wave(index)) == cut.samples[index] == min(16_000, corpus.samples[index])
        np.testing.assert_array_equal(cut.wave(index), corpus.wave(index)[:16_000])


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_keeps_length_place_and_pitch(name: str) -> None:
    time = np.arange(24_001) / 16_000
    wave = (0.3 * np.sin(2 * np.pi * 440 * time) * np.hanning(time.size)).astype(np.float32)
    coded = through(wave, CODECS[name])
    assert (coded.shape, coded.dtype) == (wave.shape, np.float32)
    assert not np.array_equal(coded, wave)
    assert np.corrcoef(coded, wave)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["telephone, G.711 µ-law", "mobile, GSM 13 kbit/s"])
def test_a_telephone_has_no_treble(name: str) -> None:
    time = np.arange(16_000) / 16_000
    whistle = (0.3 * np.sin(2 * np.pi * 6_000 * time)).astype(np.float32)
    assert level(through(whistle, CODECS[name])) < level(whistle) - 30


def test_an_utterance_draws_its_own_noise_and_always_the_same(corpus: Corpus) -> None:
    noises = [heard(corpus, "noise, 0 dB", k) - corpus.wave(k) for k in (0, 1)]
    assert np.array_equal(noises[0], heard(corpus, "noise, 0 dB", 0) - corpus.wave(0))
    shortest = min(map(len, noises))
    assert abs(np.corrcoef(noises[0][:shortest], noises[1][:shortest])[0, 1]) < 0.9


def test_a_condition_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown condition(?s:.*)first 1 s"):
        conditions(BANK, ["underwater"])


def test_evaluate_shows_them_all_in_one_table(corpus: Corpus, tmp_path: Path) -> None:
    trials = make_trials(corpus, tmp_path / "trials.txt")
    judged = ("--corpus", corpus.path, "--trials", trials, "--replicates", 20)
    words = ("evaluate", "ge2e:", *judged, "--conditions")
    said = succeed(*words).out
    for condition in conditions(BANK):
        assert condition.name in said
    assert "goes without --teacher" in refused(2, *words, "--teacher", "ge2e:")
    assert "go with --conditions" in refused(2, "evaluate", "ge2e:", *judged, "--noise", tmp_path)
