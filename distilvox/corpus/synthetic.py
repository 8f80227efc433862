"""A corpus of synthetic speakers: no download, any size, the same bits for the same seed.

How hard it is. The GE2E encoder of the Resemblyzer 0.1.4 wheel (40 power mels of 25/10 ms frames, last
state of the LSTM over the whole utterance, plain cosine) on 60 speakers x 8 utterances, every same-speaker
pair against 4,000 random other pairs: EER 13.0 % for seed 0, 14.5 % for seed 1; against all other pairs,
same-session targets gave 8.0 and 8.5 %, cross-session ones 15.6 and 16.9 %. What training on it can reach
at least: LDA of mean and spread of 40 log mels, fitted on 140 speakers, gave 5.6 % on 60 others (seed 5).
With sessions that differed in channel only, the same figures were 8.9, 7.8 and 1.2 %: too easy to learn.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from distilvox import console
from distilvox.corpus.decode import start_worker
from distilvox.corpus.espeak import VOICES_PER_PROCESS, require_engine
from distilvox.corpus.speaking import Utterance, render
from distilvox.corpus.store import Corpus, CorpusWriter, refuse_existing
from distilvox.errors import UserError, require
from distilvox.limits import check_limit, check_seed
from distilvox.locks import alone

_TOGETHER = 5  # speakers a message between processes
_FEW = 64  # utterances; below this, starting processes takes longer than speaking


def synthesise(
    out: Path,
    *,
    speakers: int,
    utterances: int,
    seed: int,
    first: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> Corpus:
    """Makes a corpus of synthetic speakers with eSpeak NG; extra columns `language` and `pitch` (Hz).

    Speakers are `synth0000`, `synth0001` …, each with two or three sessions `s0`, `s1` …; utterances, 2 to
    5 s long at 16 kHz, are `synth0000/s0/00` …, dealt to the sessions in turn.

    The same seed gives the same bits whatever the number of processes, and asking for more speakers or
    more utterances leaves the earlier ones as they were. That holds for one version of eSpeak NG, NumPy and
    soxr on one kind of processor: another may round a sample differently.

    Args:
        out: the folder to make; must not exist.
        speakers: C ≥ 1.
        utterances: of each speaker, ≥ 1.
        seed: ≥ 0.
        first: number of the first speaker, ≥ 0: ranges that do not overlap share no voice.
        jobs: processes, ≥ 1; all processors by default.
        progress: draw a bar, if standard error is a terminal.

    Raises:
        UserError: a number out of range, something at `out`, no eSpeak NG, a full disk, another process at it.
    """
    out = Path(out)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    for name, value, least in (
        ("speakers", speakers, 1),
        ("utterances", utterances, 1),
        ("seed", seed, 0),
        ("first", first, 0),
        ("jobs", jobs, 1),
    ):
        require(value >= least, f"{name} is too small", got=value, allowed=f"{name} ≥ {least}")
    check_seed(seed, what="--seed")
    check_limit("jobs", jobs, what="--jobs")
    refuse_existing(out)
    require_engine()
    with alone(out):
        return _synthesise(out, speakers, utterances, seed, first, jobs, progress)


def _synthesise(
    out: Path, speakers: int, utterances: int, seed: int, first: int, jobs: int, progress: bool
) -> Corpus:
    writer = CorpusWriter(out)
    try:
        with (
            console.progress(enabled=progress) as bar,
            closing(_render_all(range(first, first + speakers), utterances, seed, jobs)) as made,
        ):
            task = bar.add_task("speaking", total=speakers * utterances, note="")
            for item in made:
                writer.add(
                    item.name,
                    item.speaker,
                    item.session,
                    item.wave,
                    language=item.language,
                    pitch=item.pitch,
                )
                bar.advance(task)
        return writer.finish()
    except BaseException:
        writer.abort()
        raise


def _render_all(speakers: range, utterances: int, seed: int, jobs: int) -> Generator[Utterance, None, None]:
    """All utterances in order, a bounded number ahead of the writer; fresh processes every round."""
    if len(speakers) * utterances < _FEW or (jobs == 1 and len(speakers) <= VOICES_PER_PROCESS):
        for speaker in speakers:
            yield from render(seed, [speaker], utterances)
        return
    size = jobs * VOICES_PER_PROCESS
    for start in range(0, len(speakers), size):
        yield from _render_round(speakers[start : start + size], utterances, seed, jobs)


def _render_round(speakers: range, utterances: int, seed: int, jobs: int) -> Generator[Utterance, None, None]:
    groups = deque(speakers[at : at + _TOGETHER] for at in range(0, len(speakers), _TOGETHER))
    running: deque[Future[list[Utterance]]] = deque()
    pool = ProcessPoolExecutor(
        min(jobs, len(groups)), mp_context=get_context("spawn"), initializer=start_worker
    )
    try:
        while groups or running:
            while groups and len(running) < 3 * jobs:
                running.append(pool.submit(render, seed, groups.popleft(), utterances))
            yield from running.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a speaking process ended unexpectedly: killed, out of memory, or started by a script "
            'that lacks `if __name__ == "__main__":`',
            remedy="run it again with fewer --jobs",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
