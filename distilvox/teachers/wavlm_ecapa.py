"""`wavlm-ecapa:FILE`: WavLM-Large with an ECAPA-TDNN on the weighted sum of its hidden states.

The teacher of the paper (arXiv 2309.14838, §3) is the published `wavlm_large_finetune.pth`: WavLM in its
original naming under `feature_extract.model.`, `feature_weight` [25], the ECAPA-TDNN, and the class centres
`loss_calculator.projection.weight` [5994, 256]. It holds no configuration: sizes are read off the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distilvox.errors import UserError, require
from distilvox.models.foreign import read_torch
from distilvox.models.runfolder import match_tensors
from distilvox.teachers.base import Teacher, TeacherHead, weights_id
from distilvox.teachers.precision import large_model
from distilvox.teachers.voxceleb2 import dev_speakers
from distilvox.teachers.wavlm import convert, derive_config, hidden_states, shape_of
from distilvox.teachers.wavlm_head import WavLMECAPA

WAVLM = "feature_extract.model."
LAYERS = "feature_weight"
CENTRES = "loss_calculator.projection.weight"
NO_EFFECT = (CENTRES, WAVLM + "mask_emb")  # on an embedding
MIN_SAMPLES = 1_600
REMEDY = "give the published wavlm_large_finetune.pth, or a file of its layout"


class WavLMEcapa(Teacher):
    """Waveform → WavLM → Σ softmax(w)_l · hidden state l → ECAPA-TDNN → [B, D].

    On a GPU WavLM computes in bfloat16; the sum and the ECAPA-TDNN are float32 everywhere.

    Args:
        state: the checkpoint's tensors, in its naming.
        where: the file, for messages.
        names: of the class centres' speakers, in row order, where they are known.

    Errors:
        UserError naming each tensor that is missing, extra, misshapen or not finite.
    """

    def __init__(
        self, state: Mapping[str, Tensor], *, uri: str, where: str, names: tuple[str, ...] | None = None
    ) -> None:
        original = derive_config(state, where=where, prefix=WAVLM)
        ecapa = WavLMECAPA(
            feat_dim=original["encoder_embed_dim"],
            channels=shape_of(state, "layer1.conv.weight", 3, where=where)[0],
            embedding_dim=shape_of(state, "linear.weight", 2, where=where)[0],
        )
        embedding_dim = len(ecapa.state_dict()["linear.weight"])
        wanted = dict(ecapa.state_dict())
        wanted[LAYERS] = torch.empty(original["encoder_layers"] + 1)
        if CENTRES in state:
            rows = shape_of(state, CENTRES, 2, where=where)[0]
            wanted[CENTRES] = torch.empty(rows, embedding_dim)
        rest = {name: value for name, value in state.items() if not name.startswith(WAVLM)}
        found = match_tensors(rest, wanted, where=where)
        used = {name: value for name, value in state.items() if name not in NO_EFFECT}
        super().__init__(
            uri=uri,
            id=weights_id(used, recipe=f"wavlm-ecapa normalize={original['normalize']}"),
            sample_rate=16_000,
            embedding_dim=embedding_dim,
        )
        self.normalize: bool = original["normalize"]
        self.names = names
        self.wavlm = convert(state, original, where=where, prefix=WAVLM)
        self.register_buffer("layers", found.pop(LAYERS).float().softmax(0))
        self.centres = found.pop(CENTRES).float() if CENTRES in state else None
        ecapa.load_state_dict(found)
        self.ecapa = ecapa

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        require(
            waves.shape[1] >= MIN_SAMPLES,
            "an utterance is too short for WavLM",
            got=f"{waves.shape[1]} samples",
            allowed=f"{MIN_SAMPLES} and more",
        )
        waves = waves.float()
        if self.normalize:
            waves = F.layer_norm(waves, waves.shape[1:])
        with large_model(waves.device):
            states = hidden_states(self.wavlm, waves)
        total = torch.zeros_like(states[0], dtype=torch.float32)
        for share, state in zip(self.get_buffer("layers"), states, strict=True):
            total += share * state
        return self.ecapa(total.transpose(1, 2))

    def head(self) -> TeacherHead | None:
        """The class centres, where their speakers are known."""
        if self.centres is None or self.names is None:
            return None
        return TeacherHead(self.centres, self.names)

    def unnamed_head(self) -> Float[Tensor, "C D"] | None:
        return self.centres if self.names is None else None


def speaker_names(path: Path, rows: int) -> tuple[str, ...] | None:
    """The speakers of a checkpoint's class centres, in row order, or None.

    `FILE.speakers` beside the checkpoint says it, one name a line; without it, 5,994 rows are those of
    VoxCeleb2's development set in sorted order, as the reference implementation assumes.
    """
    listed = path.with_name(path.name + ".speakers")
    if listed.is_file():
        try:
            names = tuple(
                line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()
            )
        except UnicodeDecodeError:
            raise UserError(f"{listed} is no text", allowed="one speaker name a line, UTF-8") from None
        require(
            len(names) == rows,
            f"{listed} does not name the rows of the teacher's head",
            got=f"{len(names)} names",
            allowed=f"{rows} names, one a line, in row order",
        )
        return names
    known = dev_speakers()
    return known if len(known) == rows else None


def load(rest: str) -> Teacher:
    """Loads `wavlm-ecapa:FILE`. Nothing in the file is executed.

    Errors:
        UserError if the file is missing, damaged, wants to run code, or its tensors do not fit.
    """
    require(
        rest != "", "a wavlm-ecapa teacher needs its file", got="wavlm-ecapa:", allowed="wavlm-ecapa:FILE"
    )
    path = Path(rest)
    state = read_torch(path, "the WavLM-ECAPA checkpoint", remedy=REMEDY)
    names = None
    if CENTRES in state:
        names = speaker_names(path, shape_of(state, CENTRES, 2, where=str(path))[0])
    return WavLMEcapa(state, uri=f"wavlm-ecapa:{rest}", where=str(path), names=names)
