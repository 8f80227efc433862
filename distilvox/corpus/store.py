"""The corpus: a folder with every utterance's samples in one file, its table, and a manifest.

`audio.bin` holds int16 mono PCM, back to back; `utterances.parquet` one row an utterance (utterance,
speaker, session, offset and samples in samples, extra columns); `corpus.json` is written last, so a
folder that has it is complete. Opening maps the audio: any process reads any crop as one slice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distilvox import files
from distilvox.corpus.check import (
    VERSION,
    WITH_UNLABELLED,
    check_places,
    digest_of,
    drawn,
    read_manifest,
    sample_check,
)
from distilvox.corpus.paging import MappedAudio
from distilvox.corpus.table import CHECK, RESERVED, UNKNOWN, Row, content_id, read_table, write_table
from distilvox.errors import UserError, require
from distilvox.names import Names, is_name
from distilvox.sound import SAMPLE_RATE


class Corpus:
    """An opened corpus; immutable. `Corpus.open(path)` makes it.

    Attributes:
        path: the folder.
        id: sha256 (hex) of samples and table.
        sample_rate: in Hz.
        utterances: U unique ids without extension.
        speakers: C sorted unique names.
        sessions: per utterance.
        labels: int64 [U], index into `speakers`; `UNKNOWN` (-1) where nobody knows who speaks.
        samples: int64 [U], lengths.
        columns, licence: the extra columns, U values each; of the speech, where it was stated.
        checks: int64 [U], `check.sample_check` of its samples; None in a corpus packed before there were any.
        whole, rows_in_whole: the packed corpus that this is (`subset.part`) a part of, or all; its rows [U] there.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], table: dict[str, Any], audio: MappedAudio, *,
        part_of: tuple[Corpus, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.whole: Corpus = part_of[0] if part_of else self
        self.rows_in_whole: np.ndarray = part_of[1] if part_of else np.arange(len(table["utterance"]))
        self.id, self.licence = str(manifest["sha256"]), manifest.get("licence")
        self.sample_rate: int = manifest["sample_rate"]
        self.utterances: list[str] = table["utterance"]
        self.sessions: list[str] = table["session"]
        self.speakers: list[str] = sorted(set(table["speaker"]) - {""})
        label = {"": UNKNOWN, **{name: index for index, name in enumerate(self.speakers)}}
        self.labels = np.fromiter((label[name] for name in table["speaker"]), np.int64, len(table["speaker"]))
        self.samples = np.asarray(table["samples"], dtype=np.int64)
        self.columns = {name: values for name, values in table.items() if name not in (*RESERVED, CHECK)}
        self.checks = None if CHECK not in table else np.asarray(table[CHECK], dtype=np.int64)
        self.offsets = np.asarray(table["offset"], dtype=np.int64)
        self.audio = audio
        for array in (self.labels, self.samples, self.offsets, self.rows_in_whole):
            array.flags.writeable = False

    @classmethod
    def open(cls, path: Path | str) -> Corpus:
        """Opens the corpus in folder `path` at once: nothing is read but the table, and a few utterances (`check`).

        Raises:
            UserError: no such folder, not a corpus, not finished, another version, audio cut off or changed, a field
                or column of the wrong type (named), places that do not fit the audio.
        """
        path = Path(path)
        manifest = read_manifest(path)
        table = read_table(path / "utterances.parquet")
        audio = path / "audio.bin"
        promised = 2 * int(table["samples"].sum())
        there = audio.stat().st_size if audio.exists() else 0
        require(
            promised == there and len(table["utterance"]) == manifest["utterances"],
            f"the corpus in {path} is damaged: audio.bin and the table do not agree",
            got=f"{there:,} bytes and {len(table['utterance']):,} rows",
            allowed=f"{promised:,} bytes and {manifest['utterances']:,} rows",
            remedy="copy it again, or pack it again",
        )
        opened = cls(path, manifest, table, MappedAudio(audio))
        check_places(path, opened.utterances, opened.offsets, opened.samples)
        opened.check()
        return opened

    def __len__(self) -> int:
        return len(self.utterances)

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r}: {len(self)} utterances, {len(self.speakers)} speakers)"

    def wave(self, index: int) -> np.ndarray:
        """All samples of an utterance: int16 [N], a read-only view of the map."""
        return self.crop(index, 0, int(self.samples[index]))

    def crop(self, index: int, start: int, length: int) -> np.ndarray:
        """`length` samples from `start` on: int16 [length], a read-only view; must lie inside."""
        if not 0 <= start <= start + length <= self.samples[index]:
            raise IndexError(f"samples {start} to {start + length} of {self.samples[index]} in {index}")
        begin = int(self.offsets[index]) + start
        return self.audio.read(begin, begin + length)

    @property
    def seconds(self) -> float:
        """The duration of all speech in it."""
        return float(self.samples.sum()) / self.sample_rate

    def has(self, utterance: str) -> bool:
        """Whether `index` would find it."""
        return self._names.find(utterance) is not None

    def index(self, utterance: str) -> int:
        """The position of an utterance, by its exact name or by another form of it (`distilvox.names`)."""
        found = self._names.find(utterance)
        if found is None:
            near = self._names.nearest(utterance)
            raise UserError(
                f"no such utterance in the corpus {self.path}",
                got=repr(utterance),
                remedy=f"did you mean {near!r}?" if near else f"it has names such as {self.utterances[:1]}",
            )
        return found

    def address(self) -> np.ndarray:
        """A stable 64-bit hash of every utterance's id (BLAKE2b): uint64 [U]."""
        return self._address

    def rows(self) -> Iterator[Row]:
        """The table, row by row."""
        for index, utterance in enumerate(self.utterances):
            extra = {name: values[index] for name, values in self.columns.items()}
            yield Row(utterance, self.speaker(index), self.sessions[index], int(self.samples[index]), extra)

    def speaker(self, index: int) -> str:
        """The name of an utterance's speaker; empty where nobody knows it."""
        return "" if self.labels[index] == UNKNOWN else self.speakers[self.labels[index]]

    def check(self) -> None:
        """Looks at a few utterances, others every time: a `UserError` names one whose samples have changed.

        Cheap enough for every start and every epoch; `verify` reads everything.
        """
        checks = self.checks
        for index in () if checks is None else drawn(len(self)):
            require(
                checks is None or sample_check(self.wave(index)) == checks[index],
                f"the corpus in {self.path} is damaged: the samples of {self.utterances[index]!r} have changed "
                "since it was packed",
                remedy="copy it again, or pack it again; `distilvox corpus --verify` checks all of it",
            )

    def verify(self) -> None:
        """Reads everything and compares its sha256 with the manifest's; a `UserError` if they differ."""
        total = len(self.audio.samples)
        digest = digest_of(self.audio.read(i, min(i + (1 << 24), total)) for i in range(0, total, 1 << 24))
        got = content_id(digest, self.rows())
        require(
            got == self.id,
            f"the corpus in {self.path} is damaged: its content has changed since it was packed",
            got=f"sha256 {got}",
            allowed=f"sha256 {self.id}",
            remedy="copy it again, or pack it again",
        )

    @cached_property
    def _names(self) -> Names:
        return Names(self.utterances)

    @cached_property
    def _address(self) -> np.ndarray:
        digests = b"".join(hashlib.blake2b(u.encode(), digest_size=8).digest() for u in self.utterances)
        return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


class CorpusWriter:
    """Writes a corpus into `<path>.partial` and gives it its name when it is complete.

    Args:
        path: the folder to make; must not exist.
        sample_rate: of what will be added, in Hz.
        kept: rows whose samples stand in `<path>.partial/audio.bin` already; the writer goes on after them.
        unlabelled: whether an utterance may have the empty speaker.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        sample_rate: int = SAMPLE_RATE,
        kept: Sequence[Row] = (),
        unlabelled: bool = False,
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.sample_rate, self._unlabelled = sample_rate, unlabelled
        refuse_existing(self.path)
        self._rows = list(kept)
        self._checks: list[int] = []
        self._names = {row.utterance for row in kept}
        self._digest = hashlib.sha256()
        size = 2 * sum(row.samples for row in kept)
        with files.explain_disk_errors(self.path):
            if not kept:
                shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True, exist_ok=True)
            self._file = open(self.partial / "audio.bin", "rb+" if kept else "wb")  # noqa: SIM115
            for row in kept:
                data = self._file.read(2 * row.samples)
                self._digest.update(data)
                self._checks.append(sample_check(np.frombuffer(data, "<i2")))
            self._file.truncate(size)
            self._file.seek(size)

    def add(self, utterance: str, speaker: str, session: str, wave: np.ndarray, **columns: Any) -> None:
        """Appends one utterance: samples int16 [N]; the extra columns must be the same every time."""
        self.append(Row(utterance, speaker, session, len(wave), columns), wave)

    def append(self, row: Row, wave: np.ndarray) -> None:
        """`add` for a row that exists already; its `samples` must be the length N of `wave`."""
        require(
            wave.dtype == np.int16 and wave.ndim == 1 and len(wave) > 0, "samples must be int16 [N], N > 0"
        )
        require(len(wave) == row.samples, "the row states another length", got=row.samples)
        named = bool(row.utterance and (row.speaker or self._unlabelled))
        require(named, "an utterance needs a name and a speaker", got=row)
        bad = [name for name in (row.utterance, row.speaker, row.session) if not is_name(name)]
        require(not bad, "a name has control characters, which no list can hold", got=bad)
        require(
            row.utterance not in self._names, "this utterance is in the corpus already", got=row.utterance
        )
        types = {name: type(value) for name, value in row.columns.items()}
        known = {name: type(value) for name, value in self._rows[0].columns.items()} if self._rows else types
        require(types == known, "every utterance needs the same columns, of the same types", got=types)
        require(
            set(types.values()) <= {str, int, float, bool},
            "a column holds text or plain numbers",
            got=types,
        )
        require(not types.keys() & {*RESERVED, CHECK}, "an extra column has a reserved name", got=list(types))
        data = wave.astype("<i2", copy=False).tobytes()
        with files.explain_disk_errors(self.path):
            self._file.write(data)
        self._digest.update(data)
        self._checks.append(sample_check(wave))
        self._names.add(row.utterance)
        self._rows.append(row)

    def flush(self) -> None:
        """Puts what was added on the disk, so that a journal may say so."""
        with files.explain_disk_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self) -> Corpus:
        """Writes table and manifest, renames the folder to its name, and opens it."""
        self.flush()
        self._file.close()
        samples, speakers = [row.samples for row in self._rows], {row.speaker for row in self._rows}
        manifest = {
            "version": WITH_UNLABELLED if "" in speakers else VERSION,
            "sample_rate": self.sample_rate,
            "utterances": len(self._rows),
            "speakers": len(speakers - {""}),
            "seconds": sum(samples) / self.sample_rate,
            "sha256": content_id(self._digest, self._rows),
        }
        with files.explain_disk_errors(self.path):
            write_table(self.partial / "utterances.parquet", self._rows, self._checks)
            files.write_json(self.partial / "corpus.json", manifest)
            refuse_existing(self.path)
            os.replace(self.partial, self.path)
        return Corpus.open(self.path)

    def abort(self) -> None:
        """Removes what was written so far."""
        self._file.close()
        shutil.rmtree(self.partial, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """A `UserError` if there is anything at `path`, or a file where it needs a folder."""
    require(not path.exists(), f"{path} exists", remedy="remove it, or choose another path")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    require(above.is_dir(), f"{path} cannot be made: {above} is a file", remedy="choose another path")
