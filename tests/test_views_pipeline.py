"""Views in batch are what the obvious pipeline makes of the same files, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from distilvox.corpus.store import CorpusWriter
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import load_bank
from distilvox.views.batches import draw_views, make_views
from distilvox.views.draws import ViewConfig
from tests.reference.pipeline import example

RATE = 16_000


@pytest.mark.parametrize(("speed", "tolerance"), [(1.0, 1e-6), (0.9, 0.02)])
def test_files_one_by_one_give_the_views_of_the_map(
    speed: float, tolerance: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    """At another speed scipy has another filter: close below 5 kHz only, so the speech is a low tone."""
    (tmp_path / "noise").mkdir()
    noises = [tmp_path / "noise" / f"{k}.wav" for k in range(2)]
    for path in noises:
        soundfile.write(path, 0.1 * np.sin(np.arange(700) / 10), RATE)
    bank = load_bank(tmp_path / "noise")
    writer, files = CorpusWriter(tmp_path / "corpus"), []
    for k, samples in enumerate((900, 1600, 5000)):  # repeated, just as long, cropped
        files.append(tmp_path / f"{k}.wav")
        soundfile.write(files[-1], 0.3 * np.sin(np.arange(samples) * (0.1 + 0.02 * k)), RATE)
        writer.add(f"u{k}", "ann", "a", soundfile.read(files[-1], dtype="int16")[0])
    corpus = writer.finish()
    config = ViewConfig(
        seconds=0.1, speeds=(speed,), noise_probability=1.0, room_probability=1.0, gain_db=(-6.0, 6.0)
    )
    everyone = np.arange(3)
    placed = DeviceBank.place(bank, 1600)
    draws = draw_views(corpus, everyone, 0, config, placed)
    views = make_views(corpus, everyone, 0, config, placed).waves.numpy()
    for k in everyone.tolist():
        slow = example(
            files[k], start=int(draws.start[k]), samples=1600, speed=speed, room=bank.rooms[draws.room[k]],
            noise=noises[draws.noise[k]], noise_start=float(draws.noise_start[k]),
            snr_db=float(draws.snr_db[k]), gain_db=float(draws.gain_db[k]),
        )  # fmt: skip
        middle = slice(0, None) if speed == 1 else slice(100, -100)
        assert np.abs(views[k] - slow)[middle].max() <= tolerance * np.abs(slow).max()
