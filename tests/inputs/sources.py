"""Forms in which people keep lists of their speech, made of one small folder; and lines of them that cannot be used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPEECH = {"anna/a/1": "anna", "anna/b/2": "anna", "bert/a/1": "bert"}
SECONDS = 1.0


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def kaldi(tree: Path, place: Path) -> Path:
    write(place / "wav.scp", [f"{name} {tree}/{name}.wav" for name in SPEECH])
    return write(place / "utt2spk", [f"{name} {who}" for name, who in SPEECH.items()]).parent


def cut(name: str, audio: Path, **more: Any) -> dict[str, Any]:
    recording = {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": str(audio)}],
        "duration": SECONDS,
    }
    plain = {
        "id": name,
        "start": 0,
        "duration": SECONDS,
        "channel": 0,
        "recording": recording,
        "type": "MonoCut",
    }
    return {**plain, "supervisions": [{"id": name, "speaker": name.split("/")[0]}], **more}


def lhotse(tree: Path, place: Path) -> Path:
    return write(place / "cuts.jsonl.gz", [json.dumps(cut(name, tree / f"{name}.wav")) for name in SPEECH])


def wespeaker(tree: Path, place: Path) -> Path:
    lines = [{"key": f"{name}.wav", "wav": f"{tree}/{name}.wav", "spk": who} for name, who in SPEECH.items()]
    return write(place / "raw.list", list(map(json.dumps, lines)))


def nemo(tree: Path, place: Path) -> Path:
    lines = [
        {"audio_filepath": f"{tree}/{name}.wav", "duration": SECONDS, "label": who}
        for name, who in SPEECH.items()
    ]
    return write(place / "manifest.json", list(map(json.dumps, lines)))


def speechbrain(tree: Path, place: Path) -> Path:
    place.mkdir()
    (place / "wav").symlink_to(tree)
    rows = [f"{name},{SECONDS},$data_root/wav/{name}.wav,0,16000,{who}" for name, who in SPEECH.items()]
    return write(place / "train.csv", ["ID,duration,wav,start,stop,spk_id", *rows])


def huggingface(tree: Path, place: Path) -> Path:
    place.mkdir()
    for name in ("anna", "bert"):
        (place / name).symlink_to(tree / name)
    rows = [f"{name}.wav,{who}" for name, who in SPEECH.items()]
    return write(place / "metadata.csv", ["file_name,speaker_id", *rows]).parent


def commonvoice(tree: Path, place: Path) -> Path:
    place.mkdir()
    (place / "clips").symlink_to(tree)
    return write(
        place / "train.tsv", ["client_id\tpath", *(f"{who}\t{name}.wav" for name, who in SPEECH.items())]
    )


MAKERS: dict[str, tuple[str, Callable[[Path, Path], Path]]] = {
    "Kaldi data folder": ("kaldi", kaldi),
    "Lhotse cut set": ("lhotse", lhotse),
    "WeSpeaker raw.list": ("wespeaker", wespeaker),
    "NeMo manifest": ("nemo", nemo),
    "SpeechBrain CSV": ("speechbrain", speechbrain),
    "Hugging Face audio folder": ("table", huggingface),
    "Common Voice TSV": ("table", commonvoice),
}


REASONS = {
    "a command": (
        "kaldi",
        "x sph2pipe -f wav x.sph |",
        "its audio comes from a command, which is not run: sph2pipe",
    ),
    "an archive": ("kaldi", "x foo.ark:123", "its audio lies in a Kaldi archive"),
    "no file": ("kaldi", "x gone.wav", "no such file"),
    "no speaker's key": ("wespeaker", '{"key": "x", "wav": "x"}', "no 'spk'"),
    "no JSON": ("nemo", "x", "no JSON table"),
    "a mixed cut": ("lhotse", '{"type": "MixedCut", "id": "x"}', "a MixedCut that is no MonoCut"),
    "audio of a command": (
        "lhotse",
        json.dumps(cut("x", Path("x"), recording={"sources": [{"type": "command"}]})),
        "its audio is no file, but command",
    ),
    "two speakers in a cut": (
        "lhotse",
        json.dumps(cut("x", Path("x"), supervisions=[{"speaker": "a"}, {"speaker": "b"}])),
        "one recording of 2 speakers: 'a', 'b'",
    ),
    "too few cells": ("speechbrain", "x,1", "another number of cells"),
}
