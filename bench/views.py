"""Crops a second on one core: drawn and applied in batch, beside the reference, one crop after another."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench import Row, median, pipeline
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import synthetic_bank
from distilvox.views.batches import make_views, read_crop
from distilvox.views.draws import ViewConfig, draw
from tests.making import make_corpus
from tests.reference import augment as reference

CROPS, SLOW = 64, 1
"""Crops in a batch, and how many of them the slow reference makes."""

EVERYTHING = ViewConfig(speeds=(0.9, 1.1), noise_probability=1.0, room_probability=1.0, gain_db=(-6.0, 6.0))
"""Every crop gets all of it: the most that a view can cost."""


def rows() -> list[Row]:
    bank = synthetic_bank(0)
    config = EVERYTHING
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus", speakers=4, utterances=CROPS // 4)
        indices = np.arange(CROPS)
        samples = config.samples(corpus.sample_rate)
        placed = DeviceBank.place(bank, samples, "cpu")
        draws = draw(
            config, corpus.address()[indices], corpus.samples[indices], 0,
            noises=len(bank.noises), rooms=len(bank.rooms), sample_rate=corpus.sample_rate,
        )  # fmt: skip

        def slowly() -> np.ndarray:
            crops = []
            for k in range(SLOW):
                crop = read_crop(corpus, k, int(draws.start[k]), int(draws.length[k]))
                noise, room = int(draws.noise[k]), int(draws.room[k])
                crops.append(
                    reference.augment(
                        crop,
                        speed=float(draws.speed[k]),
                        room=bank.rooms[room] if room >= 0 else None,
                        noise=bank.noises[noise] if noise >= 0 else None,
                        noise_start=float(draws.noise_start[k]),
                        snr_db=float(draws.snr_db[k]),
                        gain_db=float(draws.gain_db[k]),
                        samples=samples,
                    )
                )
            return np.stack(crops)

        waves = make_views(corpus, indices, 0, config, placed).waves[:SLOW].numpy()
        seconds = median(lambda: make_views(corpus, indices, 0, config, placed), 9)
        slow = median(slowly, 5, warm=0) * CROPS / SLOW
        return [
            Row(
                work=f"{CROPS} views of {config.seconds:g} s: speed, room, noise, gain",
                baseline="direct sinc and convolution, crop by crop",
                seconds=seconds,
                baseline_seconds=slow,
                error=float(np.abs(waves - slowly()).max()),
                of="the same in float64, full scale 1",
                note=f"{CROPS / seconds:,.0f} crops a second",
            ),
            *pipeline.rows(),
        ]
