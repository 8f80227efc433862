"""export, embed, verify: what ships, and what runs where it ships. `embed` and `verify` load no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from distilvox.console import err, out, progress, say
from distilvox.errors import UserError, require
from distilvox.ship.ready import bundle_of

Precision = Literal["float32", "int8"]


def export(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    bundle: Annotated[Positional[Path], arg(metavar="BUNDLE")],
    /,
    *,
    false_accept: float = 0.01,
    corpus: Path | None = None,
    trials: Path | None = None,
    trials_corpus: Path | None = None,
    force: bool = False,
) -> None:
    """Export a run to a bundle: ONNX models, weights, a card that says how good it is, a README.

    The ONNX models are compared with PyTorch at lengths that they were not exported with before the bundle
    gets its name. If the run was judged on trials, the bundle gets a threshold, and the false-accept and miss
    rates that such a threshold has on speakers that had no part in choosing it.

    With --trials the int8 model is held to the float32 one on them: an EER more than 3 % larger (relative), more than
    3 % of the decisions on target trials turned at the threshold, or more than 0.5 % of the others, and nothing is
    shipped without --force. The card states the figures.

    Example:
        distilvox export runs/student bundle/ && distilvox verify bundle/ a.wav b.wav

    Args:
        run: a run folder.
        bundle: the folder to write.
        false_accept: the rate of false accepts that the threshold is set for, a fraction.
        corpus: its speech sets the ranges of the int8 model, and of the lengths of embeddings beyond which verify sees
            no speech; the run's own if not given, else synthetic sound and no such range.
        trials: a list on which the int8 model must be as good as the float32 one.
        trials_corpus: the corpus that holds the trials' utterances.
        force: replace an existing bundle, and ship an int8 model that lost too much.
    """
    from distilvox.corpus.store import Corpus
    from distilvox.models.runfolder import read_config
    from distilvox.ship.export import export as export_run
    from distilvox.ship.operating import TooFewTrials, operating_point
    from distilvox.ship.readme import lowered_line

    require(
        (trials is None) == (trials_corpus is None),
        "--trials and --trials-corpus go together",
        remedy="give both",
    )
    config = read_config(run)
    point = None
    if (run / "evaluation.json").exists():
        try:
            point = operating_point(run, false_accept)
        except TooFewTrials as error:
            say(f"no threshold, the bundle decides nothing by itself: {error}")
    else:
        say("no threshold: the run was not judged on trials, so the bundle decides nothing by itself")
    own = config.get("corpus", {}).get("path")  # an imported run knows of none
    source = corpus or (Path(own) if own else None)
    speech = None
    if source is not None and (corpus is not None or (source / "corpus.json").exists()):
        held = Corpus.open(source)
        speech = [
            held.wave(k).astype("float32") / 32768 for k in range(0, len(held), max(1, len(held) // 32))
        ]
    else:
        why = f"{source} is gone" if source else "the run has no corpus"
        say(f"int8: {why}, so synthetic sound sets the ranges; give --corpus for better ones")
    judge = None
    if trials is not None and trials_corpus is not None:
        from distilvox.evaluation.judge import Judge

        judge = Judge.open(trials_corpus, trials)
    with err.status("exporting and comparing with PyTorch"):
        card = export_run(run, bundle, operating_point=point, calibration=speech, judge=judge, force=force)
    for name, file in card.files.items():
        say(f"  {name:<20} {file['bytes'] / 1000:9,.1f} kB")
    if card.operating_point is not None:
        say(f"  threshold {card.operating_point.threshold:.4f} for {false_accept:.2%} false accepts")
    if (judged := card.int8.get("judged")) is not None:
        say(f"  {lowered_line(judged)}")
    say(f"{bundle} is ready: distilvox verify {bundle} A.wav B.wav")


def embed(
    bundle: Annotated[Positional[Path], arg(metavar="BUNDLE|FILE")],
    files: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="[FILE...]", help_behavior_hint="(any number)")
    ] = (),
    /,
    *,
    model: Path | None = None,
    precision: Precision = "float32",
    out_folder: Path | None = None,
    threads: int = 1,
    force: bool = False,
) -> None:
    """Embed speech files; one JSON line a file on stdout, without torch.

    The first word may be a bundle; if it is a file, the student that comes with the package embeds.

    A file that cannot be used, or that seems to hold no speech, gets a line with its `error`, and the exit code is
    then 1.

    Examples:
        distilvox embed anna.wav bert.flac > embeddings.jsonl
        distilvox embed bundle/ enrolled/*.wav --out-folder enrolled/ > /dev/null

    Args:
        bundle: a folder that `distilvox export` made, or the first file.
        files: speech files, any format and rate that libsndfile reads.
        model: a bundle or a ready student's name, where the words are files alone.
        precision: float32, or int8 (smaller).
        out_folder: also write each embedding to OUT-FOLDER/<name>.npz, for `distilvox verify`; where two files have
            one name, their folders go before it.
        threads: CPU threads.
        force: embed also what is too short, faint or clipped, or seems to be no speech; its line has the `refusal`.
    """
    import json
    from contextlib import nullcontext

    from distilvox.locks import alone
    from distilvox.ship.runtime import Verifier
    from distilvox.ship.verify import embed_files, embedding_names

    lone = bundle.is_file() or model is not None  # no bundle stands before the files
    source, files = (model, (bundle, *files)) if lone else (bundle, files)
    require(bool(files), "nothing to embed", allowed="one or more files")
    names = embedding_names(files) if out_folder is not None else {}
    failed = 0
    with nullcontext() if out_folder is None else alone(out_folder, inside=True), progress() as bar:
        verifier = Verifier.load(bundle_of(source), threads=threads, precision=precision)
        task = bar.add_task("embedding", total=len(files), note="")
        for item in embed_files(verifier, files, force=force):
            bar.advance(task)
            if item.embedding is None:
                failed += 1
                print(json.dumps({"file": str(item.path), "error": item.error}))  # noqa: T201
                continue
            vector = [round(float(x), 7) for x in item.embedding]
            figures = item.quality.to_json() if item.quality else {}
            notes: dict[str, object] = {"notes": item.notes} if item.notes else {}
            notes |= {"refusal": item.refusal} if item.refusal else {}
            print(json.dumps({"file": str(item.path), "embedding": vector, "quality": figures, **notes}))  # noqa: T201
            if out_folder is not None:
                stored = out_folder / names[item.path]
                verifier.save_embedding(stored, item.embedding, figures.get("seconds"))
    if failed:
        raise UserError(f"{failed} of {len(files)} files could not be used; their lines say why", exit_code=1)


def verify(
    bundle: Annotated[Positional[Path], arg(metavar="[BUNDLE]|BOOK")],
    a: Annotated[Positional[Path], arg(metavar="A")],
    b: Annotated[Positional[Path | None], arg(metavar="B")] = None,
    /,
    *,
    as_: Annotated[str | None, arg(name="as")] = None,
    model: Path | None = None,
    threshold: float | None = None,
    false_accept: float | None = None,
    precision: Precision | None = None,
    journal: bool = False,
    force: bool = False,
    json: bool = False,
) -> None:
    """Do two files hold the same speaker? Prints the score, the threshold and the decision, without torch.

    The decision states the false-accept rate that its threshold was set for and the trials this rests on.
    Exit code 0 for accept, 3 for reject, 4 where the bundle has no threshold, 2 for a file that cannot be used: too
    little speech, too faint, clipped, or none at all.

    Two files alone are compared by the student that comes with the package, or by --model's.
    With --as NAME the words are BOOK FILE: is the file of the person who is enrolled under this name?

    Examples:
        distilvox verify anna.wav unknown.wav
        distilvox verify bundle/ anna.wav unknown.wav
        distilvox verify bundle/ enrolled/anna.npz unknown.wav --json
        distilvox verify --as Anna people.book unknown.wav

    Args:
        bundle: a folder that `distilvox export` made, or the first file; with --as, a book that `distilvox enrol` made.
        a: a speech file, or an embedding that `distilvox embed --out-folder` wrote.
        b: the other one; none with --as.
        as_: the name of an enrolled person.
        model: a bundle or a ready student's name, where the words are two files; with --as: the bundle, where it is
            not the one that the book was last used with.
        threshold: accept scores above this cosine, instead of the bundle's own threshold.
        false_accept: take the threshold that was set for this share of false accepts, such as 0.001.
        precision: float32 (if not given), or int8 (smaller); a book knows its own.
        journal: with --as: keep the decision in the book.
        force: decide on files that would be refused; the decision says so.
        json: print JSON on stdout.
    """
    from distilvox.ship.verify import verify_files

    if as_ is not None:
        from distilvox.ship.enrolment import verify_person

        require(b is None, "with --as, the words are BOOK FILE", got=f"three words, the last {b}")
        require(
            precision is None, "a book knows its own precision", got=precision, remedy="leave out --precision"
        )
        decision = verify_person(
            bundle,
            as_,
            a,
            model=model,
            threshold=threshold,
            false_accept=false_accept,
            keep=journal,
            force=force,
        )
    else:
        require(not journal, "--journal goes with --as NAME", remedy="leave it out")
        if b is None:
            require(
                not bundle.is_dir(), "verify compares two files", got=f"one, with {bundle}",
                remedy="give A B, BUNDLE A B, or --as NAME BOOK FILE",
            )  # fmt: skip
            source, first, second = model, bundle, a
        else:
            require(
                model is None,
                "three words name the bundle already",
                got="--model too",
                remedy="leave one out",
            )
            source, first, second = bundle, a, b
        decision = verify_files(
            bundle_of(source),
            first,
            second,
            threshold=threshold,
            false_accept=false_accept,
            precision=precision or "float32",
            force=force,
        )
    if json:
        print(decision.to_json())  # noqa: T201 (machine output)
    else:
        out.print(str(decision), highlight=False, markup=False)
    if decision.accept is not True:
        sys.exit(4 if decision.accept is None else 3)
