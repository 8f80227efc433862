"""What `evaluate` embeds with: a run folder, a bundle or a teacher, which may not have seen the trials' speakers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from distilvox.console import progress, say
from distilvox.corpus.labels import labelled
from distilvox.corpus.store import Corpus
from distilvox.errors import UserError, require
from distilvox.evaluation.embed import Speech, embed_corpus, one_by_one
from distilvox.evaluation.judge import Judge
from distilvox.evaluation.norm import speaker_means
from distilvox.models.runfolder import CONFIG, load_student
from distilvox.ship.bundle import Bundle
from distilvox.ship.card import CARD
from distilvox.ship.runtime import Verifier
from distilvox.ship.seen import Seen
from distilvox.teachers import load
from distilvox.teachers.base import Teacher
from distilvox.teachers.config import Centre, TargetConfig
from distilvox.teachers.taught import Taught
from distilvox.train.distributed import World
from distilvox.train.seen import refuse_taught
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig

Precision = Literal["float32", "int8"]


def embedder_or_centred(
    model: str,
    device: torch.device,
    training: Corpus | None,
    judge: Judge | None,
    precision: Precision = "float32",
    centre: Centre = "yes",
) -> Callable[[Tensor], Tensor]:
    """Waves [B, N] → embeddings [B, D]; less their mean over `training` where that is given.

    A model that was trained on speakers of `judge` is refused.

    Args:
        centre: `auto` takes the mean off where a training would that learns from the model.
    """
    if training is None:
        return embedder(model, device, precision, judge)
    return centred_embedder(model, device, training, judge, centre)


def embed_trials(
    judge: Judge,
    model: str,
    embed: Callable[[Tensor], Tensor],
    device: torch.device,
    speech: Speech | None = None,
) -> np.ndarray:
    """Embeddings [U, D] of the trials' utterances, with a bar that says whose they are.

    `speech` is the judge's corpus as it is heard under a condition; None: as it is.
    """
    with progress() as bar:
        task = bar.add_task(f"embedding with {model}", total=len(judge.rows), note="")
        return judge.embed(
            embed, device=device, speech=speech, progress=lambda count: bar.advance(task, count)
        )


def embedder(
    model: str, device: torch.device, precision: str, judge: Judge | None
) -> Callable[[Tensor], Tensor]:
    """Waves [B, N] → embeddings [B, D] for a run folder, a bundle or a teacher's URI."""
    folder = Path(model)
    if precision != "float32" and not (folder / CARD).exists():
        raise UserError("only a bundle comes in several precisions", got=precision, allowed="float32")
    if (folder / CARD).exists():
        refuse_seen_by_bundle(judge, folder)
        verifier = Verifier.load(folder, threads=torch.get_num_threads(), precision=precision)
        return one_by_one(verifier.run)
    if (folder / CONFIG).exists():
        run = load_student(folder, device)
        if judge is not None:
            judge.refuse_training_speakers(set(run.names), f"among those that {model} was trained on")
        return run.student
    if ":" in model:
        return load_unseen(model, device, judge).embed
    raise UserError(
        f"no model here: {model}",
        allowed="a run folder, a bundle, or a teacher's URI such as ge2e: or run:FOLDER",
    )


def load_unseen(uri: str, device: torch.device, judge: Judge | None) -> Teacher:
    """A teacher that was not trained on speakers of the judge's trials, as far as it knows."""
    teacher = load(uri, device=device)
    if judge is not None:
        refuse_taught(judge, teacher)
    return teacher


def refuse_seen_by_bundle(judge: Judge | None, bundle: Path) -> None:
    """A UserError if the bundle was trained on speakers of the judge's trials; a word if it does not say on whom."""
    card = Bundle.open(bundle).card
    if judge is None:
        return
    if "seen" not in card.training:
        say(
            f"{bundle} does not say whom it was trained on: whether these are speakers of the trials, nobody checks"
        )
        return
    seen = Seen.from_text(card.training["seen"], card.space)
    judge.refuse_training_speakers(seen, f"among those that {bundle} was trained on")


def refuse_trial_speakers(judge: Judge, corpus: Corpus) -> None:
    """A mean or a cohort of the trials' own speakers would flatter."""
    both = sorted(set(judge.speakers.tolist()) & set(corpus.speakers))
    require(
        not both,
        f"the mean to take off and the cohort may not come from the speakers of {judge.trials.name}",
        got=f"{len(both)} of them in {corpus.path}, for instance {', '.join(both[:3])}",
        remedy="give the corpus that was trained on",
    )


def cohort_means(embed: Callable[[Tensor], Tensor], corpus: Corpus, device: torch.device) -> np.ndarray:
    """One mean embedding [K, D] for each speaker of a corpus."""
    corpus = labelled(corpus, wanted="a cohort")
    with progress() as bar:
        task = bar.add_task("embedding the cohort", total=len(corpus), note="")
        embeddings = embed_corpus(
            embed,
            corpus,
            np.arange(len(corpus)),
            device=device,
            progress=lambda count: bar.advance(task, count),
        )
    return speaker_means(embeddings, corpus.labels)


def centred_embedder(
    model: str, device: torch.device, corpus: Corpus, judge: Judge | None, centre: Centre
) -> Callable[[Tensor], Tensor]:
    """Waves [B, N] → embeddings [B, D] of a run folder or a teacher, the mean over `corpus` removed.

    The mean comes from the cache that a distillation from whole utterances reads, built where it is missing.
    """
    require(
        not (Path(model) / CARD).exists(),
        "a bundle is judged as it ships: by its raw cosine",
        got=model,
        remedy="leave out --centre-corpus, or give the run folder",
    )
    uri = f"run:{model}" if (Path(model) / CONFIG).exists() else model
    teacher = load_unseen(uri, device, judge)
    return Taught.open(
        teacher, corpus, config=TargetConfig(sees="utterance", centre=centre), views=ViewConfig(), bank=Bank(),
        device=device, ranks=World(),
    ).enter  # fmt: skip
