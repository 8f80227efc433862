"""Whether a corpus is what its files say: types, places of the samples, a sample of the samples themselves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow
from msgspec import Meta, Struct
from pyarrow import types

from distilvox.errors import require
from distilvox.files import read_json
from distilvox.schemas import Count, Finite, Sha256, fitting

VERSION, WITH_UNLABELLED = 1, 2
"""Of a corpus in which every utterance has a speaker, and of one in which some have none."""

REMEDY = "copy the corpus again, or pack it again"
_MAKE = "make it with `distilvox pack SRC OUT`"

SAMPLE = 8
"""Utterances looked at whenever a corpus is opened, and at every epoch: some 2 MB."""


class Manifest(Struct):
    """corpus.json."""

    version: int
    sample_rate: Annotated[int, Meta(ge=1000, le=384_000)]
    utterances: Count
    sha256: Sha256
    speakers: Count = 0
    seconds: Finite = 0.0
    licence: str | None = None


def read_manifest(path: Path) -> dict[str, Any]:
    """What corpus.json of the corpus in folder `path` says.

    Raises:
        UserError: no such folder, not a corpus, not finished, another version, a field of the wrong type (named).
    """
    file = path / "corpus.json"
    require(path.exists(), f"no corpus here: {path} does not exist", remedy=_unfinished(path))
    require(path.is_dir(), f"no corpus here: {path} is a file", remedy=_MAKE)
    require(
        file.exists() or not (path / "audio.bin").exists(),
        f"the corpus in {path} is incomplete: it has no corpus.json",
        remedy="pack did not finish; run it again to resume",
    )
    manifest = read_json(file, noun="corpus", remedy=_MAKE)
    version = manifest.get("version") if isinstance(manifest, dict) else None
    require(
        version in (VERSION, WITH_UNLABELLED),
        f"{path} was written in a form that this distilvox does not know",
        got=f"version {version}",
        allowed=f"version {VERSION} or {WITH_UNLABELLED}",
        remedy="pack it again with this distilvox",
    )
    missing = [key for key in ("utterances", "sample_rate", "sha256") if key not in manifest]
    require(not missing, f"{file} is damaged: it lacks {', '.join(missing)}", remedy=_MAKE)
    fitting(Manifest, manifest, noun="corpus", path=file, remedy=REMEDY)
    return manifest


def _unfinished(path: Path) -> str:
    if path.with_name(path.name + ".partial").is_dir():
        return "pack did not finish; run it again to resume"
    return _MAKE


def check_columns(table: pyarrow.Table, path: Path) -> None:
    """Refuses a column of the wrong type, or with gaps (named): text for names, whole numbers for places."""
    for name in table.column_names:
        column = table[name]
        kind = column.type
        text, whole = types.is_string(kind) or types.is_large_string(kind), types.is_integer(kind)
        fits, allowed = (
            text or whole or types.is_floating(kind) or types.is_boolean(kind),
            "text or plain numbers",
        )
        if name in ("utterance", "speaker", "session"):
            fits, allowed = text, "text"
        elif name in ("offset", "samples", "check"):
            fits, allowed = whole, "whole numbers"
        require(
            fits and column.null_count == 0,
            f"the corpus is damaged: {path}, column {name!r}",
            got=f"{kind}, {column.null_count:,} of {len(column):,} empty",
            allowed=f"{allowed}, none empty",
            remedy=REMEDY,
        )


def check_places(path: Path, utterances: Sequence[str], offsets: np.ndarray, samples: np.ndarray) -> None:
    """Refuses a table in which two utterances have one name or share samples, or one lies outside of the audio.

    Args:
        offsets, samples: int64 [U], where each begins in audio.bin, and its length; their sum is that of the file.
    """
    damaged = f"the corpus in {path} is damaged: "
    wrong = np.flatnonzero((samples < 1) | (offsets < 0))
    if len(wrong):
        at = int(wrong[0])
        got = f"offset {offsets[at]}, samples {samples[at]}"
        require(False, f"{damaged}{utterances[at]!r} has no place in audio.bin", got=got, remedy=REMEDY)
    order = np.argsort(offsets, kind="stable")
    begins = np.concatenate([[0], np.cumsum(samples[order])])
    wrong = np.flatnonzero(offsets[order] != begins[:-1])
    if len(wrong):
        at = int(order[wrong[0]])
        require(
            False,
            f"{damaged}the samples of {utterances[at]!r} are not where those before it end",
            got=f"offset {offsets[at]:,}",
            allowed=f"{begins[wrong[0]]:,}: utterances lie one behind the other, whatever their order in the table",
            remedy=REMEDY,
        )
    require(
        len(set(utterances)) == len(utterances), f"{damaged}an utterance stands in it twice", remedy=REMEDY
    )


def sample_check(wave: np.ndarray) -> int:
    """What the table says of an utterance's samples int16 [N]: 63 bits of BLAKE2b over them."""
    digest = hashlib.blake2b(wave.astype("<i2", copy=False).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def digest_of(blocks: Iterable[np.ndarray]) -> Any:
    """The sha256, not yet in hex, of samples int16 [N] given in blocks."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block.astype("<i2", copy=False).data)
    return digest


def drawn(utterances: int, most: int = SAMPLE) -> list[int]:
    """Some utterances, others every time: the damage that one look misses, another finds."""
    rng = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))
    return sorted(rng.choice(utterances, min(most, utterances), replace=False).tolist())
