"""A model bundle opened: its card, and its files, none of which is used before its sha256 is checked.

NumPy and the standard library only: the runtime reads bundles through this file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from distilvox.errors import UserError, unknown
from distilvox.files import read_json, sha256_file, write_json, write_text
from distilvox.locks import alone
from distilvox.seal import check_seal, sealed
from distilvox.ship.calibration import Calibration
from distilvox.ship.card import CARD, FILES, README, Card
from distilvox.ship.ready import ready_names


@dataclass(frozen=True)
class Bundle:
    """A folder that `distilvox export` wrote."""

    path: Path
    card: Card

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Reads and checks the card.

        Raises:
            UserError: not a bundle, a run folder, a card that is damaged, changed or of another version.
        """
        path = Path(path)
        if not (path / CARD).is_file():
            raise not_a_bundle(path)
        value = read_json(path / CARD, noun="bundle card")
        card = Card.from_json(value, str(path / CARD))
        check_seal(
            value,
            noun="bundle card",
            path=path / CARD,
            remedy="export the run again, or copy the folder again",
        )
        return cls(path, card)

    def read(self, name: str) -> bytes:
        """The bytes of one file of the bundle, exactly those whose sha256 the card states.

        The bytes that were checked are the bytes that are returned: the file is read once.
        """
        if name not in FILES:
            raise unknown("file of a bundle", name, FILES)
        path = self.path / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"the bundle is incomplete: {path} is missing",
                remedy="export the run again, or copy the whole folder again",
            ) from None
        stated = self.card.files.get(name, {}).get("sha256")
        measured = hashlib.sha256(data).hexdigest()
        if measured != stated:
            raise UserError(
                f"{path} does not match its card: damaged or altered",
                got=f"sha256 {measured}",
                allowed=f"sha256 {stated}",
                remedy="export the run again, or copy the folder again from where you trust it",
            )
        return data

    def check(self) -> None:
        """Checks every file of the bundle against the card."""
        for name in FILES:
            self.read(name)

    def keep_calibration(self, calibration: Calibration) -> None:
        """Puts a calibration on the card, and into the README; the models stay as they are."""
        from distilvox.ship.readme import render

        with alone(self.path):
            card = replace(self.card, calibration=calibration)
            write_text(self.path / README, render(card))
            about = {"sha256": sha256_file(self.path / README), "bytes": (self.path / README).stat().st_size}
            card = replace(card, files={**card.files, README: about})
            write_json(self.path / CARD, sealed(card.to_json()))


def not_a_bundle(path: Path) -> UserError:
    """The error for a path without a card: says what the path is instead, and what to do."""
    if not path.exists():
        return UserError(
            f"no bundle here: {path} does not exist",
            allowed=f"a folder, or the name of a ready student: {', '.join(ready_names())}",
            remedy="distilvox export RUN BUNDLE",
        )
    if path.is_file():
        inside = (path.parent / CARD).is_file()
        remedy = (
            f"perhaps {path.parent} is meant" if inside else "the bundle comes first: BUNDLE, then the files"
        )
        return UserError("a bundle is a folder, this is a file", got=path, remedy=remedy)
    if (path / "config.json").is_file():
        return UserError(
            f"{path} is a run folder, not a bundle",
            remedy=f"distilvox export {path} BUNDLE, then use BUNDLE",
        )
    return UserError(
        f"no bundle here: {path} holds no {CARD}",
        allowed=f"a folder with {CARD} and {', '.join(FILES)}",
        remedy="distilvox export RUN BUNDLE",
    )
