"""A corpus on the training device gives the bits that the memory map gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.views import resident
from distilvox.views.augment import DeviceBank, stack_groups
from distilvox.views.bank import synthetic_bank
from distilvox.views.batches import batches, draw_views, make_views, read_crop
from distilvox.views.draws import ViewConfig
from distilvox.views.resident import Resident, fits, read_groups, reside

BANK = synthetic_bank(2, seconds=0.2)
CONFIG = ViewConfig(seed=5, seconds=0.1, speeds=(0.9, 1.0, 1.1), noise_probability=0.6, room_probability=0.3)
LENGTHS = [1, 3, 500, 1599, 1600, 1601, 1760, 4000, 5000]
"""From one sample, repeated 1600 times, over exactly one view, to several."""


@pytest.fixture
def corpus(tmp_path: Path, rng: np.random.Generator) -> Corpus:
    writer = CorpusWriter(tmp_path / "corpus")
    for index, samples in enumerate(LENGTHS):
        wave = rng.integers(-32768, 32767, samples).astype(np.int16)
        writer.add(f"u{index}", f"s{index % 2}", "a", wave)
    return writer.finish()


def test_every_view_has_the_same_bits(corpus: Corpus) -> None:
    placed = Resident.place(corpus, "cpu")
    everyone = np.arange(len(corpus))
    for view in range(4):
        mapped = make_views(corpus, everyone, view, CONFIG, BANK)
        gathered = make_views(corpus, everyone, view, CONFIG, BANK, resident=placed)
        assert torch.equal(mapped.waves, gathered.waves)
        assert torch.equal(mapped.labels, gathered.labels)
    assert mapped.waves.abs().sum(dim=1).min() > 0


def test_every_batch_has_the_same_bits(corpus: Corpus) -> None:
    placed = Resident.place(corpus, "cpu")
    mapped, gathered = (
        list(batches(corpus, CONFIG, BANK, epochs=2, batch_size=4, resident=source))
        for source in (None, placed)
    )
    assert len(mapped) == len(gathered) == 4
    for ours, theirs in zip(gathered, mapped, strict=True):
        assert torch.equal(ours.views.waves, theirs.views.waves)
        assert np.array_equal(ours.views.utterances, theirs.views.utterances)


@pytest.mark.parametrize("length", [1, 2, 40])
def test_a_gathered_crop_begins_again_at_its_utterance_not_in_the_next(corpus: Corpus, length: int) -> None:
    placed = Resident.place(corpus, "cpu")
    places = [(index, start) for index in range(4) for start in {0, LENGTHS[index] // 2, LENGTHS[index] - 1}]
    found = placed.gather(torch.tensor(places).T, length)
    for row, (index, start) in zip(found, places, strict=True):
        assert row.tolist() == read_crop(corpus, index, start, length).tolist()


def test_no_view_of_no_utterance(corpus: Corpus) -> None:
    nobody = np.arange(0)
    placed = Resident.place(corpus, "cpu")
    assert make_views(corpus, nobody, 0, CONFIG, BANK, resident=placed).waves.shape == (0, 1600)
    draws = draw_views(corpus, nobody, 0, CONFIG, DeviceBank.place(BANK, 1600))
    assert placed.read_groups(nobody, draws) == read_groups(corpus, nobody, draws, torch.device("cpu")) == []
    assert stack_groups([], draws, "cpu") == []


@pytest.mark.parametrize("block", [1, 1600, 5000, 1 << 24])
def test_the_copy_is_whole_whatever_its_blocks(
    corpus: Corpus, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "BLOCK", block)
    placed = Resident.place(corpus, "cpu")
    wanted = np.concatenate([corpus.wave(k) for k in range(len(corpus))])
    assert placed.audio.numpy().tobytes() == wanted.tobytes()
    assert placed.lengths.tolist() == LENGTHS
    assert placed.offsets.tolist() == np.cumsum([0, *LENGTHS[:-1]]).tolist()


def test_on_the_cpu_the_map_serves(corpus: Corpus) -> None:
    assert reside(corpus, torch.device("cpu")) == (None, "crops come from the memory map")


def test_a_corpus_fits_in_a_third_of_the_free_memory() -> None:
    assert fits(0, 0)
    assert fits(10, 30)
    assert not fits(11, 30)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_whole_corpus_lies_there_and_gives_the_same_views(corpus: Corpus) -> None:
    device = torch.device("cuda")
    placed, line = reside(corpus, device)
    assert placed is not None
    assert "the whole corpus" in line
    everyone = np.arange(len(corpus))
    mapped = make_views(corpus, everyone, 1, CONFIG, BANK, device)
    gathered = make_views(corpus, everyone, 1, CONFIG, BANK, device, resident=placed)
    assert torch.equal(mapped.waves, gathered.waves)
