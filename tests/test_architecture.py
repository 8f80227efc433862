"""The parts depend on one another in the order of the flow, and the runtime depends on almost nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "distilvox"
BASE = {"errors", "files", "console", "interrupts", "limits", "locks", "schemas", "seal"} | {
    *("names", "walk", "sound", "held", "containers", "media", "audio")
}
MAY_IMPORT: dict[str, set[str]] = {
    "corpus": BASE,
    "views": BASE,
    "models": BASE,
    "losses": BASE | {"models"},
    "evaluation": BASE | {"corpus", "views"},
    "teachers": BASE | {"corpus", "views", "models", "losses", "evaluation"},
    "train": BASE | {"corpus", "views", "models", "losses", "evaluation", "teachers"},
    "ship": BASE | {"models", "evaluation"},
    "study": BASE | {"corpus", "views", "models", "losses", "evaluation", "teachers", "train"},
    "serve": BASE | {"ship"},
    "report": BASE | {"evaluation", "train", "models", "ship", "study"},
}
"""Part → the parts whose modules it may import. `cli` and `demo` stand outside and may import everything."""

SHELL = {"__init__", "__main__", "cli", "demo"}


def imports(path: Path) -> set[str]:
    """The parts of distilvox that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "distilvox":
                names = [f"distilvox.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("distilvox.")}
    return found - {"__version__"}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_arrows_point_one_way(part: str) -> None:
    files = list((PACKAGE / part).glob("**/*.py"))
    assert files, part
    for file in files:
        wrong = imports(file) - MAY_IMPORT[part] - {part}
        assert not wrong, f"{file.relative_to(PACKAGE)} imports {sorted(wrong)}"


def test_every_part_has_its_place() -> None:
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts == set(MAY_IMPORT) | BASE | SHELL


MAPPED = ("losses", "evaluation", "teachers", "train", "study", "serve")
"""Parts whose `__init__` is a map with a line for each file."""


@pytest.mark.parametrize("part", MAPPED)
def test_a_map_has_a_line_for_every_file_and_no_other(part: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / part / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = [
        line.split()[0] for line in text.splitlines() if re.match(r" *[a-z]\w*  +\S| *[a-z]\w{9,} \S", line)
    ]
    files = {path.stem for path in (PACKAGE / part).glob("*.py")} - {"__init__"}
    assert files - set(named) == set()
    assert set(named) - files == set()
    assert len(set(named)) == len(named)


def test_no_file_is_too_long_to_be_one_idea() -> None:
    long = {str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 300}
    assert not long


FORBIDDEN = ("torch", "pyarrow", "scipy", "jaxtyping", "onnx", "safetensors", "plotly", "tensorboard", "yaml")


@pytest.mark.parametrize(
    "module",
    [
        "distilvox",
        "distilvox.ship.runtime",
        "distilvox.ship.verify",
        "distilvox.ship.enrolment",
        "distilvox.ship.bookexport",
        "distilvox.ship.bookcheck",
        "distilvox.cli.shipping",
        "distilvox.cli.enrolling",
        "distilvox.cli.serving",
        "distilvox.serve.app",
        "distilvox.cli.calibrating",
    ],
)
def test_the_runtime_loads_neither_torch_nor_anything_of_training(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {name.split(".")[0] for name in loaded} & set(FORBIDDEN)
    assert not [
        n for n in loaded if n.startswith(("distilvox.train", "distilvox.models", "distilvox.losses"))
    ]
