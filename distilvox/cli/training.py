"""teacher, train, distil: what makes a run."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from distilvox.console import out as console
from distilvox.console import print_json
from distilvox.corpus.labels import labelled
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError, require
from distilvox.evaluation.judge import Judge
from distilvox.losses.config import ObjectiveConfig
from distilvox.train.config import FineTuneConfig, RunConfig, SubsetConfig, TargetConfig, TrainConfig
from distilvox.train.distributed import World, pick_device
from distilvox.train.loop import fit
from distilvox.views.bank import load_bank
from distilvox.views.draws import ViewConfig

Flat = arg(name="")


def distil(
    *,
    corpus: Path,
    teacher: str,
    out: Path,
    student: str = "",
    student_options: tuple[str, ...] = (),
    frontend: str = "",
    init: str = "",
    trials: Path | None = None,
    trials_corpus: Path | None = None,
    noise: Path | None = None,
    rooms: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
    objective: Annotated[ObjectiveConfig, Flat] = ObjectiveConfig(),  # noqa: B008 (frozen)
    train: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008
    finetune: FineTuneConfig = FineTuneConfig(),  # noqa: B008
    subset: SubsetConfig = SubsetConfig(),  # noqa: B008
    targets: TargetConfig = TargetConfig(),  # noqa: B008
    views: ViewConfig = ViewConfig(),  # noqa: B008
) -> None:
    """Distil a teacher into a student: CE(AAM-softmax) + weight · KD, the whole run in one folder.

    The teacher's embeddings are computed once and cached beside the corpus; a pre-flight says how good the
    teacher is on this data before a step is taken. A killed run goes on with --resume.

    Examples:
        distilvox distil --corpus train/ --teacher ge2e: --out runs/student
        distilvox distil --corpus train/ --teacher run:runs/big --objective nskd --out runs/small \\
            --trials dev.txt --trials-corpus dev/
        distilvox distil --corpus train/ --teacher ge2e: --init run:runs/student --out runs/tuned \\
            --epochs 5 --finetune.epochs 2
        torchrun --nproc-per-node 4 -m distilvox distil --corpus train/ --teacher ge2e: --out runs/student

    Args:
        corpus: the training speakers: a folder that `distilvox pack` made.
        teacher: `wavlm-ecapa:FILE`, `hf:REPO_OR_FOLDER`, `wespeaker:FOLDER`, `speechbrain:FOLDER`, `onnx:FILE`,
            `ge2e:`, `dvector:`, `run:FOLDER` (our own); several, separated by commas, are an ensemble.
        out: the run folder to write.
        student: a student's name, a wrong one lists them all; if not given, xvector-s, or with --init that run's.
        student_options: `field=value` of the student's configuration, for instance `embedding_dim=192`.
        frontend: the features: `sherpa` (what sherpa-onnx computes by itself, and frames without sound left out),
            `wespeaker`, `3dspeaker`; `?gate_db=0&mels=64` behind the name sets fields. If not given, sherpa's, or with
            --init that run's.
        init: `run:FOLDER`, a trained run whose weights to start with, and its class centres of speakers whose names
            are trained on here too; drawn from the seed if not given.
        trials: a trial list of other speakers, judged every --evaluate-epochs and at the end.
        trials_corpus: the corpus that holds the trials' utterances; the training corpus if not given.
        noise: a folder of noises to mix in; synthetic noises if not given.
        rooms: a folder of room impulse responses; synthetic rooms if not given.
        cache: where the teacher's embeddings are kept; beside the corpus if not given.
        device: auto, cpu, cuda, cuda:N.
        resume: go on from the last checkpoint in OUT.
        force: train although the pre-flight finds the teacher useless, or trial speakers in training.
    """
    from distilvox.teachers import load

    fit(
        RunConfig(
            student=student,
            student_options=parse_options(student_options),
            frontend=frontend,
            init=init,
            objective=objective,
            views=views,
            targets=targets,
            train=train,
            finetune=finetune,
            subset=subset,
        ),
        corpus=Corpus.open(corpus),
        out=out,
        teacher=load(teacher, device=pick_device(device)),
        judge=open_judge(corpus, trials, trials_corpus),
        bank=load_bank(noise, rooms),
        device=device,
        cache=cache,
        resume=resume,
        force=force,
    )


def train(
    *,
    corpus: Path,
    out: Path,
    student: str = "",
    student_options: tuple[str, ...] = (),
    frontend: str = "",
    init: str = "",
    trials: Path | None = None,
    trials_corpus: Path | None = None,
    noise: Path | None = None,
    rooms: Path | None = None,
    device: str = "auto",
    scale: float = 32.0,
    margin: float = 0.2,
    resume: bool = False,
    force: bool = False,
    train: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008
    finetune: FineTuneConfig = FineTuneConfig(),  # noqa: B008
    subset: SubsetConfig = SubsetConfig(),  # noqa: B008
    views: ViewConfig = ViewConfig(),  # noqa: B008
) -> None:
    """Train a model without a teacher, with the AAM-softmax: a baseline, or a teacher for others.

    Examples:
        distilvox train --corpus train/ --student resnet34 --out runs/big
        distilvox distil --corpus train/ --teacher run:runs/big --out runs/small

    Args:
        corpus: the training speakers: a folder that `distilvox pack` made.
        out: the run folder to write.
        student: a model's name, a wrong one lists them all; if not given, xvector-s, or with --init that run's.
        student_options: `field=value` of the model's configuration, for instance `embedding_dim=192`.
        frontend: the features: `sherpa` (what sherpa-onnx computes by itself, and frames without sound left out),
            `wespeaker`, `3dspeaker`; `?gate_db=0&mels=64` behind the name sets fields. If not given, sherpa's, or with
            --init that run's.
        init: `run:FOLDER`, a trained run whose weights to start with, and its class centres of speakers whose names
            are trained on here too; drawn from the seed if not given.
        trials: a trial list of other speakers, judged every --evaluate-epochs and at the end.
        trials_corpus: the corpus that holds the trials' utterances; the training corpus if not given.
        noise: a folder of noises to mix in; synthetic noises if not given.
        rooms: a folder of room impulse responses; synthetic rooms if not given.
        device: auto, cpu, cuda, cuda:N.
        scale: of the AAM-softmax.
        margin: of the AAM-softmax, in radians.
        resume: go on from the last checkpoint in OUT.
        force: train although speakers of the trials are in training.
    """
    objective = ObjectiveConfig(objective="none", scale=scale, margin=margin)
    fit(
        RunConfig(
            student=student,
            student_options=parse_options(student_options),
            frontend=frontend,
            init=init,
            objective=objective,
            views=views,
            targets=None,
            train=train,
            finetune=finetune,
            subset=subset,
        ),
        corpus=Corpus.open(corpus),
        out=out,
        judge=open_judge(corpus, trials, trials_corpus),
        bank=load_bank(noise, rooms),
        device=device,
        resume=resume,
        force=force,
    )


def teacher(
    uri: Annotated[Positional[str], arg(metavar="URI")],
    /,
    *,
    corpus: Path,
    trials: Path | None = None,
    trials_corpus: Path | None = None,
    noise: Path | None = None,
    rooms: Path | None = None,
    cache: Path | None = None,
    baseline: Path | None = None,
    device: str = "auto",
    scale: float = 16.0,
    force: bool = False,
    json: bool = False,
    targets: TargetConfig = TargetConfig(),  # noqa: B008
    views: ViewConfig = ViewConfig(),  # noqa: B008
) -> None:
    """Look at a teacher before training on it: its EER, its accuracy on your speakers, its sharpness.

    Also how alike it finds two views of an utterance, how fast it is, and which scale would suit it. Fills the
    same cache that `distilvox distil` reads, so nothing is computed twice.

    Examples:
        distilvox teacher ge2e: --corpus train/ --trials dev.txt --trials-corpus dev/
        distilvox teacher run:runs/big --corpus train/ --json

    Args:
        uri: `wavlm-ecapa:FILE`, `hf:REPO_OR_FOLDER`, `wespeaker:FOLDER`, `speechbrain:FOLDER`, `onnx:FILE`,
            `ge2e:`, `dvector:`, `run:FOLDER` (our own); several, separated by commas, are an ensemble.
        corpus: the training speakers.
        trials: a trial list of other speakers, for the teacher's own EER.
        trials_corpus: the corpus that holds the trials' utterances; the training corpus if not given.
        noise: a folder of noises to mix in; synthetic noises if not given.
        rooms: a folder of room impulse responses; synthetic rooms if not given.
        cache: where the teacher's embeddings are kept; beside the corpus if not given.
        baseline: a run folder of the student trained alone: warns where the teacher is no better on the trials.
        device: auto, cpu, cuda, cuda:N.
        scale: of the cosines in the teacher's probabilities (--kd-scale of `distil`).
        force: judge it even where it was trained on speakers of the trials, by their names.
        json: print it as JSON on stdout.
    """
    from distilvox.teachers import load
    from distilvox.teachers.inspect import baseline_of, inspect
    from distilvox.teachers.taught import Taught
    from distilvox.train.seen import refuse_taught

    where = pick_device(device)
    judge = open_judge(corpus, trials, trials_corpus)
    loaded = load(uri, device=where)
    if judge is not None and not force:
        refuse_taught(judge, loaded)
    alone = None if baseline is None else baseline_of(baseline, judge)
    taught = Taught.open(
        loaded, labelled(Corpus.open(corpus), wanted="a pre-flight"), config=targets, views=views,
        bank=load_bank(noise, rooms), device=where, ranks=World(), cache=cache,
    )  # fmt: skip
    looked = inspect(taught, scale=scale, judge=judge, baseline=alone, measure=True)
    assert looked is not None  # for the corpus has speakers
    if json:
        print_json(looked.to_json())
    else:
        console.print(looked.render())


def open_judge(corpus: Path, trials: Path | None, trials_corpus: Path | None) -> Judge | None:
    """The trials bound to their corpus, or None without trials."""
    if trials is None:
        require(trials_corpus is None, "--trials-corpus was given without --trials", remedy="give both")
        return None
    return Judge.open(trials_corpus or corpus, trials)


def parse_options(terms: tuple[str, ...]) -> dict[str, Any]:
    """`("embedding_dim=192",)` → {"embedding_dim": 192}; a value is JSON where it parses, else a string."""
    options: dict[str, Any] = {}
    for term in terms:
        name, equals, text = term.partition("=")
        if not (name and equals):
            raise UserError(
                "a student option is written field=value", got=repr(term), allowed="embedding_dim=192"
            )
        try:
            options[name.strip()] = json_.loads(text)
        except json_.JSONDecodeError:
            options[name.strip()] = text
    return options
