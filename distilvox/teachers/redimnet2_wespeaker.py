"""WeSpeaker's folders with a ReDimNet2: its sizes by name, its features ("tfmel") beside the network.

The tensors have the published names; those of the front end lie under `frontend.` and come last. WeSpeaker runs
these networks on `frontend: tfmel` and `cmvn: false` alone. Source: wenet-e2e/wespeaker,
`wespeaker/models/redimnet2.py` and `wespeaker/frontend/tfmel.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilvox.errors import UserError, require
from distilvox.models.foreign import read_torch
from distilvox.models.runfolder import match_tensors
from distilvox.models.wespeaker import CONFIG, REMEDY, find_weights, read_head, rows_of
from distilvox.models.wespeaker_known import table
from distilvox.teachers.redimnet2 import SPECTRUM, ReDimNet2Teacher, fill_network
from distilvox.teachers.redimnet2_settings import WESPEAKER, of_wespeaker, read_settings

DATA = {"frontend": "tfmel", "cmvn": False, "resample_rate": 16_000}
"""Under `dataset_args`: what its ReDimNet2 runs on."""


def load_folder(folder: Path, config: dict[str, Any], *, uri: str, licence: str | None) -> ReDimNet2Teacher:
    """Loads a model folder whose `config` names a ReDimNet2. Nothing in it is executed.

    Errors:
        UserError: a size without golden values, other features, tensors that do not fit.
    """
    where, name, data = folder / CONFIG, config["model"], table(config, "dataset_args")
    if name not in WESPEAKER:
        raise UserError(
            f"no ReDimNet2 of WeSpeaker that is known here, in {where}",
            got=f"model: {name}",
            allowed=", ".join(WESPEAKER),
            remedy="its names do not give the architecture: export it to ONNX, onnx:FILE",
        )
    args = {**table(config, "model_args")}
    missing = [key for key in ("feat_dim", "embed_dim") if key not in args]
    missing += [] if "norm_signal" in table(data, "tfmel_args") else ["tfmel_args.norm_signal"]
    require(not missing, f"{where} does not say all of a {name}", got=f"{', '.join(missing)} missing")
    problems = [
        f"{key}: {data.get(key)} (known is {value})" for key, value in DATA.items() if data.get(key) != value
    ]
    require(not problems, f"{where}: not the features of a {name}", got="; ".join(problems))
    given = of_wespeaker(name) | {"F": args.pop("feat_dim"), **args, "spec_params": data["tfmel_args"]}
    network_config, features = read_settings(given, where)
    path = find_weights(folder)
    tensors = read_torch(path, "the WeSpeaker checkpoint", remedy=REMEDY)
    inside = {key: value for key, value in tensors.items() if not key.startswith("projection.")}
    network = fill_network(network_config, features, inside, f"frontend.{SPECTRUM}", path)
    rows = rows_of(config, tensors, network_config.embedding_dim)
    match_tensors({key: tensors[key] for key in rows}, rows, where=path)
    head, names, _ = read_head(config, tensors, network_config.embedding_dim, folder)
    return ReDimNet2Teacher(network, features, head, names, uri=uri, licence=licence)
