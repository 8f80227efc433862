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
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from distilvox import files
from distilvox.corpus.decode import Decoded, decode, decode_all, start_worker
from distilvox.corpus.gather import gather
from distilvox.corpus.journal import Entry, Journal, fingerprint, read_journal
from distilvox.corpus.outcome import PackReport, counted, listing, of_nobody, of_speakers, refusal, shown
from distilvox.corpus.sources import Item, Source
from distilvox.corpus.store import CorpusWriter, refuse_existing
from distilvox.corpus.table import Row
from distilvox.errors import UserError, require
from distilvox.locks import alone

_TOGETHER, _TOGETHER_BYTES = 16, 2_000_000  # files, and their size, in a message between processes
_FEW = 64  # below this, starting processes takes longer than decoding
_FLUSH_UTTERANCES, _FLUSH_SECONDS = 100, 2.0
_WAITING_BYTES = 1 << 28  # of files whose samples may wait for the writer


def pack(
    source: Path | Sequence[Path],
    out: Path,
    *,
    table: Path | None = None,
    where: Sequence[str] = (),
    unlabelled: bool = False,
    form: str | None = None,
    jobs: int | None = None,
    max_rejected: float = 0.01,
    progress: bool = True,
) -> PackReport:
    """Packs a folder of speech, or the files that a table names, into the corpus `out`.

    Args:
        source: the folder with the audio: speaker/[session/]utterance.ext, or anything a table points to; or a list or
            data folder of another form (`gather`); or several.
        out: the folder to make; must not exist.
        table: a TSV or CSV file with `speaker`, `utterance` (or `path`, `file`), maybe `session` and others.
        where: terms `column=value`; the same column twice means either.
        unlabelled: a folder's files have no speakers, and a table's rows need none.
        form: one of `gather.FORMATS`; by default each source is what it looks like.
        jobs: processes that decode; all processors by default.
        max_rejected: the largest share of unusable files, in [0, 1], that is put up with.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        UserError: wrong input (exit code 2); too many unusable files, a full disk, another process that packs to
            `out` (exit code 1).
    """
    started = time.monotonic()
    sources = [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]
    out = Path(out)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    require(jobs >= 1, "jobs must be at least 1", got=jobs)
    require(0 <= max_rejected <= 1, "the share of rejected files lies in [0, 1]", got=max_rejected)
    refuse_existing(out)
    found = gather(
        sources, table=None if table is None else Path(table), where=where, unlabelled=unlabelled, form=form
    )
    settings = {"table": str(table), "where": sorted(where), **({"unlabelled": True} if unlabelled else {})}
    with alone(out):
        return _pack(found, sources, out, settings, jobs, max_rejected, progress, started)


def _pack(
    found: Source,
    sources: Sequence[Path],
    out: Path,
    settings: dict[str, object],
    jobs: int,
    max_rejected: float,
    progress: bool,
    started: float,
) -> PackReport:
    writer, entries = _write(found, out, settings, jobs, progress)
    fates = list(zip(found.items, entries, strict=True))
    rejected = found.rejected + [(item.path, e.reason) for item, e in fates if e.reason is not None]
    rejected = shown(rejected, sources)
    notes = shown(found.notes + [(item.path, note) for item, entry in fates for note in entry.notes], sources)
    packed = len(found.items) + len(found.rejected) - len(rejected)
    if not packed or len(rejected) > max_rejected * (packed + len(rejected)):
        writer.abort()
        raise refusal(rejected, packed, max_rejected, out)
    with files.explain_disk_errors(out):
        (writer.partial / "journal.jsonl").unlink()
        files.write_text(writer.partial / "rejected.tsv", listing(rejected, "reason"))
        if notes:
            files.write_text(writer.partial / "notes.tsv", listing(notes, "note"))
    corpus = writer.finish()
    return PackReport(
        corpus=corpus,
        packed=packed,
        rejected=rejected,
        ignored=found.ignored,
        seconds=time.monotonic() - started,
        hours=corpus.seconds / 3600,
        notes=[*counted(notes), *of_speakers(corpus), *of_nobody(corpus)],
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
    writer = CorpusWriter(out, kept=kept, unlabelled="unlabelled" in settings)
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
                entry = Entry(item.utterance, len(result.wave), result.notes)
                writer.append(_row(item, len(result.wave)), result.wave)
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
        yield from ((item, decode((item.path, item.span))) for item in items)
        return
    groups = deque(_grouped(items))
    running: deque[tuple[list[Item], Future[list[Decoded]]]] = deque()
    waiting = 0  # bytes of the files that are being read, or were and wait
    pool = _pool(jobs)
    try:
        while groups or running:
            while groups and (not running or (len(running) < 4 * jobs and waiting < _WAITING_BYTES)):
                group = groups.popleft()
                waiting += sum(item.size for item in group)
                running.append((group, pool.submit(decode_all, [(item.path, item.span) for item in group])))
            group, future = running.popleft()
            waiting -= sum(item.size for item in group)
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


def _pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that decode; a system without room for their locks (a full /dev/shm) is an error with a remedy."""
    try:
        return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=start_worker)
    except OSError as error:
        raise UserError(
            f"no processes can be started: {error.strerror}",
            remedy="free some space in /dev/shm, or decode in this process: --jobs 1",
            exit_code=1,
        ) from error


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
