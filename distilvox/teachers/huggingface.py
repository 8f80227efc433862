"""`hf:REPO_OR_FOLDER`: any x-vector model of transformers (`AutoModelForAudioXVector`).

WavLM, wav2vec 2.0, wav2vec 2.0 Conformer, UniSpeech-SAT, data2vec-audio, w2v-BERT: what they call
`embeddings`, on input prepared as their own feature extractor says. On a GPU they compute in bfloat16.

They hold class centres (`objective.weight`), but not of the embedding: those belong to `logits`, an affine
layer further on. So this teacher has no head of its own; class centres are made from its embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    MODEL_FOR_AUDIO_XVECTOR_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioXVector,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.utils import logging

from distilvox.errors import UserError, require
from distilvox.teachers.base import Teacher, weights_id
from distilvox.teachers.hub import folder_of
from distilvox.teachers.licence import of_folder
from distilvox.teachers.precision import large_model

NO_EFFECT = ("objective.", "classifier.", "masked_spec_embed")
"""Parts of names of tensors that no embedding depends on."""
NOT_RECIPE = ("_name_or_path", "transformers_version", "architectures", "dtype", "id2label", "label2id")
"""Fields of a configuration that no embedding depends on."""
FILES = (
    ("config.json",),
    ("preprocessor_config.json",),
    ("model.safetensors", "model*.safetensors*", "pytorch_model*.bin*"),
)


class XVector(Teacher):
    """Waveform → the model's own input → `embeddings` [B, D].

    Args:
        model: an x-vector model, float32.
        extractor: its feature extractor; one that only normalises is applied on the device of the waves,
            one that makes features runs on the CPU.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        extractor: SequenceFeatureExtractor,
        *,
        uri: str,
        licence: str | None = None,
    ) -> None:
        config = {k: v for k, v in model.config.to_diff_dict().items() if k not in NOT_RECIPE}
        recipe = json.dumps([config, extractor.to_dict()], sort_keys=True, default=str)
        used = {name: value for name, value in model.state_dict().items() if not without_effect(name)}
        super().__init__(
            uri=uri,
            id=weights_id(used, recipe=f"hf {recipe}"),
            sample_rate=extractor.sampling_rate,
            embedding_dim=model.config.xvector_output_dim,
            licence=licence,
        )
        self.model = model
        self.extractor: Any = extractor

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        inputs, frames = self.prepare(waves.float())
        kernels = zip(self.model.config.tdnn_kernel, self.model.config.tdnn_dilation, strict=True)
        needed = 2 + sum((kernel - 1) * dilation for kernel, dilation in kernels)
        require(
            frames >= needed,
            f"an utterance is too short for {self.uri}",
            got=f"{waves.shape[1]} samples, {frames} frames",
            allowed=f"{needed} frames and more",
            remedy="leave utterances out that are so short",
        )
        with large_model(waves.device):
            return self.model(**inputs).embeddings

    def prepare(self, waves: Float[Tensor, "B N"]) -> tuple[dict[str, Tensor], int]:
        """The model's input, and how many frames its x-vector layers will see of it."""
        config, frames = self.model.config, waves.shape[1]
        if self.model.main_input_name == "input_values":
            for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
                frames = max(0, (frames - kernel) // stride + 1)
            return {"input_values": self.normalised(waves)}, frames
        if frames < self.sample_rate // 10:  # the extractor itself fails on next to nothing
            return {}, 0
        made = self.extractor(list(waves.cpu().numpy()), sampling_rate=self.sample_rate, return_tensors="pt")
        inputs = {name: value.to(waves.device) for name, value in made.items()}
        return inputs, inputs[self.model.main_input_name].shape[1]

    def normalised(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Zero mean and unit variance an utterance, where the feature extractor says so (its 1e-7 too)."""
        if not self.extractor.do_normalize:
            return waves
        variance, mean = torch.var_mean(waves, dim=1, keepdim=True, correction=0)
        return (waves - mean) / (variance + 1e-7).sqrt()

    def head(self) -> None:
        """None: the model's class centres are not in the space of its embeddings."""
        return None


def without_effect(name: str) -> bool:
    return any(part in name for part in NO_EFFECT)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the chatter of transformers; what is wrong is said by our own errors."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """`kind.from_pretrained`: one part of what lies in a folder; none of its code is run.

    Errors:
        UserError: a file that is missing, damaged or wants to run code.
    """
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # damaged files make these libraries raise anything at all
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(f"cannot load {part} of the model in {folder}", got=reason) from None


def load(rest: str, *, revision: str = "", offline: str = "") -> Teacher:
    """Loads `hf:FOLDER` (never asks the network) or `hf:OWNER/NAME` (the hub, or its local cache).

    Errors:
        UserError if there is no such thing, if it is no x-vector model, or if a tensor is missing, has
        another shape or is not finite.
    """
    require(rest != "", "an hf teacher needs a repository or a folder", got="hf:", allowed="hf:OWNER/NAME")
    folder = folder_of(rest, scheme="hf", files=FILES, revision=revision, offline=offline)
    require(folder.is_dir(), "no such folder for hf:", got=rest, allowed="hf:FOLDER or hf:OWNER/NAME")
    config = read(AutoConfig, folder, "config.json")
    kinds = sorted(kind.model_type for kind in MODEL_FOR_AUDIO_XVECTOR_MAPPING)
    require(
        config.model_type in kinds,
        f"{rest} is no model that makes x-vectors",
        got=config.model_type,
        allowed=", ".join(kinds),
    )
    extractor = read(AutoFeatureExtractor, folder, "preprocessor_config.json")
    require(
        isinstance(extractor, SequenceFeatureExtractor),
        f"the feature extractor of {rest} is none for speech",
        got=type(extractor).__name__,
    )
    options = {"output_loading_info": True, "ignore_mismatched_sizes": True, "weights_only": True}
    model, info = read(AutoModelForAudioXVector, folder, "the weights", dtype=torch.float32, **options)
    problems = [f"{name} is missing" for name in sorted(info["missing_keys"])]
    own = model.state_dict()
    entries = info["mismatched_keys"]  # names alone in transformers 4, with shapes in 5
    mismatched = sorted(entry if isinstance(entry, str) else entry[0] for entry in entries)
    problems += [f"{name} has another shape than {list(own[name].shape)}" for name in mismatched]
    problems += [
        f"{name} holds NaN or infinity"
        for name, value in own.items()
        if not bool(torch.isfinite(value).all())
    ]
    problems = [problem for problem in problems if not without_effect(problem)]
    require(
        not problems,
        f"the weights in {rest} do not fit an x-vector model ({config.model_type})",
        got="; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else ""),
        remedy="give a model fine-tuned for speaker verification, with its x-vector layers",
    )
    return XVector(model.eval(), extractor, uri=f"hf:{rest}", licence=of_folder(folder))
