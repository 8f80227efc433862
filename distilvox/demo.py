"""The whole journey on synthetic voices: corpus → teacher → students → judgement → bundle → report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilvox.console import err
from distilvox.console import say as console_say
from distilvox.corpus.pairs import draw_trials
from distilvox.corpus.store import Corpus
from distilvox.corpus.synthetic import synthesise
from distilvox.errors import UserError
from distilvox.evaluation.judge import Judge
from distilvox.files import write_json, write_text
from distilvox.report import Speed, write_report
from distilvox.ship.export import export
from distilvox.ship.operating import operating_point
from distilvox.ship.runtime import Verifier
from distilvox.study.compare import compare, markdown, render
from distilvox.study.grid import run_folder, run_grid
from distilvox.study.recipe import Recipe
from distilvox.train.config import RunConfig, replace_fields
from distilvox.train.loop import fit
from distilvox.views.bank import load_bank, synthetic_bank

SYNTHETIC = (
    "The voices are synthetic (eSpeak NG), the teacher is small and was trained for a minute or two on the same "
    "voices as the students, and there is one seed: this page shows the tool at work, it does not show which "
    "objective is best. Real speech is one verb away: distilvox pack."
)

OBJECTIVES = ("none", "cosine", "kld", "nskd")

TEACHER = {"channels": 256, "last_channels": 768, "hidden": 256, "embedding_dim": 256}
"""A quarter of the full x-vector: it learns in a minute or two on a laptop."""


@dataclass(frozen=True)
class Size:
    """How much the demo does; the default fits in six minutes on two cores."""

    speakers: int = 150
    unseen_speakers: int = 50
    utterances: int = 12
    teacher_epochs: int = 8
    student_epochs: int = 6
    jobs: int = 2


def demo(out: Path, *, size: Size = Size(), device: str = "auto", seed: int = 0) -> Path:
    """Runs the demo in `out`; what an earlier demo finished there is kept.

    Returns:
        The report, an HTML page.
    """
    begun = time.monotonic()
    say = _teller(begun)
    out.mkdir(parents=True, exist_ok=True)

    say(
        "voices",
        f"{size.speakers} speakers to learn from, {size.unseen_speakers} others to be judged on (eSpeak NG)",
    )
    train = _corpus(out / "train", size.speakers, size.utterances, seed, first=0)
    dev = _corpus(out / "dev", size.unseen_speakers, size.utterances, seed, first=size.speakers)
    trials = out / "trials.txt"
    if not trials.exists():
        draw_trials(dev, trials, target=2_000, non_target=20_000, seed=seed)

    say("teacher", "an x-vector of more than a million parameters, trained on the same speakers")
    bank = synthetic_bank(0)
    teacher_config = replace_fields(
        RunConfig(student="xvector", student_options=TEACHER, targets=None),
        {"objective": "none", "epochs": size.teacher_epochs},
    )
    fit(
        teacher_config, corpus=train, out=out / "teacher", judge=Judge.open(dev, trials), bank=bank, device=device,
        resume=(out / "teacher").exists(),
    )  # fmt: skip

    say("students", "the same small student four times: without a teacher, and with three objectives")
    recipe = Recipe(
        title="demo",
        teacher=f"run:{out / 'teacher'}",
        base={"student": "xvector-s", "epochs": size.student_epochs},
        methods={name: {"objective": name} for name in OBJECTIVES},
        seeds=(seed,),
        baselines=dict.fromkeys(OBJECTIVES, "none"),
    )
    run_grid(
        recipe, out / "students", corpus=train.path, trials=trials, trials_corpus=dev.path, bank=load_bank,
        device=device, jobs=size.jobs, say=console_say,
    )  # fmt: skip
    result = compare(recipe, out / "students")
    write_json(out / "students" / "study.json", result)
    write_text(out / "students" / "study.md", markdown(result))

    best = min(recipe.methods, key=lambda method: result["methods"][method]["eer"]["mean"])
    say("bundle", f"the best of them ({best}) as ONNX, float32 and int8")
    run = run_folder(out / "students", best, seed)
    speech = [_speech(train, k) for k in range(0, len(train), max(1, len(train) // 32))]
    export(run, out / "bundle", operating_point=operating_point(run, 0.01), calibration=speech, force=True)
    speed = [_speed(out / "bundle", precision, dev) for precision in ("float32", "int8")]

    say("report", "everything on one page")
    runs = [run_folder(out / "students", method, seed) for method in recipe.methods]
    page = write_report(
        [out / "teacher", *runs], out / "report.html", title="distilvox demo", study=result, speed=speed,
        notes=[SYNTHETIC], command=f"distilvox demo {out}",
    )  # fmt: skip
    err.print(render(result))
    console_say(f"\n{SYNTHETIC}")
    console_say(f"\nDone in {time.monotonic() - begun:.0f} s. Open {page}")
    console_say(f"Try: distilvox corpus {out / 'train'} · distilvox embed {out / 'bundle'} YOUR.wav")
    return page


def _teller(begun: float) -> Callable[[str, str], None]:
    def say(part: str, what: str) -> None:
        err.print(f"[bold cyan]{part:>9}[/] {time.monotonic() - begun:4.0f} s  {what}", highlight=False)

    return say


def _corpus(path: Path, speakers: int, utterances: int, seed: int, *, first: int) -> Corpus:
    """The corpus at `path`, made if it is not there."""
    if not (path / "corpus.json").exists():
        return synthesise(path, speakers=speakers, utterances=utterances, seed=seed, first=first)
    corpus = Corpus.open(path)
    if len(corpus) != speakers * utterances:
        raise UserError(
            f"{path} holds a demo of another size", got=f"{len(corpus)} utterances", remedy="remove it"
        )
    return corpus


def _speech(corpus: Corpus, index: int) -> np.ndarray:
    return corpus.wave(index).astype(np.float32) / 32768


def _speed(bundle: Path, precision: str, corpus: Corpus) -> Speed:
    """Median time to embed one utterance of about four seconds, on one thread."""
    verifier = Verifier.load(bundle, threads=1, precision=precision)
    index = int(np.argmin(np.abs(corpus.samples - 4 * corpus.sample_rate)))
    wave = _speech(corpus, index)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        verifier.run(wave)
        times.append(time.perf_counter() - start)
    card = verifier.card
    name = "model.onnx" if precision == "float32" else "model.int8.onnx"
    return Speed(
        name=f"{card.model['name']} {precision}",
        parameters=card.model["parameters"],
        bytes=card.files[name]["bytes"],
        milliseconds=1000 * float(np.median(times)),
        seconds_of_speech=len(wave) / corpus.sample_rate,
    )
