"""Speech files → corpus: many processes decode, one writes, in an order that only the names decide.

The same input gives the same corpus whatever the number of processes, and a pack that was killed
goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from distilvox import files
from distilvox.corpus.decode import Decoded, decode, decode_all, start_worker
from distilvox.corpus.journal import Entry, Journal, fingerprint, read_journal
from distilvox.corpus.sources import Item, Source, find
from distilvox.corpus.store import Corpus, CorpusWriter, refuse_existing
from distilvox.corpus.table import Row
from distilvox.errors import UserError, require
from distilvox.locks import alone

_TOGETHER, _TOGETHER_BYTES = 16, 2_000_000  # files, and their size, in a message between processes
_FEW = 64  # below this, starting processes takes longer than decoding
_FLUSH_UTTERANCES, _FLUSH_SECONDS = 100, 2.0
_CLIPPED_SHARE = 1e-3


@dataclass(frozen=True)
class PackReport:
    """What a pack did: utterances packed, (path, reason) of the rejected, ignored files by extension."""

    corpus: Corpus
    packed: int
    rejected: list[tuple[str, str]]
    ignored: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    hours: float = 0.0
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The last line that `distilvox pack` prints, after one line for each note."""
        where = f" (named in {self.corpus.path / 'rejected.tsv'})" if self.rejected else ""
        ignored = "".join(f", {count} {extension}" for extension, count in self.ignored.items())
        lines = [f"note: {note}" for note in self.notes]
        if ignored:
            lines.append(f"ignored {sum(self.ignored.values()):,} files that are no audio: {ignored[2:]}")
        lines.append(
            f"packed {self.packed:,} utterances of {len(self.corpus.speakers):,} speakers, "
            f"{self.hours:.2f} h of speech, in {self.seconds:.0f} s; "
            f"rejected {len(self.rejected):,}{where} -> {self.corpus.path}"
        )
        return "\n".join(lines)


def pack(
    source: Path,
    out: Path,
    *,
    table: Path | None = None,
    where: Sequence[str] = (),
    jobs: int | None = None,
    max_rejected: float = 0.01,
    progress: bool = True,
) -> PackReport:
    """Packs a folder of speech, or the files that a table names, into the corpus `out`.

    Args:
        source: the folder with the audio: speaker/[session/]utterance.ext, or anything a table points to.
        out: the folder to make; must not exist.
        table: a TSV or CSV file with `speaker`, `utterance` (or `path`, `file`), maybe `session` and others.
        where: terms `column=value`; the same column twice means either.
        jobs: processes that decode; all processors by default.
        max_rejected: the largest share of unusable files, in [0, 1], that is put up with.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        UserError: wrong input (exit code 2); too many unusable files, a full disk, another process that packs to
            `out` (exit code 1).
    """
    started = time.monotonic()
    source, out = Path(source), Path(out)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    require(jobs >= 1, "jobs must be at least 1", got=jobs)
    require(0 <= max_rejected <= 1, "the share of rejected files lies in [0, 1]", got=max_rejected)
    refuse_existing(out)
    found = find(source, table=None if table is None else Path(table), where=where)
    with alone(out):
        return _pack(found, source, out, table, where, jobs, max_rejected, progress, started)


def _pack(
    found: Source,
    source: Path,
    out: Path,
    table: Path | None,
    where: Sequence[str],
    jobs: int,
    max_rejected: float,
    progress: bool,
    started: float,
) -> PackReport:
    writer, entries = _write(found, out, {"table": str(table), "where": sorted(where)}, jobs, progress)
    rejected = found.rejected + [
        (item.path, entry.reason)
        for item, entry in zip(found.items, entries, strict=True)
        if entry.reason is not None
    ]
    rejected = sorted((_shown(path, source), reason) for path, reason in rejected)
    packed = len(found.items) + len(found.rejected) - len(rejected)
    if len(rejected) > max_rejected * (packed + len(rejected)):
        raise _too_many(rejected, packed + len(rejected), max_rejected, writer, out)
    with files.explain_disk_errors(out):
        (writer.partial / "journal.jsonl").unlink()
        files.write_text(writer.partial / "rejected.tsv", _listing(rejected))
    corpus = writer.finish()
    return PackReport(
        corpus=corpus,
        packed=packed,
        rejected=rejected,
        ignored=found.ignored,
        seconds=time.monotonic() - started,
        hours=corpus.seconds / 3600,
        notes=_notes(corpus, entries),
    )


def _write(
    found: Source, out: Path, settings: dict[str, object], jobs: int, progress: bool
) -> tuple[CorpusWriter, list[Entry]]:
    """Decodes and writes what an earlier, killed pack has not; returns the fate of every item."""
    partial = out.with_name(out.name + ".partial")
    key = fingerprint(found.items, settings)
    audio = partial / "audio.bin"
    stands = audio.stat().st_size if audio.is_file() else 0
    entries = read_journal(partial / "journal.jsonl", key, found.items, stands)
    done = list(zip(found.items, entries, strict=False))
    kept = [_row(item, entry.samples) for item, entry in done if entry.reason is None]
    writer = CorpusWriter(out, kept=kept)
    flushed = time.monotonic()
    with (
        closing(Journal(partial / "journal.jsonl", key, entries)) as journal,
        _bar(progress) as bar,
        closing(_decode(found.items[len(entries) :], jobs)) as results,
    ):
        task = bar.add_task("packing", total=len(found.items), completed=len(entries))
        for item, result in results:
            if isinstance(result, str):
                entry = Entry(item.utterance, reason=result)
            else:
                wave, clipped = result
                entry = Entry(item.utterance, len(wave), clipped)
                writer.append(_row(item, len(wave)), wave)
            entries.append(entry)
            journal.add(entry)
            bar.advance(task)
            if len(journal) >= _FLUSH_UTTERANCES or time.monotonic() - flushed > _FLUSH_SECONDS:
                writer.flush()
                journal.flush()
                flushed = time.monotonic()
    return writer, entries


def _decode(items: Sequence[Item], jobs: int) -> Generator[tuple[Item, Decoded], None, None]:
    """Decodes in the order of the items, a bounded number ahead of the writer."""
    if jobs == 1 or len(items) < _FEW:
        yield from ((item, decode(item.path)) for item in items)
        return
    groups = deque(_grouped(items))
    running: deque[tuple[list[Item], Future[list[Decoded]]]] = deque()
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        while groups or running:
            while groups and len(running) < 4 * jobs:
                group = groups.popleft()
                running.append((group, pool.submit(decode_all, [item.path for item in group])))
            group, future = running.popleft()
            yield from zip(group, future.result(), strict=True)
    except BrokenProcessPool:
        raise UserError(
            "a decoding process ended unexpectedly: killed, out of memory, or started by a script "
            'that lacks `if __name__ == "__main__":`',
            remedy="run the same command again: it goes on from here; with --jobs 1 it needs no processes",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _grouped(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Many short files or one long one: what waits for the writer must fit into memory."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == _TOGETHER or size + item.size > _TOGETHER_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.size
    if group:
        yield group


def _bar(progress: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (progress and console.is_terminal))


def _row(item: Item, samples: int) -> Row:
    return Row(item.utterance, item.speaker, item.session, samples, item.columns)


def _shown(path: str, source: Path) -> str:
    """The path relative to the source where it lies in it, with nothing that breaks a table's line."""
    shown = str(Path(path).relative_to(source)) if Path(path).is_relative_to(source) else path
    shown = shown.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def _listing(rejected: Sequence[tuple[str, str]]) -> str:
    return "path\treason\n" + "".join(f"{path}\t{reason}\n" for path, reason in rejected)


def _too_many(
    rejected: Sequence[tuple[str, str]], total: int, allowed: float, writer: CorpusWriter, out: Path
) -> UserError:
    """Leaves the list of rejected files beside `out`, and nothing else."""
    writer.abort()
    listing = out.with_name(out.name + ".rejected.tsv")
    files.write_text(listing, _listing(rejected))
    first = "".join(f"\n             {path}: {reason}" for path, reason in rejected[:5])
    more = f"\n             and {len(rejected) - 5:,} more" if len(rejected) > 5 else ""
    return UserError(
        f"too many files cannot be used: {len(rejected):,} of {total:,} ({len(rejected) / total:.1%}); "
        f"nothing was packed",
        got=first.lstrip() + more,
        allowed=f"{allowed:.1%} (--max-rejected {allowed:g})",
        remedy=f"see {listing} for all of them; mend them, or raise --max-rejected",
        exit_code=1,
    )


def _notes(corpus: Corpus, entries: Sequence[Entry]) -> list[str]:
    notes = []
    clipped = sum(entry.clipped for entry in entries)
    share = clipped / max(1, int(corpus.samples.sum()))
    if share > _CLIPPED_SHARE:
        notes.append(f"{share:.2%} of the samples were beyond full scale and have been clipped")
    if len(corpus.speakers) == 1 and len({session.split("/")[0] for session in corpus.sessions}) > 1:
        name = corpus.speakers[0]
        notes.append(f"there is one speaker only, {name!r}: if that folder holds speakers, pack SRC/{name}")
    return notes
