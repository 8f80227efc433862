"""`redimnet2:FILE`: a checkpoint of ReDimNet2 as PalabraAI publishes it, with its own features.

`{"model_config", "state_dict"}`: the class's arguments, and tensors under the names that ours have too, those of
the front end among them, which are compared with what is computed here. There are no class centres.
Source: PalabraAI/redimnet2, `hubconf.py`; arXiv 2603.11841.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from distilvox.errors import UserError, require
from distilvox.models.foreign import load_plain, named_tensors, outline
from distilvox.models.redimnet2 import ReDimNet2, ReDimNet2Config
from distilvox.models.runfolder import match_tensors
from distilvox.sound import SAMPLE_RATE
from distilvox.teachers.base import Teacher, TeacherHead, weights_id
from distilvox.teachers.redimnet2_features import MATRICES, ReDimNet2Fbank, ReDimNet2Features, differing
from distilvox.teachers.redimnet2_settings import read_settings

REMEDY = "give a file of PalabraAI/redimnet2's release v1.0.0, such as b2-vox2-lm.pt"
SPECTRUM = "spec.torchfbank."
"""In front of the names of the front end's matrices."""


class ReDimNet2Teacher(Teacher):
    """A published ReDimNet2, with class centres and their speakers' names where it has them."""

    def __init__(
        self,
        network: ReDimNet2,
        features: ReDimNet2Features,
        weight: Float[Tensor, "C D"],
        names: tuple[str, ...],
        *,
        uri: str,
        licence: str | None = None,
    ) -> None:
        super().__init__(
            uri=uri,
            id=weights_id(network.state_dict(), recipe=f"redimnet2 {network.config} {features}"),
            sample_rate=SAMPLE_RATE,
            embedding_dim=network.config.embedding_dim,
            licence=licence,
        )
        self.features = ReDimNet2Fbank(features)
        self.network = network
        self.names = names
        self.register_buffer("centres", weight)

    def forward(self, waves: Float[Tensor, "B N"]) -> Float[Tensor, "B D"]:
        return self.network(self.features(waves))

    def head(self) -> TeacherHead | None:
        return TeacherHead(self.get_buffer("centres"), self.names) if self.names else None

    def unnamed_head(self) -> Float[Tensor, "C D"] | None:
        centres = self.get_buffer("centres")
        return centres if len(centres) and not self.names else None


def load(rest: str) -> Teacher:
    """Loads `redimnet2:FILE`. Nothing in it is executed.

    Errors:
        UserError if the file is missing or damaged, wants to run code, or holds another network or front end.
    """
    require(rest != "", "a redimnet2 teacher needs its file", got="redimnet2:", remedy=REMEDY)
    path = Path(rest)
    content = load_plain(path, "ReDimNet2's checkpoint", remedy=REMEDY)
    tensors = named_tensors(content)
    if tensors is None or "model_config" not in content:
        raise UserError(
            f"{path} is no published checkpoint of ReDimNet2",
            got=outline(content),
            allowed="a table of 'model_config' and 'state_dict'",
            remedy=REMEDY,
        )
    config, features = read_settings(content["model_config"], path)
    network = fill_network(config, features, tensors, SPECTRUM, path)
    return ReDimNet2Teacher(
        network, features, torch.empty(0, config.embedding_dim), (), uri=f"redimnet2:{rest}"
    )


def fill_network(
    config: ReDimNet2Config,
    features: ReDimNet2Features,
    tensors: Mapping[str, Tensor],
    spectrum: str,
    where: Path,
) -> ReDimNet2:
    """The network with a file's tensors, in evaluation mode, after a look at its front end's.

    Args:
        tensors: all of the network and of the front end, and no other.
        spectrum: what stands before the names of the front end's.

    Errors:
        UserError: tensors that are missing, unexpected or misshapen (named); a front end that computes other
            features than `features`.
    """
    network = config.build()
    matrices = {spectrum + name: name for name in MATRICES[features.kind]}
    shapes = {key: tensors[key] for key in matrices if isinstance(tensors.get(key), Tensor)}
    missing = {key: torch.empty(0) for key in matrices if key not in shapes}
    fitting = match_tensors(tensors, {**network.state_dict(), **shapes, **missing}, where=where)
    wrong = differing({name: fitting[key] for key, name in matrices.items()}, features)
    require(
        not wrong,
        f"the front end in {where} is not the one that its settings name ({features.kind})",
        got=f"other numbers in {', '.join(wrong)}",
        remedy=REMEDY,
    )
    network.load_state_dict({name: fitting[name] for name in network.state_dict()})
    return network.eval()
