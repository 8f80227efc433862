"""The licence of the speech, stated in a corpus: it travels into runs and cards, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

from distilvox import files
from distilvox.corpus.store import Corpus
from distilvox.errors import require


def state_licence(path: Path | str, licence: str) -> Corpus:
    """Writes the licence of the speech into a corpus's manifest; its id stays. It travels into runs and cards.

    Raises:
        UserError: no corpus, or no words on one line.
    """
    path = Path(path)
    require(
        licence.isprintable() and bool(licence.strip()),
        "a licence is stated in words on one line",
        got=repr(licence[:80]),
        allowed="such as CC-BY-4.0",
    )
    Corpus.open(path)
    manifest = files.read_json(path / "corpus.json", noun="corpus")
    files.write_json(path / "corpus.json", {**manifest, "licence": licence.strip()})
    return Corpus.open(path)
