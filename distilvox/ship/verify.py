"""What the command line calls: paths in, records out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.ship.decision import Decision
from distilvox.ship.quality import Quality
from distilvox.ship.runtime import Verifier
from distilvox.sound import AudioError


@dataclass(frozen=True)
class Embedded:
    """One file of `embed_files`: `embedding` float32 [D] and the recording's figures, or `error`.

    `notes` say what was done to the recording, as `distilvox pack` would: "several channels: the mean of 2".
    """

    path: Path
    embedding: np.ndarray | None
    error: str | None
    quality: Quality | None = None
    notes: tuple[str, ...] = ()


def embed_files(bundle: Verifier | Path | str, files: Sequence[Path | str]) -> Iterator[Embedded]:
    """Embeds recordings one after the other; one that cannot be used does not stop the rest.

    Args:
        bundle: a folder, opened and checked at once, or a `Verifier` with options of its own.
        files: the recordings.

    Returns:
        one record a file, in their order, each as soon as it is ready.
    """
    verifier = bundle if isinstance(bundle, Verifier) else Verifier.load(bundle)
    return (embed_file(verifier, Path(file)) for file in files)


def embed_file(verifier: Verifier, path: Path) -> Embedded:
    try:
        voice = verifier.examine(path)
        return Embedded(path, voice.embedding, None, voice.quality, voice.notes)
    except AudioError as error:
        return Embedded(path, None, error.reason)


def verify_files(
    bundle: Path | str,
    first: Path | str,
    second: Path | str,
    *,
    threshold: float | None = None,
    false_accept: float | None = None,
    precision: str = "float32",
    threads: int = 1,
) -> Decision:
    """Opens a bundle and decides on two recordings, or on stored embeddings (`.npz`)."""
    verifier = Verifier.load(bundle, threads=threads, precision=precision)
    return verifier.verify(first, second, threshold=threshold, false_accept=false_accept)
