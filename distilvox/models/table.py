"""Every model by name, and how to build one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from distilvox.errors import require, unknown
from distilvox.limits import check_limit
from distilvox.models.backbone import BackboneConfig
from distilvox.models.campplus import CAMPPlusConfig
from distilvox.models.dstdnn import DSTDNNConfig
from distilvox.models.ecapa import ECAPAConfig
from distilvox.models.eres2net import ERes2NetConfig
from distilvox.models.frontend import DEFAULT, PRESETS, FrontEnd
from distilvox.models.redimnet2 import ReDimNet2Config
from distilvox.models.resnet import ResNetConfig
from distilvox.models.simam import SimAMConfig
from distilvox.models.student import Student
from distilvox.models.xvector import XVectorConfig

MODELS: dict[str, BackboneConfig] = {
    "xvector": XVectorConfig(),
    "xvector-s": XVectorConfig(channels=128, last_channels=384, hidden=128, embedding_dim=128),
    "resnet18": ResNetConfig(blocks=(2, 2, 2, 2)),
    "resnet34": ResNetConfig(),
    "resnet152": ResNetConfig(blocks=(3, 8, 36, 3), bottleneck=True),
    "resnet293": ResNetConfig(blocks=(10, 20, 64, 3), bottleneck=True),
    "resnet-s": ResNetConfig(blocks=(1, 1, 1, 1), channels=16, embedding_dim=128),
    "campplus": CAMPPlusConfig(),
    "campplus-s": CAMPPlusConfig(
        embedding_dim=128,
        head_channels=8,
        head_blocks=1,
        head_strides=(2, 2, 2, 1),
        channels=64,
        layers=(2, 4, 2),
    ),
    "dstdnn-s": DSTDNNConfig(),
    "ecapa512": ECAPAConfig(),
    "ecapa-s": ECAPAConfig(channels=128, scale=4, pooled=256, bottleneck=32, embedding_dim=128),
    "redimnet2-b0": ReDimNet2Config(),
    "redimnet2-b1": ReDimNet2Config(
        channels=16, reductions=(32, 32, 32, 32, 16, 16), out_channels=0, out_plane=False
    ),
    "redimnet2-b2": ReDimNet2Config(
        channels=20,
        bin_strides=(1, 2, 1, 3, 1, 2),
        reductions=(40, 30, 30, 20, 20, 10),
        out_channels=0,
        out_plane=False,
    ),
    "redimnet2-b3": ReDimNet2Config(
        channels=24,
        expansions=(4.0, 3.0, 2.0, 1.0, 1.0, 1.0),
        reductions=(24, 24, 24, 24, 24, 24),
        out_channels=0,
        out_plane=False,
    ),
    "redimnet2-s": ReDimNet2Config(
        mels=80,
        embedding_dim=128,
        stem_strides=(2, 2),
        bin_strides=(1, 2, 1, 2),
        time_strides=(1, 2, 1, 1),
        blocks=(2, 3, 3, 3),
        expansions=(1.0, 1.0, 1.0, 1.0),
        reductions=(20, 20, 10, 10),
        out_channels=32,
    ),
}
"""Students: name → configuration; the configuration's class says which architecture."""

PUBLISHED: dict[str, BackboneConfig] = {
    "eres2net": ERes2NetConfig(),
    "eres2netv2": ERes2NetConfig(version=2, channels=64, base_width=26, embedding_dim=192),
    "simam34": SimAMConfig(),
}
"""Built only to load weights that others published: teachers, not offered as students."""


def build(name: str, frontend: FrontEnd = PRESETS[DEFAULT], /, **config: Any) -> Student:
    """A freshly initialised student: an entry of `MODELS`, with any of its fields replaced.

    >>> build("xvector-s").embedding_dim
    128
    >>> build("xvector-s", embedding_dim=64).config
    XVectorConfig(mels=80, embedding_dim=64, channels=128, last_channels=384, hidden=128)

    Args:
        name: a key of `MODELS` or `PUBLISHED`.
        frontend: its features; the number of filters is the backbone's, whatever it says.
        config: fields of the entry's configuration; lists, as JSON gives them, become tuples.

    Raises:
        UserError: unknown model or option (the known ones are listed), or a value out of range.
    """
    known_models = MODELS | PUBLISHED
    if name not in known_models:
        raise unknown("model", name, MODELS)
    entry: Any = known_models[name]
    known = [field.name for field in fields(entry)]
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    for option, value in plain.items():
        if option not in known:
            raise unknown(f"option of model {name!r}", option, known)
        example = getattr(entry, option)
        require(
            kinds(value) == kinds(example),
            f"option {option} of model {name!r} is of the wrong kind",
            got=repr(value),
            allowed=f"a value like {example!r}",
        )
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                check_limit("layer_size", number, what=f"option {option} of model {name!r}")
    backbone = replace(entry, **plain).build()
    return Student(name, backbone, replace(frontend, mels=backbone.config.mels))


def kinds(value: object) -> tuple[type, ...]:
    """The type of a value, or of each item of a tuple: what an option must share with its default."""
    return (tuple, *map(type, value)) if isinstance(value, tuple) else (type(value),)
