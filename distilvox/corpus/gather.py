"""The door of `pack`: which form each source has, and several sources as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distilvox.corpus import kaldi, lhotse, nemo, speechbrain, wespeaker
from distilvox.corpus.records import Listed, source_of
from distilvox.corpus.sources import LAYOUT, Source, find, settled
from distilvox.corpus.text import read_text
from distilvox.errors import UserError, require, unknown
from distilvox.names import EXTENSIONS, FOREIGN

METADATA = "metadata.csv"
"""Of a Hugging Face audio folder."""


@dataclass(frozen=True)
class ListForm:
    """A form of list that is a file: whether its first line is one's, and how it is read."""

    fits: Callable[[str], bool]
    read: Callable[[Path], Listed]


LISTS = {
    "lhotse": ListForm(lhotse.fits, lhotse.read),
    "wespeaker": ListForm(wespeaker.fits, wespeaker.read),
    "nemo": ListForm(nemo.fits, nemo.read),
    "speechbrain": ListForm(speechbrain.fits, speechbrain.read),
}
"""Looked at in this order."""

FORMATS = ("folder", "table", "kaldi", *LISTS)


def gather(
    sources: Sequence[Path],
    *,
    table: Path | None = None,
    where: Sequence[str] = (),
    unlabelled: bool = False,
    form: str | None = None,
) -> Source:
    """Lists what all sources hold together.

    Args:
        sources: folders of audio, data folders, lists; each is what it looks like unless `form` says it.
        table, where, unlabelled: as of `sources.find`; a table goes with one folder.
        form: one of `FORMATS`, of every source.

    Raises:
        UserError: as of `find`; a file that no form fits; an utterance that two sources have.
    """
    require(
        table is None or len(sources) == 1,
        "a table belongs to one folder",
        got=f"{len(sources)} sources with --table",
        remedy="pack each folder alone, or give the table itself as a source",
    )
    found = [_found(source, table, where, unlabelled, form) for source in sources]
    for source, held in zip(sources, found, strict=True):
        require(bool(held.items or held.rejected), f"nothing to pack in {source}", allowed=LAYOUT)
    holder: dict[str, Path] = {}
    for source, held in zip(sources, found, strict=True):
        for item in held.items:
            first = holder.setdefault(item.utterance, source)
            require(
                first is source,
                f"two sources have an utterance {item.utterance!r}",
                got=f"{first} and {source}",
                remedy="rename the folder or the speaker in one of them: a corpus needs different names",
            )
    if len(found) == 1:
        return found[0]
    return Source(
        sorted((item for held in found for item in held.items), key=lambda item: item.utterance),
        sorted(pair for held in found for pair in held.rejected),
        dict(sum((Counter(held.ignored) for held in found), Counter())),
        [note for held in found for note in held.notes],
    )


def _found(
    source: Path, table: Path | None, where: Sequence[str], unlabelled: bool, form: str | None
) -> Source:
    require(source.exists(), f"no such folder: {source}", allowed=LAYOUT)
    form = ("folder" if table else recognised(source)) if form is None else form
    if form not in FORMATS:
        raise unknown("form of a source", form, FORMATS)
    if form == "folder":
        return find(source, table=table, where=where, unlabelled=unlabelled)
    if form == "table":
        own = source / METADATA if source.is_dir() else source
        return find(own.parent, table=own, where=where, unlabelled=unlabelled)
    listed = kaldi.read(source) if form == "kaldi" else LISTS[form].read(source)
    return settled(source_of(listed, where, unlabelled), source if source.is_dir() else source.parent)


def recognised(source: Path) -> str:
    """The form of a source by what it holds.

    Raises:
        UserError: a file that is no list of a known form.
    """
    if source.is_dir():
        return "kaldi" if kaldi.fits(source) else "table" if (source / METADATA).is_file() else "folder"
    require(
        source.suffix.lower() not in EXTENSIONS + FOREIGN,
        f"{source} is a file, and a folder is needed",
        allowed=LAYOUT,
    )
    first = _first_line(source)
    if first.strip().endswith(".tar"):
        raise UserError(
            f"{source} lists archives (shards), which are not read",
            remedy="give WeSpeaker's raw.list, or the folder of the audio",
        )
    form = next((name for name, known in LISTS.items() if known.fits(first)), None)
    if form is None and any(mark in first for mark in "\t,;"):
        return "table"
    if form is None:
        raise UserError(
            f"{source} is a file, and no list of a known form",
            got=repr(first.strip()[:80]) if first else "an empty file",
            allowed=f"{LAYOUT}; or a source of the form {', '.join(FORMATS)}",
            remedy="say which with --format, or give the folder of the audio",
        )
    return form


def _first_line(source: Path) -> str:
    """Of a list that may be compressed; its line end is left out."""
    if source.suffix == ".gz":
        return next((line for _, line in lhotse.lines(source)), "")
    return read_text(source, "list").partition("\n")[0]
