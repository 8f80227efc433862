"""Crops with noise, room and features on one core: from the memory map in batch, beside files one by one."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from bench import Row, frontend, median
from distilvox.corpus.store import Corpus, CorpusWriter
from distilvox.models.fbank import Fbank
from distilvox.views.augment import DeviceBank
from distilvox.views.bank import Bank, load_bank, synthetic_bank
from distilvox.views.batches import draw_views, make_views
from distilvox.views.draws import ViewConfig
from tests.making import buzz
from tests.reference.pipeline import example

CROPS, RATE = 64, 16_000
CONFIGS = {
    "noise, room": ViewConfig(noise_probability=1.0, room_probability=1.0),
    "speed, noise, room": ViewConfig(speeds=(0.9, 1.1), noise_probability=1.0, room_probability=1.0),
}
KINDS = {"wav": {"subtype": "PCM_16"}, "opus": {"format": "OGG", "subtype": "OPUS"}}


@dataclass(frozen=True)
class Speech:
    """The same utterances of 2 to 8 s as files of one kind, and packed as what these files decode to."""

    kind: str
    files: list[Path]
    corpus: Corpus
    noises: list[Path]
    bank: Bank


def write(folder: Path, kind: str) -> Speech:
    rng = np.random.default_rng(0)
    for name, waves in (
        (
            "speech",
            [buzz(rng, rng.uniform(80, 250), int(rng.integers(2 * RATE, 8 * RATE))) for _ in range(CROPS)],
        ),
        ("noise", synthetic_bank(0).noises),
    ):
        (folder / name).mkdir(parents=True)
        for k, wave in enumerate(waves):
            options = KINDS[kind] if name == "speech" else KINDS["wav"]
            extension = kind if name == "speech" else "wav"
            soundfile.write(folder / name / f"{k:02}.{extension}", wave, RATE, **options)
    files, noises = (sorted((folder / name).iterdir()) for name in ("speech", "noise"))
    writer = CorpusWriter(folder / "corpus")
    for k, path in enumerate(files):
        writer.add(path.stem, f"s{k % 4}", "a", soundfile.read(path, dtype="int16")[0])
    return Speech(kind, files, writer.finish(), noises, load_bank(folder / "noise"))


def measure(speech: Speech, what: str) -> Row:
    config, corpus, bank = CONFIGS[what], speech.corpus, speech.bank
    samples, everyone = config.samples(RATE), np.arange(CROPS)
    placed = DeviceBank.place(bank, samples)
    draws = draw_views(corpus, everyone, 0, config, placed)
    ours, textbook = Fbank(), frontend.with_fft(Fbank())

    def in_batch() -> Tensor:
        return ours(make_views(corpus, everyone, 0, config, placed).waves)

    def one(k: int) -> Tensor:
        wave = example(
            speech.files[k], start=int(draws.start[k]), samples=samples, speed=float(draws.speed[k]),
            room=bank.rooms[draws.room[k]], noise=speech.noises[draws.noise[k]],
            noise_start=float(draws.noise_start[k]), snr_db=float(draws.snr_db[k]), gain_db=float(draws.gain_db[k]),
        )  # fmt: skip
        features = textbook(torch.from_numpy(wave)[None])
        return (features - features.mean(dim=1, keepdim=True))[0]

    def one_by_one() -> Tensor:
        return torch.stack([one(k) for k in range(CROPS)])

    deviation = (in_batch() - one_by_one()).abs()
    seconds = median(in_batch, 9)
    return Row(
        work=f"{CROPS} crops of {config.seconds:g} s with {what} and features",
        baseline=f"decode {speech.kind} file, crop, augment and features, one by one",
        seconds=seconds,
        baseline_seconds=median(one_by_one),
        error=float(deviation.max()),
        of="the baseline's features, nats",
        note=f"{CROPS / seconds:,.0f} crops a second; mean deviation {float(deviation.mean()):.1e}",
    )


def rows() -> list[Row]:
    found = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            speech = write(Path(folder) / kind, kind)
            found += [measure(speech, what) for what in CONFIGS]
    return found
