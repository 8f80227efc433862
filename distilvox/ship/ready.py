"""The students that come with the package: `distilvox verify a.wav b.wav` needs no training and no download.

`models/README.md` in the project says how each was made: one recipe, one command.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "ready"
"""One bundle a folder, as `distilvox export` writes them."""

READY = "ecapa-s"
"""The one that is taken where none is named."""


def ready_names() -> list[str]:
    """Names of the bundles in the package."""
    return sorted(path.parent.name for path in FOLDER.glob("*/card.json"))


def bundle_of(model: Path | str | None) -> Path:
    """The folder of a bundle: of a ready student by its name, else the path itself; None: the default student.

    A folder of the user's own goes before a name, so that nothing here hides it.
    """
    if model is None:
        return FOLDER / READY
    path = Path(model)
    return FOLDER / path if not path.exists() and str(model) in ready_names() else path


def kept_as(model: Path | str) -> str:
    """How a book remembers a bundle: a ready student by its name, the same on every machine; another by its path."""
    return str(model) if bundle_of(model) == FOLDER / str(model) else str(Path(model).absolute())
