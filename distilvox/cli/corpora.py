"""pack, synth, corpus: from files to a corpus, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from distilvox.console import out, print_json, say
from distilvox.corpus.describe import describe, render
from distilvox.corpus.licence import state_licence
from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.limits import check_seed
from distilvox.locks import alone


def pack(
    paths: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="SRC... OUT", help_behavior_hint="(two or more)")
    ],
    /,
    table: Path | None = None,
    where: UseAppendAction[tuple[tuple[str, ...], ...]] = (),
    unlabelled: bool = False,
    format: str | None = None,
    jobs: int | None = None,
    max_rejected: float = 0.01,
    licence: str = "",
) -> None:
    """Pack speech files into a corpus: one memory-mapped store that any number of processes read.

    Any format and rate that libsndfile reads; resampled to 16 kHz mono. A file that cannot be used is
    written to OUT/rejected.tsv with its reason and counted on the last line. A killed run resumes when the
    same command is given again. Besides folders and tables: Kaldi's data folders, Lhotse's cut sets, WeSpeaker's
    raw.list, NeMo's manifests, SpeechBrain's CSV, Hugging Face's audio folders, Common Voice's TSV.

    Examples:
        distilvox pack speech/ corpus/
        distilvox pack chorus/ train/ --table chorus/utterances.tsv --where split=train
        distilvox pack podcasts/ speech/ --unlabelled
        distilvox pack kaldi/data/train cuts.jsonl.gz cv/train.tsv all/

    Args:
        paths: what to pack, and last the corpus folder to write. A source is a folder `speaker/[session/]utterance.*`,
            or that which the table's names are relative to; or has another form (docs/inputs.md). Several make one.
        table: a TSV or CSV with the columns `utterance` (or `path`) and `speaker`; other columns are kept.
        where: `column=value` keeps such rows of the table; another column must hold too, the same one may.
        unlabelled: nobody knows who speaks in the files of the folder, or in some rows of the table: speech to distil
            on, without cross entropy. Files of one folder count as one recording, unless all lie in one.
        format: of the sources: folder, table, kaldi, lhotse, wespeaker, nemo, speechbrain; what they look like if not
            given.
        jobs: processes; all cores if not given.
        max_rejected: the share of files that may be rejected before the whole is refused (exit code 1).
        licence: of the speech, such as CC-BY-4.0; it travels into runs and cards.
    """
    from distilvox.corpus.pack import pack as pack_corpus

    require(
        len(paths) >= 2,
        "pack needs what to pack, and the corpus folder to write",
        got=" ".join(map(str, paths)) or "neither",
        remedy="distilvox pack SRC OUT",
    )
    *source, out_ = paths
    terms = [term for group in where for term in group]
    report = pack_corpus(
        source, out_, table=table, where=terms, unlabelled=unlabelled, form=format, jobs=jobs,
        max_rejected=max_rejected,
    )  # fmt: skip
    if licence:
        state_licence(out_, licence)
    say(report.summary())


def synth(
    out_: Annotated[Positional[Path], arg(name="out", metavar="OUT")],
    /,
    speakers: int = 200,
    utterances: int = 20,
    seed: int = 0,
    first: int = 0,
    jobs: int | None = None,
) -> None:
    """Make a corpus of synthetic speakers with eSpeak NG: drawn voices, channels and sentences.

    The voices are synthetic: good for a first run and for experiments in the number of speakers, no
    substitute for real speech.

    Examples:
        distilvox synth train/ --speakers 200 --utterances 20
        distilvox synth dev/ --speakers 50 --utterances 20 --first 200

    Args:
        out_: the corpus folder to write.
        speakers: how many voices.
        utterances: sentences of each.
        seed: the same seed makes the same corpus, and more speakers keep the earlier ones.
        first: number of the first speaker; ranges that do not overlap share no voice.
        jobs: processes; all cores if not given.
    """
    from distilvox.corpus.synthetic import synthesise

    synthesise(out_, speakers=speakers, utterances=utterances, seed=seed, first=first, jobs=jobs)
    corpus(out_)


def corpus(
    path: Annotated[Positional[Path], arg(metavar="CORPUS")],
    /,
    verify: bool = False,
    licence: str = "",
    json: bool = False,
) -> None:
    """Print what is in a corpus: speakers, hours, utterances of a speaker, durations.

    Whenever a corpus is opened, by any verb, its sizes and a few utterances are checked; --verify checks all of it.

    Examples:
        distilvox corpus train/
        distilvox corpus train/ --verify
        distilvox corpus train/ --json | jq .hours
        distilvox corpus train/ --licence CC-BY-4.0

    Args:
        path: a folder that `distilvox pack` or `distilvox synth` made.
        verify: read every sample and every row, and compare their sha256 with the one in corpus.json.
        licence: state it in the corpus first; it travels into runs and cards, and changes nothing else.
        json: print it as JSON on stdout.
    """
    opened = state_licence(path, licence) if licence else Corpus.open(path)
    description = describe(opened)
    if verify:
        opened.verify()
        say(f"{path}: every sample and every row is as it was packed (sha256 {opened.id})")
    if json:
        print_json(description)
    else:
        out.print(render(description))


def trials(
    corpus: Annotated[Positional[Path], arg(metavar="CORPUS")],
    out_: Annotated[Positional[Path], arg(name="out", metavar="OUT")],
    /,
    target: int = 2_000,
    non_target: int = 20_000,
    match: tuple[str, ...] = (),
    seed: int = 0,
) -> None:
    """Draw a trial list from a corpus: pairs of one speaker (across sessions first) and of two speakers.

    The speaker is drawn first, then the pair: a speaker of many utterances weighs as much as one of few, as far as it
    has pairs. Use it on speakers that are kept out of training.

    Examples:
        distilvox trials dev/ dev.txt --target 2000 --non-target 20000
        distilvox trials dev/ hard.txt --match gender language

    Args:
        corpus: a corpus of two speakers or more.
        out_: the list to write, in VoxCeleb's form `label enrol test`.
        target: the most same-speaker trials.
        non_target: the most different-speaker trials.
        match: columns of the corpus, such as gender, that the speakers of a different-speaker trial share.
        seed: of the draw.
    """
    from distilvox.corpus.pairs import draw_trials

    check_seed(seed, what="--seed")
    with alone(out_):
        opened = Corpus.open(corpus)
        drawn = draw_trials(opened, out_, target=target, non_target=non_target, match=match, seed=seed)
    say(
        f"{out_}: {drawn.trials:,} trials, {drawn.targets:,} of them target trials of {drawn.speakers:,} speakers"
    )
    if drawn.one_session:
        say(
            f"note: {drawn.one_session:,} target trials compare two utterances of one session: easier than most"
        )
