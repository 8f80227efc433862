"""evaluate, study, report: how good it is, compared with what, and shown."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distilvox.cli.conditions import conditions_table, judge_conditions
from distilvox.cli.embedding import (
    Precision,
    cohort_means,
    embed_trials,
    embedder_or_centred,
    refuse_trial_speakers,
)
from distilvox.console import out as console
from distilvox.console import print_json, say
from distilvox.corpus.store import Corpus
from distilvox.errors import require
from distilvox.evaluation.evaluate import CENTRED, RAW
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.norm import TOP
from distilvox.train.distributed import pick_device


def evaluate(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    /,
    *,
    corpus: Path,
    trials: Path,
    centre_corpus: Path | None = None,
    cohort: Path | None = None,
    cohort_top: int = TOP,
    teacher: str | None = None,
    conditions: bool = False,
    noise: Path | None = None,
    rooms: Path | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    replicates: int = 1000,
    force: bool = False,
    json: bool = False,
) -> None:
    """EER and minDCF of a model on a trial list, with confidence intervals over the speakers.

    Whole utterances, raw cosine; or, with --centre-corpus, the cosine after the mean embedding of other speech
    is taken off, which suits a teacher whose embeddings fill only a cone. With --cohort, scores are normalised
    (AS-norm). With --teacher, also how alike the model and that teacher are. With --conditions, the same trials once
    more in noise, in rooms, through codecs and cut short, in one table. Nothing is tuned on the trials.

    Examples:
        distilvox evaluate runs/student --corpus dev/ --trials dev.txt
        distilvox evaluate runs/student --corpus dev/ --trials dev.txt --cohort train/
        distilvox evaluate bundle/ --corpus dev/ --trials dev.txt --precision int8 --json
        distilvox evaluate runs/student --corpus dev/ --trials dev.txt --teacher ge2e:
        distilvox evaluate ge2e: --corpus dev/ --trials dev.txt
        distilvox evaluate bundle/ --corpus dev/ --trials dev.txt --conditions --noise noise/ --rooms rooms/
        distilvox evaluate ge2e:,run:runs/big --corpus dev/ --trials dev.txt --centre-corpus train/

    Args:
        model: a run folder, a bundle, or a teacher's URI (`ge2e:`, `run:FOLDER`; several with commas).
        corpus: the corpus that holds the trials' utterances.
        trials: a list `label enrol test` (VoxCeleb) or `enrol test target|nontarget` (Kaldi).
        centre_corpus: training speech of other speakers, whose mean embedding is taken off; cached beside it. That of
            --teacher too, where a training on this speech takes it off.
        cohort: training speech of other speakers, for AS-norm: one mean embedding a speaker.
        cohort_top: how many of the cohort's speakers, the nearest ones, normalise a score.
        teacher: a teacher's URI (or a run folder), to compare the model with: their embeddings' cosine once
            aligned, their scores' rank correlation, the nearest neighbours they share.
        conditions: judge under every condition, both sides of a trial; each utterance draws its own noise and room.
        noise: with --conditions: a folder of noises to mix in; synthetic noises if not given.
        rooms: with --conditions: a folder of room impulse responses; synthetic rooms if not given.
        device: auto, cpu, cuda, cuda:N; a bundle runs on the CPU.
        precision: float32 or int8, for a bundle.
        replicates: resamples of the speakers for the confidence interval.
        force: judge even where the model was trained on speakers of the trials, by their names.
        json: print JSON on stdout; rates are fractions.
    """
    if conditions:
        given = [name for name, value in (("--cohort", cohort), ("--teacher", teacher)) if value is not None]
        require(not given, f"--conditions goes without {' and '.join(given)}", remedy="judge twice")
    require(conditions or (noise is None and rooms is None), "--noise and --rooms go with --conditions")
    judge = Judge.open(corpus, trials)
    where = pick_device(device)
    for path in (centre_corpus, cohort):
        if path is not None:
            refuse_trial_speakers(judge, Corpus.open(path))
    training = None if centre_corpus is None else Corpus.open(centre_corpus)
    if force:
        say("--force: speakers of the trials may be those of the training, and the EER then flatters")
    strict = None if force else judge
    embed = embedder_or_centred(model, where, training, strict, precision)
    if conditions:
        found = judge_conditions(judge, model, embed, where, noise=noise, rooms=rooms, replicates=replicates)
        if json:
            print_json({"model": model, "conditions": {name: one.to_json() for name, one in found.items()}})
        else:
            console.print(conditions_table(model, found))
        return
    guide = (
        None
        if teacher is None
        else (teacher, embedder_or_centred(teacher, where, training, strict, centre="auto"))
    )
    embeddings = embed_trials(judge, model, embed, where)
    others = None if cohort is None else cohort_means(embed, Corpus.open(cohort), where)
    taught = None if guide is None else embed_trials(judge, *guide, where)
    result = judge.judge(embeddings, teacher=taught, cohort=others, top=cohort_top, replicates=replicates)
    if centre_corpus is not None:
        result = replace(result, scoring=result.scoring.replace(RAW, CENTRED))
    if json:
        print_json({"model": model, **({"teacher": teacher} if teacher else {}), **result.to_json()})
        return
    low, high = result.eer_ci
    rows = [
        ("EER", f"{result.eer:.2%}   95 % interval over speakers: {low:.2%} – {high:.2%}"),
        *((f"minDCF {prior}", f"{cost:.3f}") for prior, cost in result.min_dcf.items()),
        ("trials", f"{result.trials:,}, of which {result.target_trials:,} target"),
        ("speakers", f"{result.speakers:,}"),
    ]
    if result.repeated_trials:
        rows.append(("repeated", f"{result.repeated_trials:,} of the trials: they count each time"))
    if result.agreement is not None:
        rows.append(("agreement", f"with {teacher}: {result.agreement.render()}"))
    lines = [
        f"{model} on {result.trial_list}, {result.scoring}",
        *(f"  {name:<13}{text}" for name, text in rows),
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def study(
    recipe: Annotated[Positional[Path], arg(metavar="RECIPE")],
    /,
    *,
    corpus: Path,
    trials: Path,
    trials_corpus: Path,
    out: Path,
    noise: Path | None = None,
    rooms: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    json: bool = False,
) -> None:
    """Run a recipe: methods × seeds on equal terms, then the table that compares them.

    Every run has its own folder in OUT; finished runs are skipped, begun ones resumed. Each is judged by its raw
    cosine and with AS-norm, and compared with its teacher. OUT/study.json and OUT/study.md hold the result: mean
    and spread over seeds, and paired intervals over speakers and seeds.

    Example:
        distilvox study recipes/objectives.yaml --corpus train/ --trials dev.txt \\
            --trials-corpus dev/ --out study/

    Args:
        recipe: a YAML file; see recipes/ for examples.
        corpus: the training speakers.
        trials: a trial list of other speakers.
        trials_corpus: the corpus that holds the trials' utterances.
        out: the folder of all runs.
        noise: a folder of noises to mix in; synthetic noises if not given.
        rooms: a folder of room impulse responses; synthetic rooms if not given.
        cache: where the teacher's embeddings are kept; beside the corpus if not given.
        device: auto, cpu, cuda, cuda:N.
        jobs: runs at a time; on a CPU as many as it has cores is fastest.
        json: print the result as JSON on stdout.
    """
    from distilvox.files import write_json, write_text
    from distilvox.locks import alone
    from distilvox.study.compare import compare, markdown, render
    from distilvox.study.grid import run_grid
    from distilvox.study.judging import judge_grid
    from distilvox.study.origin import origin
    from distilvox.study.recipe import read_recipe
    from distilvox.views.bank import load_bank

    read = read_recipe(recipe)
    with alone(out, inside=True):
        run_grid(
            read, out, corpus=corpus, trials=trials, trials_corpus=trials_corpus,
            bank=partial(load_bank, noise, rooms),
            device=device, cache=cache, jobs=jobs, say=say,
        )  # fmt: skip
        judge_grid(
            read, out, corpus=corpus, trials=trials, trials_corpus=trials_corpus, device=device, cache=cache,
            bank=partial(load_bank, noise, rooms), jobs=jobs, say=say,
        )  # fmt: skip
        result = {**compare(read, out), "origin": origin(read, out, recipe)}
        write_json(out / "study.json", result)
        write_text(out / "study.md", markdown(result))
    if json:
        print_json(result)
    else:
        console.print(render(result))


def report(
    runs: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="RUN|STUDY...", help_behavior_hint="(one or more)")
    ],
    /,
    *,
    out: Path,
    title: str | None = None,
    note: tuple[str, ...] = (),
    latency: bool = False,
) -> None:
    """One self-contained HTML page: error rates, DET curves, learning curves, the speaker count, sizes, sources.

    Runs that only the seed tells apart are shown as one method, with their mean and spread. Where the runs are
    a study's, its comparison (study.json beside them) is shown too.

    Examples:
        distilvox report runs/student --out report.html
        distilvox report study/ --out report.html --latency
        distilvox report docs/results/objectives.json --out report.html

    Args:
        runs: run folders, a study's folder, or a study's JSON.
        out: the page to write.
        title: its heading; the study's title if not given.
        note: sentences to show under it.
        latency: time every student on this machine, one thread; seconds each.
    """
    import shlex

    from distilvox.report import write_report
    from distilvox.report.inputs import gather

    folders, found = gather(runs)
    words = ["distilvox", "report", *map(str, runs), "--out", str(out)]
    words += ["--latency"] * latency
    words += [] if title is None else ["--title", title]
    words += [word for sentence in note for word in ("--note", sentence)]
    page = write_report(
        folders, out, title=title or str((found or {}).get("title") or "distilvox"), study=found, notes=note,
        latency=latency, command=shlex.join(words),
    )  # fmt: skip
    say(f"{page} is ready")
