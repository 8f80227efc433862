"""import: a model that others trained becomes a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from distilvox.console import print_json, say


def import_(
    kind: Annotated[Positional[Literal["wespeaker"]], arg(metavar="KIND")],
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")],
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    /,
    *,
    json: bool = False,
) -> None:
    """Import a model that others trained: it becomes a run folder, with its class centres where it has them.

    RUN then serves as the start of a student (--init run:RUN), as a teacher (run:RUN), and for evaluate and
    export. Nothing in the files is executed; a tensor that is missing, unexpected or misshapen is named.

    A WeSpeaker folder holds config.yaml and avg_model.pt or model.pt: XVEC, ResNet18 to ResNet293, CAMPPlus
    or ECAPA_TDNN. Its classifier has no names of speakers unless a file spk2id (lines `name row`) lies there.
    A folder that does not say that WeSpeaker trained it is refused: its features may be others.

    Examples:
        distilvox import wespeaker voxceleb_resnet34/ runs/resnet34
        distilvox evaluate runs/resnet34 --corpus dev/ --trials dev.txt
        distilvox distil --corpus train/ --teacher ge2e: --init run:runs/resnet34 --out runs/tuned

    Args:
        kind: whose layout it is: wespeaker.
        folder: the model folder.
        run: the run folder to write; it must not exist yet.
        json: print JSON on stdout.
    """
    from distilvox.models import parameters_count
    from distilvox.models.wespeaker import import_wespeaker, read_wespeaker
    from distilvox.teachers.wespeaker import fixed_features, unsaid

    read = read_wespeaker(folder)
    if (
        fixed_features(folder, read) is None
    ):  # an imported run has WeSpeaker's features, whatever they should be
        raise unsaid(read, str(folder))
    found = import_wespeaker(folder, run)
    size, dim = parameters_count(found.student), found.student.embedding_dim
    if json:
        print_json(
            {
                "run": str(run),
                "from": f"{kind} {found.model}",
                "model": found.student.name,
                "parameters": size,
                "embedding_dim": dim,
                "rows": len(found.head),
                "speakers": len(found.names) or None,
            }
        )
        return
    say(f"{found.weights}: {found.model}, {size:,} parameters, {dim} dimensions, as {found.student.name}")
    say(f"class centres: {found.about_head}")
    say(f"{run} is ready: distilvox evaluate {run} --corpus CORPUS --trials TRIALS")
