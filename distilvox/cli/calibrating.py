"""calibrate: what a model's scores mean on your own speech. Torch is loaded for models that need it, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from distilvox.console import out as console
from distilvox.console import print_json, progress, say
from distilvox.errors import UserError, require
from distilvox.ship.calibration import RATES

if TYPE_CHECKING:
    from distilvox.ship.calibrating import Scored

Precision = Literal["float32", "int8"]


def calibrate(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    /,
    *,
    pairs: Path,
    corpus: Path | None = None,
    folder: Path | None = None,
    judge_pairs: Path | None = None,
    judge_corpus: Path | None = None,
    judge_folder: Path | None = None,
    rates: tuple[float, ...] = RATES,
    write: bool = False,
    out: Path | None = None,
    html: Path | None = None,
    device: str = "auto",
    precision: Precision = "float32",
    json: bool = False,
) -> None:
    """Thresholds and likelihood ratios of any model, from pairs of your own recordings.

    A threshold is only worth something for speech like yours: one copied from a model's page may reject most of
    the right people. For each duration and rate of false accepts: the threshold, and the rates found on people
    who did not set it; or, where the pairs are too few, that they are. Without a second list, halves of the
    people judge each other.

    Examples:
        distilvox calibrate bundle/ --pairs pairs.txt --folder recordings/ --write
        distilvox calibrate ge2e: --pairs tune.txt --corpus tune/ --judge-pairs dev.txt --judge-corpus dev/
        distilvox calibrate onnx:model.onnx --pairs pairs.txt --folder recordings/ --html calibration.html

    Args:
        model: a bundle, a run folder, or a teacher's URI.
        pairs: a list `label enrol test` or `enrol test target|nontarget`.
        corpus: the corpus that holds the pairs' recordings.
        folder: or the folder that their names are relative to.
        judge_pairs: a list of other people, to judge on.
        judge_corpus: the corpus of that list; the first one if neither is given.
        judge_folder: or its folder.
        rates: of false accepts that thresholds are set for.
        write: put the calibration on the card of the bundle, so that its decisions go by it.
        out: write it all as JSON.
        html: write a page with the scores, the reliability diagram and the thresholds.
        device: auto, cpu, cuda, cuda:N; a bundle runs on the CPU.
        precision: float32 or int8, for a bundle.
        json: print JSON on stdout.
    """
    from distilvox.files import write_json, write_text
    from distilvox.ship.bundle import Bundle
    from distilvox.ship.calibrating import calibrate as fit
    from distilvox.ship.calibrationpage import render
    from distilvox.ship.card import CARD

    is_bundle = (Path(model) / CARD).exists()
    require(is_bundle or not write, "--write is for a bundle", got=model, remedy="export the run first")
    require(precision == "float32" or not write, "a bundle keeps the calibration of its float32 model")
    embed = embedder(model, device, precision)
    trials = scored(pairs, corpus, folder, embed)
    judge = None
    if judge_pairs is not None:
        where = (
            (corpus, folder)
            if judge_corpus is None and judge_folder is None
            else (judge_corpus, judge_folder)
        )
        judge = scored(judge_pairs, *where, embed)
    done = fit(trials, judge, rates=rates)
    found = {"model": model, "calibration": done.calibration.to_json(), "figures": done.figures}
    if out is not None:
        write_json(out, found)
    if html is not None:
        write_text(html, render(model, trials, done))
    if write:
        Bundle.open(model).keep_calibration(done.calibration)
        say(f"{model} decides by this calibration from now on")
    if json:
        print_json(found)
        return
    held, overall = done.calibration, done.figures["all"]
    lines = [
        f"{model} on {held.fitted_on}, judged on {held.judged_on}: {held.trials:,} trials of {held.speakers:,} people",
        f"  Cllr {overall['cllr']:.3f} bits, at best {overall['min_cllr']:.3f}; EER {overall['eer']:.2%}",
        "  sound        asked    threshold",
        *(f"  {one}" for one in held.thresholds),
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def embedder(model: str, device: str, precision: Precision) -> Callable[[np.ndarray], np.ndarray]:
    """Samples [N] → embedding [D]; without torch where the model is a bundle."""
    from distilvox.ship.card import CARD
    from distilvox.ship.runtime import Verifier

    if (Path(model) / CARD).exists():
        return Verifier.load(model, precision=precision).run
    import torch

    from distilvox.cli.embedding import embedder as any_embedder
    from distilvox.train.distributed import pick_device

    where = pick_device(device)
    embed = any_embedder(model, where, precision, None)

    def one(wave: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return embed(torch.from_numpy(wave)[None].to(where))[0].float().cpu().numpy()

    return one


def scored(pairs: Path, corpus: Path | None, folder: Path | None, embed: Callable) -> Scored:
    """The pairs, scored for each duration."""
    from distilvox.audio import read_audio
    from distilvox.corpus.store import Corpus
    from distilvox.corpus.trials import read_trials, resolve
    from distilvox.ship.pairs import score_pairs

    if (corpus is None) == (folder is None):
        raise UserError("where are the recordings of the pairs?", allowed="one of --corpus and --folder")
    trials = read_trials(pairs)
    enrol, test, speakers, count = trials.enrol, trials.test, None, len(trials.utterances)
    if corpus is not None:
        held = Corpus.open(corpus)
        rows = resolve(trials, held)
        speakers = np.asarray(held.speakers)[held.labels[rows]]

        def read(number: int) -> np.ndarray:
            return held.wave(int(rows[number])).astype(np.float32) / 32768

    else:
        paths = [str(named(Path(str(folder)), name)) for name in trials.utterances]
        files, place = np.unique(
            paths, return_inverse=True
        )  # a list may name a file with and without extension
        enrol, test, count = place[enrol], place[test], len(files)

        def read(number: int) -> np.ndarray:
            return read_audio(str(files[number]))

    with progress() as bar:
        task = bar.add_task(f"recordings of {pairs.name}", total=count, note="")
        return score_pairs(
            trials.name, enrol, test, trials.labels, speakers,
            read=read, embed=embed, progress=lambda count: bar.advance(task, count),
        )  # fmt: skip


def named(folder: Path, name: str) -> Path:
    """The file of a name in a list, which may lack its extension."""
    from distilvox.names import EXTENSIONS

    tried = [folder / name, *(folder / f"{name}{extension}" for extension in EXTENSIONS)]
    for path in tried:
        if path.is_file():
            return path
    raise UserError(
        f"no recording of the pairs' {name!r} in {folder}", remedy="give the folder of the list's names"
    )
