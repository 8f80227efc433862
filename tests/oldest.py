"""The lowest versions that pyproject.toml names: does what we export load there, and compute the same?

    python -m tests.oldest write FOLDER    # with torch: a bundle of each architecture, and the embeddings of PyTorch;
                                           # of some students alone where names follow
    python tests/oldest.py pins            # each of the package's bounds, at its lowest
    python tests/oldest.py check FOLDER    # without torch, in an environment of those pins

`make oldest` does all three; `.ci/run` calls it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `pins` runs where nothing is installed yet
    import numpy as np

HOME = Path(__file__).parents[1]
LENGTHS = (8_000, 24_111, 80_001)
"""Samples: the shortest utterance, and two that are no whole number of frames."""

LIMIT = 1e-4
"""Largest |ONNX - PyTorch| / |PyTorch| of an embedding, as `distilvox.ship.parity` has it."""

INT8 = 0.95
"""Least cosine of the int8 graph here with the float32 one: old runtimes round int8 products otherwise."""


def pins() -> list[str]:
    """`name==lowest` of each requirement of the plain install."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [requirement.replace(">=", "==") for requirement in project["dependencies"]]


def write(folder: Path, *names: str) -> None:
    """A bundle of every architecture's small student, untrained but for its batch norms, beside the truth."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from distilvox.models import MODELS, build
    from distilvox.models.runfolder import load_student, model_record
    from distilvox.ship.export import export
    from distilvox.ship.parity import probe_waves

    for name in names or [name for name in MODELS if name.endswith("-s")]:
        torch.manual_seed(0)
        student = build(name).train()
        with torch.no_grad():
            student(0.1 * torch.randn(4, 12_000))
        run = folder / "runs" / name
        run.mkdir(parents=True, exist_ok=True)
        tensors = {f"student.{key}": tensor for key, tensor in student.state_dict().items()}
        save_file(
            {**tensors, "head.weight": torch.zeros(2, student.embedding_dim)}, run / "model.safetensors"
        )
        config = {"version": 1, "model": model_record(student), "speakers": ["a", "b"], "train": {}}
        (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
        export(run, folder / name, force=True)
        loaded = load_student(run, "cpu")[0].eval()
        truth: dict[str, np.ndarray] = {}
        for length in LENGTHS:
            waves = probe_waves(2, length)
            with torch.no_grad():
                features = loaded.frontend(torch.from_numpy(waves))
                embeddings = loaded.backbone(features).numpy()
            truth |= {f"waves.{length}": waves, f"feats.{length}": features.numpy()}
            truth[f"embeddings.{length}"] = embeddings
        np.savez(folder / f"{name}.npz", allow_pickle=False, **truth)


def check(folder: Path) -> list[str]:
    """What differs or does not load, in words; nothing if all is well."""
    import numpy as np

    for pin in pins():
        name, _, lowest = pin.partition("==")
        if not (version(name) + ".").startswith(lowest + "."):
            return [
                f"{name} is {version(name)} here, not {lowest}: this is no environment of the lowest versions"
            ]
    truths = sorted(folder.glob("*.npz"))
    if not truths:
        return [f"nothing to check in {folder}: python -m tests.oldest write {folder}"]
    return [fault for truth in truths for fault in faults(folder / truth.stem, dict(np.load(truth)))]


def faults(bundle: Path, truth: dict[str, np.ndarray]) -> Iterator[str]:
    """Of one bundle: both float32 graphs against PyTorch, the runtime in both precisions, and `verify`."""
    import numpy as np
    import onnxruntime
    import soundfile

    from distilvox.ship.runtime import Verifier, cosine

    for file, given in (("model.onnx", "waves"), ("model.fbank.onnx", "feats")):
        try:
            session = onnxruntime.InferenceSession(str(bundle / file), providers=["CPUExecutionProvider"])
        except Exception as error:
            yield f"{bundle.name}/{file} does not load: {error}"
            continue
        for length in LENGTHS:
            wanted = truth[f"embeddings.{length}"]
            found = session.run(None, {given: truth[f"{given}.{length}"]})[0]
            far = float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())
            if not far <= LIMIT:
                yield f"{bundle.name}/{file} at {length} samples: relative error {far:.1e}"
    full, small = (Verifier.load(bundle, precision=precision) for precision in ("float32", "int8"))
    for wave in truth[f"waves.{LENGTHS[-1]}"]:
        agreement = cosine(full.run(wave), small.run(wave))
        if not agreement >= INT8:
            yield f"{bundle.name}/model.int8.onnx: cosine {agreement:.3f} with float32"
    recording = bundle.parent / "recording.wav"
    soundfile.write(recording, truth[f"waves.{LENGTHS[-1]}"][0], 16_000)
    command = [
        "-m",
        "distilvox",
        "verify",
        str(bundle),
        str(recording),
        str(recording),
        "--threshold",
        "0.5",
        "--force",
    ]
    said = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if said.returncode or "1.0000" not in said.stdout + said.stderr:
        yield f"{bundle.name}: distilvox verify exits {said.returncode}: {said.stderr.strip()[-400:]}"


def main(verb: str, *rest: str) -> int:
    """One of the three verbs; the exit status."""
    if verb == "pins":
        sys.stdout.write("\n".join(pins()) + "\n")
        return 0
    if verb == "write":
        write(Path(rest[0]), *rest[1:])
        return 0
    found = check(Path(rest[0]))
    names = " ".join(f"{pin.partition('==')[0]} {version(pin.partition('==')[0])}" for pin in pins())
    sys.stderr.write("\n".join(found or [f"all bundles agree with PyTorch in {names}"]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
