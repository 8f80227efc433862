"""models: which students there are, and what each costs here."""

from __future__ import annotations

from distilvox.cli.training import parse_options
from distilvox.console import out, print_json, progress
from distilvox.models import MODELS, build
from distilvox.ship.students import describe, line_up, render


def models(
    *,
    names: tuple[str, ...] = (),
    student_options: tuple[str, ...] = (),
    no_speed: bool = False,
    json: bool = False,
) -> None:
    """Compare the students: parameters, arithmetic, speed on one core of this machine, embedding size.

    The speed is that of the ONNX model that `distilvox export` ships in float32, front end included, with
    untrained weights. Exporting all of them takes some minutes.

    A real-time factor of 0.01 means that a second of speech takes 10 ms.

    Examples:
        distilvox models --no-speed
        distilvox models --names xvector-s resnet-s dstdnn-s
        distilvox models --names resnet34 --student-options channels=16 embedding_dim=128
        distilvox models --json | jq '.students[] | {name, parameters, macs}'

    Args:
        names: the students to show; all of them if not given.
        student_options: `field=value` of their configurations: what a variant would cost.
        no_speed: leave the time out; the rest takes a second.
        json: print it as JSON on stdout, with exact numbers, the configurations and the machine.
    """
    options = parse_options(student_options)
    students = [build(name, **options) for name in names or MODELS]
    described = []
    with progress(enabled=not no_speed) as bar:
        task = bar.add_task("exporting and timing", total=len(students), note="")
        for student in students:
            bar.update(task, note=student.name)
            described.append(describe(student, speed=not no_speed))
            bar.advance(task)
    if json:
        print_json(line_up(described))
    else:
        out.print(render(line_up(described)))
