"""profile: where the time of a training step goes, before a day is spent on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from distilvox.cli.training import Flat, parse_options
from distilvox.console import out as console
from distilvox.console import print_json, say
from distilvox.corpus.store import Corpus
from distilvox.losses.config import ObjectiveConfig
from distilvox.train.config import RunConfig, SubsetConfig, TargetConfig, TrainConfig
from distilvox.train.distributed import join, pick_device
from distilvox.train.profile import profile as measure
from distilvox.views.bank import load_bank
from distilvox.views.draws import ViewConfig


def profile(
    *,
    corpus: Path,
    student: str = "",
    student_options: tuple[str, ...] = (),
    frontend: str = "",
    teacher: str = "",
    noise: Path | None = None,
    rooms: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    steps: int = 20,
    json: bool = False,
    objective: Annotated[ObjectiveConfig, Flat] = ObjectiveConfig(),  # noqa: B008 (frozen)
    train: Annotated[TrainConfig, Flat] = TrainConfig(),  # noqa: B008
    subset: SubsetConfig = SubsetConfig(),  # noqa: B008
    targets: TargetConfig = TargetConfig(),  # noqa: B008
    views: ViewConfig = ViewConfig(),  # noqa: B008
) -> None:
    """Time a training step part by part and name what it waits for: reading, augmenting, teacher, student, loss …

    Takes the options of `distilvox distil`, of which those about length and learning rate change nothing here.
    Reading and augmenting are done ahead by a thread, so a step in training is shorter than its parts one after
    another. Nothing is learnt and nothing is written; without a finished cache of the teacher's embeddings,
    made-up ones are looked up.

    Examples:
        distilvox profile --corpus train/ --student resnet34 --batch-size 256
        distilvox profile --corpus train/ --student xvector --teacher ge2e: --objective nskd --json
        torchrun --nproc-per-node 4 -m distilvox profile --corpus train/ --student resnet34 --batch-size 1024

    Args:
        corpus: the training speakers: a folder that `distilvox pack` made.
        student: a student's name, a wrong one lists them all; xvector-s if not given.
        student_options: `field=value` of the student's configuration, for instance `embedding_dim=192`.
        frontend: the features, as for `distilvox distil`.
        teacher: as for `distilvox distil`; if not given, training without a teacher is timed (objective none).
        noise: a folder of noises to mix in; synthetic noises if not given.
        rooms: a folder of room impulse responses; synthetic rooms if not given.
        cache: where the teacher's embeddings are kept; beside the corpus if not given.
        device: auto, cpu, cuda, cuda:N.
        steps: to time, after three for warming up.
        json: print it as JSON on stdout, in seconds.
    """
    from distilvox.teachers import load

    where = pick_device(device)
    with join(where) as world:
        if not teacher and world.is_main:
            say("no --teacher: this is training without one (objective none)")
        found = measure(
            RunConfig(
                student,
                parse_options(student_options),
                "",
                objective,
                views,
                targets,
                train,
                subset=subset,
                frontend=frontend,
            ),
            corpus=Corpus.open(corpus),
            bank=load_bank(noise, rooms),
            device=where,
            steps=steps,
            teacher=load(teacher, device=where).to(where) if teacher else None,
            cache=cache,
            world=world,
        )
        if not world.is_main:
            return
        if json:
            print_json(found.to_json())
        else:
            console.print(found.render())
