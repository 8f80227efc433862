"""Run folders as a report sees them: what is there, and a plain sentence for what is not."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distilvox.errors import UserError, require
from distilvox.evaluation.judge import EVALUATION, SCORES
from distilvox.files import read_json
from distilvox.models.runfolder import WEIGHTS, read_config
from distilvox.train.runlog import read_log

PREFLIGHT = "preflight.json"
NORMED = "normed.json"
"""A second judgement that studies make: AS-norm, and agreement with the teacher."""

MOST_HEADER = 10**8


@dataclass(frozen=True)
class Speed:
    """How fast and how large a model was measured to be.

    Args:
        name: of the run it belongs to, or of another model, which then gets a row of its own.
        parameters: learnt numbers.
        bytes: on disk.
        milliseconds: to embed `seconds_of_speech` seconds of speech.
    """

    name: str
    parameters: int
    bytes: int
    milliseconds: float
    seconds_of_speech: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for one second of speech; NaN where no speech was given."""
        return self.milliseconds / 1000 / self.seconds_of_speech if self.seconds_of_speech > 0 else math.nan


@dataclass(frozen=True)
class Scores:
    """What `scores.npz` holds, checked: n finite scores of both kinds of trials, U embeddings."""

    scores: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    embeddings: np.ndarray


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        name: unique in the report: the folder's name, with its parents' where two are alike.
        method: the name without `-seed<seed>`, as studies name their runs; runs of one method share a colour.
        parameters, bytes: of the student, from its weights; None without them.
        missing: a sentence for everything that the report would have shown.
    """

    folder: Path
    name: str
    method: str
    config: dict[str, Any]
    log: list[dict[str, Any]]
    evaluation: dict[str, Any]
    preflight: dict[str, Any]
    normed: dict[str, Any]
    scores: Scores | None
    parameters: int | None
    bytes: int | None
    missing: tuple[str, ...] = field(default=())

    @property
    def eer(self) -> float | None:
        return number(self.evaluation.get("eer"))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the EER over speakers."""
        ends = self.evaluation.get("eer_ci")
        if not isinstance(ends, list) or len(ends) != 2:
            return None
        low, high = number(ends[0]), number(ends[1])
        return None if low is None or high is None else (low, high)

    @property
    def more(self) -> dict[str, float]:
        """What else is known beside the EER: minDCF, AS-norm, agreement with the teacher; by flat names."""
        again = table(self.normed, "asnorm")
        agreed = table(self.evaluation, "agreement") or table(self.normed, "agreement")
        found = {f"min_dcf_{prior}": cost for prior, cost in table(self.evaluation, "min_dcf").items()}
        found |= {"asnorm_eer": again.get("eer")}
        found |= {f"asnorm_min_dcf_{prior}": cost for prior, cost in table(again, "min_dcf").items()}
        found |= {f"agreement_{name}": value for name, value in agreed.items()}
        return {name: known for name, value in found.items() if (known := number(value)) is not None}

    @property
    def trials(self) -> tuple[str, str, int, int]:
        """What the run was judged by; runs of equal `trials` may be compared."""
        held = self.evaluation
        counts = [int(number(held.get(key)) or 0) for key in ("trials", "target_trials")]
        return (
            str(held.get("trial_list", "unnamed trials")),
            str(held.get("scores", "scores")),
            counts[0],
            counts[1],
        )

    @property
    def objective(self) -> str:
        part = table(self.config, "objective")
        return str(part.get("objective", part.get("kd", "not known")))

    @property
    def teacher(self) -> str | None:
        part = table(self.config, "teacher")
        return str(part["uri"]) if "uri" in part else None


def number(value: object) -> float | None:
    """A finite number, or None for everything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def table(values: dict[str, Any], key: str) -> dict[str, Any]:
    """A table inside a table; empty where there is none."""
    part = values.get(key)
    return part if isinstance(part, dict) else {}


def short(uri: str) -> str:
    """A teacher's URI without its folders.

    >>> [short(uri) for uri in ("ge2e:", "run:/data/runs/teacher")]
    ['ge2e', 'run:teacher']
    """
    scheme, _, rest = uri.partition(":")
    return f"{scheme}:{Path(rest).name}" if Path(rest).name else scheme


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads run folders.

    Raises:
        UserError: one is given twice, one is no run folder, or a file in one is damaged.
    """
    if not folders:
        return []
    whole = [Path(folder).resolve() for folder in folders]
    twice = [str(folder) for folder, count in Counter(whole).items() if count > 1]
    require(not twice, "a run is given twice", got=", ".join(twice))
    return [_read_run(folder, name) for folder, name in zip(whole, _names(whole), strict=True)]


def _names(folders: list[Path]) -> list[str]:
    """The shortest tails of the paths that tell all of them apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _read_run(folder: Path, name: str) -> Run:
    config = read_config(folder)
    seed = table(config, "train").get("seed")
    missing = []
    log = _log(folder)
    if not any("evaluation" not in line for line in log):
        missing.append("log.jsonl holds no training steps: no learning curves")
    evaluation: dict[str, Any] = {}
    scores = None
    if (folder / EVALUATION).exists():
        evaluation = _object(folder / EVALUATION, "evaluation")
        scores, why = _scores(folder / SCORES)
        missing += [why] if why else []
    else:
        missing.append("not evaluated: no error rates, DET curve or map of speakers")
    preflight = _object(folder / PREFLIGHT, "pre-flight") if (folder / PREFLIGHT).exists() else {}
    normed = _object(folder / NORMED, "second judgement") if (folder / NORMED).exists() else {}
    parameters, size = _weights(folder / WEIGHTS)
    if parameters is None:
        missing.append(f"no {WEIGHTS}: its size is not known")
    method = name.removesuffix(f"-seed{seed}") or name
    return Run(
        folder, name, method, config, log, evaluation, preflight, normed, scores, parameters, size,
        tuple(missing),
    )  # fmt: skip


def _object(path: Path, noun: str) -> dict[str, Any]:
    value = read_json(path, noun=noun)
    require(
        isinstance(value, dict),
        f"this {noun} is damaged: {path}",
        got=type(value).__name__,
        allowed="a table",
    )
    return value


def _log(folder: Path) -> list[dict[str, Any]]:
    damaged = f"this log is damaged: {folder / 'log.jsonl'}"
    try:
        lines = read_log(folder)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(damaged, got=str(error), remedy="remove the broken line") from None
    require(all(isinstance(line, dict) for line in lines), damaged, allowed="one table a line")
    return lines


def _scores(path: Path) -> tuple[Scores | None, str | None]:
    """The scores; or None and why not."""
    if not path.exists():
        return None, f"no {SCORES}: no DET curve, histogram or map of speakers"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
            scores, labels, speakers, embeddings = (
                held[k] for k in ("scores", "labels", "speakers", "embeddings")
            )
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"these scores are damaged: {path}", got=str(error), remedy="evaluate the run again"
        ) from None
    scores, labels = scores.astype(np.float64), labels.astype(bool)
    require(
        scores.ndim == 1 and scores.shape == labels.shape and embeddings.shape[:1] == speakers.shape,
        f"these scores are damaged: {path}",
        got=f"shapes {scores.shape}, {labels.shape}, {embeddings.shape}, {speakers.shape}",
        allowed="as many scores as labels, as many embeddings as speakers",
        remedy="evaluate the run again",
    )
    odd = int((~np.isfinite(scores)).sum())
    if odd:
        return (
            None,
            f"{odd:,} of {len(scores):,} scores are not finite: no DET curve, histogram or map of speakers",
        )
    if labels.all() or not labels.any():
        return None, "its trials are all of one kind: no DET curve, histogram or map of speakers"
    return Scores(scores, labels, speakers, embeddings), None


def _weights(path: Path) -> tuple[int | None, int | None]:
    """(learnt numbers, bytes) of the student, from the file's header; running statistics are bytes alone.

    A safetensors file begins with the header's length, 8 bytes, little-endian; then comes its JSON.
    """
    if not path.exists():
        return None, None
    parameters = size = 0
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), MOST_HEADER)))
        for key, part in header.items():
            if key.startswith("student."):
                size += part["data_offsets"][1] - part["data_offsets"][0]
                if not key.rpartition(".")[2].startswith(("running_", "num_batches")):
                    parameters += math.prod(part["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"these weights are damaged: {path}", got=str(error)) from None
    return parameters, size
