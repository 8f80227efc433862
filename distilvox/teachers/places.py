"""Where caches lie: a folder for every teacher and every setting that its embeddings depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from distilvox.corpus.store import Corpus
from distilvox.teachers.base import Teacher
from distilvox.teachers.config import TargetConfig
from distilvox.teachers.live import Speech
from distilvox.views.bank import Bank
from distilvox.views.draws import ViewConfig


def trials_cache(teacher: Teacher, speech: Speech, folder: Path) -> Path:
    """Where the teacher's embeddings of the trials' utterances lie: whole and clean, whatever it trains on."""
    return folder / f"{teacher.id}-trials-{speech.id[:8]}"


def default_cache(
    corpus: Corpus, teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank
) -> Path:
    """Where a cache lies unless the user says otherwise: beside the corpus, a folder a teacher and setting."""
    return corpus.path.with_name(corpus.path.name + ".cache") / cache_name(teacher, config, views, bank)


def member_cache(
    corpus: Corpus, one: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank, cache: Path | None,
    members: int,
) -> Path:  # fmt: skip
    """Where a member's cache lies: in `cache` if that is given, there in a folder of its own beside other members'."""
    if cache is None:
        return default_cache(corpus, one, config, views, bank)
    return cache / cache_name(one, config, views, bank) if members > 1 else cache


def cache_name(teacher: Teacher, config: TargetConfig, views: ViewConfig, bank: Bank) -> str:
    """A folder's name that differs wherever the embeddings do: two settings never claim one cache."""
    name = f"{teacher.id}-{config.sees}"
    if config.sees == "view":
        plain = json.loads(json.dumps(dataclasses.asdict(views)))
        settings = hashlib.sha256(f"{plain} {bank.id}".encode()).hexdigest()[:8]
        name += f"{config.views}-{views.seconds:g}s-seed{views.seed}-{settings}"
    return name
