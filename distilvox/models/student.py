"""The model that ships: front end and backbone in one module, waveform in, embedding out."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from distilvox.errors import require
from distilvox.models.backbone import Backbone
from distilvox.models.fbank import Fbank
from distilvox.models.frontend import FrontEnd


class Student(nn.Module):
    """Waveform [B, N] in [-1, 1] at 16 kHz → speaker embedding [B, D], float32, not normalised.

    The state dict holds the backbone alone, under `backbone.`; what follows is WeSpeaker's own naming.
    In evaluation mode a batch equals its items alone. Any device and, in autocast, any precision: the
    features and the pooled statistics are float32 regardless.

    Args:
        name: in the table of models, for messages and for the run folder.
        backbone: features [B, T, F] → [B, D]; its `config` has `mels` and `embedding_dim`.
        frontend: the features; as many filters as the backbone takes.

    Raises (when called):
        UserError: an utterance too short for the backbone; half a second is always enough.
    """

    def __init__(self, name: str, backbone: Backbone, frontend: FrontEnd) -> None:
        super().__init__()
        require(
            frontend.mels == backbone.config.mels,
            f"the front end and the backbone of {name!r} differ in their number of mel filters",
            got=f"{frontend.mels} and {backbone.config.mels}",
        )
        self.name = name
        self.config = backbone.config
        self.embedding_dim = backbone.config.embedding_dim
        self.frontend = Fbank(frontend)
        self.backbone = backbone

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        return self.backbone(self.frontend(waves))
