"""What the command line calls: paths in, records out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.errors import UserError
from distilvox.ship.decision import Decision
from distilvox.ship.quality import Quality
from distilvox.ship.runtime import Verifier
from distilvox.sound import AudioError


@dataclass(frozen=True)
class Embedded:
    """One file of `embed_files`: `embedding` float32 [D] and the recording's figures, or `error`.

    `notes` say what was done to the recording, as `distilvox pack` would: "several channels: the mean of 2".
    `refusal` is what speaks against its use, where that was forced; else None.
    """

    path: Path
    embedding: np.ndarray | None
    error: str | None
    quality: Quality | None = None
    notes: tuple[str, ...] = ()
    refusal: str | None = None


def embed_files(
    bundle: Verifier | Path | str, files: Sequence[Path | str], *, force: bool = False
) -> Iterator[Embedded]:
    """Embeds recordings one after the other; one that cannot be used does not stop the rest.

    Args:
        bundle: a folder, opened and checked at once, or a `Verifier` with options of its own.
        files: the recordings.
        force: embed what would be refused (`gate.Refused`), too.

    Returns:
        one record a file, in their order, each as soon as it is ready.
    """
    verifier = bundle if isinstance(bundle, Verifier) else Verifier.load(bundle)
    return (embed_file(verifier, Path(file), force=force) for file in files)


def embed_file(verifier: Verifier, path: Path, *, force: bool = False) -> Embedded:
    try:
        voice = verifier.examine(path, force=force)
        return Embedded(path, voice.embedding, None, voice.quality, voice.notes, voice.refusal)
    except AudioError as error:
        return Embedded(path, None, error.reason)


def embedding_names(files: Sequence[Path]) -> dict[Path, str]:
    """Where each file's embedding goes in a folder: `name.npz`, with the file's folders before it if names clash.

    Raises:
        UserError: two files differ in their extension alone, or are one.

    >>> embedding_names([Path("a/1.wav"), Path("b/1.wav")])[Path("b/1.wav")]
    'b/1.npz'
    """
    names = {path: f"{path.stem}.npz" for path in files}
    if len(set(names.values())) < len(files):
        absolute = {path: Path(os.path.abspath(path)) for path in files}  # noqa: PTH100 (links stay as they are)
        common = os.path.commonpath([path.parent for path in absolute.values()])
        names = {
            path: whole.relative_to(common).with_suffix(".npz").as_posix() for path, whole in absolute.items()
        }
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice or len(names) < len(files):
        raise UserError("two files would write the same embedding", got=", ".join(twice[:5]) or None)
    return names


def verify_files(
    bundle: Path | str,
    first: Path | str,
    second: Path | str,
    *,
    threshold: float | None = None,
    false_accept: float | None = None,
    precision: str = "float32",
    threads: int = 1,
    force: bool = False,
) -> Decision:
    """Opens a bundle and decides on two recordings, or on stored embeddings (`.npz`)."""
    verifier = Verifier.load(bundle, threads=threads, precision=precision)
    return verifier.verify(first, second, threshold=threshold, false_accept=false_accept, force=force)
