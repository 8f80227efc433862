"""A run folder → the bundle that ships. Everything is checked before the bundle gets its name."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distilvox import __version__
from distilvox.errors import UserError, require
from distilvox.evaluation.embed import one_by_one
from distilvox.evaluation.judge import Judge
from distilvox.files import (
    atomic_folder,
    read_json,
    recover_folder,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from distilvox.locks import alone
from distilvox.models import Student, parameters_count
from distilvox.models.frontend import PRESETS, FrontEnd
from distilvox.models.runfolder import load_student
from distilvox.seal import sealed
from distilvox.ship import card as names
from distilvox.ship.card import Card, OperatingPoint
from distilvox.ship.lengths import Lengths, measure_lengths
from distilvox.ship.lowered import check, compare
from distilvox.ship.parity import check_parity
from distilvox.ship.quantize import quantize, session_of
from distilvox.ship.readme import render
from distilvox.ship.samples import samples
from distilvox.ship.seen import Seen
from distilvox.ship.trace import FeatureModel, front_model, join, write_onnx
from distilvox.sound import MIN_SECONDS, SAMPLE_RATE

EVALUATION = "evaluation.json"
"""In the run folder: the last evaluation of the student."""

EXAMPLE_SAMPLES = 16_400
SHORTEST_FRAMES = 48
"""Whole windows in `MIN_SECONDS`."""


def export(
    run: Path,
    bundle: Path,
    *,
    operating_point: OperatingPoint | None = None,
    evaluation: Mapping[str, Any] | None = None,
    calibration: Sequence[np.ndarray] | None = None,
    judge: Judge | None = None,
    force: bool = False,
) -> Card:
    """Writes a bundle: three ONNX files, the weights, a README, and the card last.

    Args:
        run: a run folder.
        bundle: the folder to make; it exists whole or not at all.
        operating_point: the calibrated threshold; see `OperatingPoint`. None: the bundle decides nothing.
        evaluation: metrics for the card; None: those in the run folder, if there are any.
        calibration: some recordings of speech [N] at 16 kHz, for the int8 model and for how long embeddings of speech
            are; None: synthetic noise for the one, and nothing for the other.
        judge: trials on which the 8-bit model must be as good as the float32 one (`lowered`); None: nobody looks.
        force: replace an existing bundle, and ship an 8-bit model that lost too much. Nothing else is ever replaced.

    Raises:
        UserError: no run here, a bundle already here, another process at it, ONNX that differs from PyTorch, an
            8-bit model that lost too much.
    """
    with alone(bundle):
        return _export(Path(run), Path(bundle), operating_point, evaluation, calibration, judge, force)


def _export(
    run: Path,
    bundle: Path,
    operating_point: OperatingPoint | None,
    evaluation: Mapping[str, Any] | None,
    calibration: Sequence[np.ndarray] | None,
    judge: Judge | None,
    force: bool,
) -> Card:
    recover_folder(bundle)
    refuse_to_replace(bundle, force)
    student, config, _, speakers = load_student(run, "cpu")
    if evaluation is None and (run / EVALUATION).is_file():
        evaluation = read_json(run / EVALUATION, noun="evaluation")
    student = copy.deepcopy(student).eval()
    space = space_id(student, config["model"])
    with atomic_folder(bundle) as folder:
        parity = write_models(student, folder, space)
        int8 = quantize(folder / names.MODEL, folder / names.MODEL_INT8, calibration)
        if judge is not None:
            judge.refuse_training_speakers(set(speakers), "among those of the run")
            full, lowered = (
                judge.embed(one_by_one(session_of(folder / name))) for name in (names.MODEL, names.MODEL_INT8)
            )
            found = compare(full, lowered, judge, operating_point.threshold if operating_point else None)
            note = "; ".join(filter(None, (int8["note"], check(found, force=force))))
            int8 = {**int8, "judged": found, "note": note}
        save_weights(student, folder / names.WEIGHTS)
        speech = lengths_of_speech(folder, calibration or ())
        card = Card(
            model={
                **config["model"],
                "parameters": parameters_count(student),
                "embedding_dim": student.embedding_dim,
                "sample_rate": SAMPLE_RATE,
                "min_seconds": MIN_SECONDS,
            },
            space=space,
            training={**training_of(config, len(speakers)), "seen": Seen.of(speakers, space).to_text()},
            teacher=plain(config.get("teacher")),
            objective=plain(config.get("objective")) or {},
            metrics=None if evaluation is None else plain(dict(evaluation)),
            operating_point=operating_point,
            parity=parity,
            int8=int8,
            distilvox=__version__,
            speech=speech,
        )
        models = (names.MODEL, names.MODEL_INT8, names.MODEL_FBANK, names.WEIGHTS)
        card = replace(card, files={name: describe(folder / name) for name in models})
        write_text(folder / names.README, render(card))
        card = replace(card, files={**card.files, names.README: describe(folder / names.README)})
        write_json(folder / names.CARD, sealed(card.to_json()))
    return card


def refuse_to_replace(bundle: Path, force: bool) -> None:
    """Only an older bundle may be replaced, and only on request."""
    if not bundle.exists():
        return
    if bundle.is_dir() and not list(bundle.iterdir()):
        return
    if not (bundle / names.CARD).is_file():
        raise UserError(f"{bundle} exists and is no bundle: it is left alone", remedy="choose another folder")
    require(force, f"a bundle is already here: {bundle}", remedy="choose another folder, or give --force")


def write_models(student: Student, folder: Path, space: str) -> dict[str, Any]:
    """`model.onnx` and `model.fbank.onnx`, each compared with PyTorch; returns the figures of both."""
    features = FeatureModel(student).eval()
    front, dim = student.frontend.config, student.embedding_dim
    said = {"space": space, "frontend": json.dumps(front.to_json())}
    write_onnx(
        features,
        folder / names.MODEL_FBANK,
        torch.zeros(2, EXAMPLE_SAMPLES // 160, front.mels),
        names=("feats", "embedding"),
        length="frames",
        shortest=SHORTEST_FRAMES,
        metadata={**sherpa_metadata(front, dim), **said},
    )
    before = folder / "front.onnx"
    write_onnx(
        front_model(student),
        before,
        torch.zeros(2, EXAMPLE_SAMPLES),
        names=("waves", "feats"),
        length="samples",
        shortest=round(MIN_SECONDS * SAMPLE_RATE),
        metadata={},
    )
    metadata = {**said, "sample_rate": str(SAMPLE_RATE), "output_dim": str(dim)}
    join(before, folder / names.MODEL_FBANK, folder / names.MODEL, metadata)
    before.unlink()
    return {
        names.MODEL: check_parity(student, folder / names.MODEL, lambda waves: waves),
        names.MODEL_FBANK: check_parity(features, folder / names.MODEL_FBANK, student.frontend),
    }


def lengths_of_speech(folder: Path, waves: Sequence[np.ndarray]) -> dict[str, Lengths]:
    """Of each precision, how long the embeddings of recordings [N] are; nothing where there are no recordings."""
    found, given = {}, [samples(wave) for wave in waves]
    for precision, file in names.PRECISIONS.items():
        measured = measure_lengths(session_of(folder / file), given)
        if measured is not None:
            found[precision] = measured
    return found


def sherpa_metadata(front: FrontEnd, dim: int) -> dict[str, str]:
    """What sherpa-onnx reads from a speaker model (speaker-embedding-extractor-model.cc), as strings.

    It computes one kind of features, of samples in [-1, 1] (`normalize_samples` 1) or at 16-bit scale (0), and
    takes off their mean; with others it would give other embeddings without a word. A model that takes others
    gets none of these keys, so that sherpa-onnx refuses it.
    """
    if not computed_by_sherpa(front):
        return {}
    return {
        "framework": "wespeaker",
        "language": "multilingual",
        "url": "https://pypi.org/project/distilvox",
        "comment": f"distilvox {__version__}: log-mel features to speaker embedding",
        "sample_rate": str(front.sample_rate),
        "output_dim": str(dim),
        "normalize_samples": "1" if front.scale == 1 else "0",
        "feature_normalize_type": "global-mean",
        "window_type": front.window,
    }


def computed_by_sherpa(front: FrontEnd) -> bool:
    """Whether sherpa-onnx computes these features; what the gate leaves out is left to the graph."""
    theirs = PRESETS["sherpa"]
    return front.scale in (1.0, 32768.0) and theirs == replace(
        front, scale=theirs.scale, gate_db=theirs.gate_db
    )


def space_id(student: Student, model: Mapping[str, Any]) -> str:
    """16 hex digits of a hash over architecture and weights: equal only where embeddings are."""
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode())
    for name, tensor in sorted(student.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_weights(student: Student, path: Path) -> None:
    """The student alone. The head stays behind: its rows are voice prints of the training speakers."""
    from safetensors.torch import save

    tensors = {name: tensor.contiguous().clone() for name, tensor in student.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"distilvox": __version__}))


def training_of(config: Mapping[str, Any], speakers: int) -> dict[str, Any]:
    """What the card tells of the run: no speaker names, no folders of this machine."""
    corpus = plain(config.get("corpus")) or {}
    if isinstance(corpus.get("path"), str):
        corpus["licence"] = corpus.get("licence") or licence_now(Path(corpus["path"]), corpus.get("id"))
        corpus["path"] = Path(corpus["path"]).name
    imported = {"imported": plain(config["imported"])} if "imported" in config else {}
    init, finetune = config.get("init"), config.get("finetune")
    return {
        **imported,
        **({"init": {"sha256": init["sha256"]}} if init else {}),
        **({"finetune": plain(finetune)} if finetune else {}),
        "speakers": speakers,
        "corpus": corpus,
        "views": plain(config.get("views")) or {},
        "train": plain(config.get("train")) or {},
    }


def licence_now(path: Path, corpus_id: str | None) -> str | None:
    """Of the training speech, where it was stated after the training; None if not, or if the corpus is gone."""
    if not (path / "corpus.json").is_file():
        return None
    manifest = read_json(path / "corpus.json", noun="corpus")
    return manifest.get("licence") if manifest.get("sha256") == corpus_id else None


def plain(value: Any) -> Any:
    """A copy that is surely JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


def describe(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}
