"""A file of an installed package, found without importing anything of it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from distilvox.errors import UserError


def installed_file(package: str, member: str, *, scheme: str, noun: str, remedy: str) -> Path:
    """Where `member` of the distribution `package` lies.

    Args:
        member: its path in the package's wheel.
        scheme, noun: of the teacher that needs it, and what it needs: for the message.

    Raises:
        UserError: the package is not installed, or lacks the file.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise UserError(
            f"the package {package}, whose {noun} {scheme}: needs, is not installed", remedy=remedy
        ) from None
    found = [Path(str(file.locate())) for file in files if file.as_posix() == member]
    if not found or not found[0].is_file():
        raise UserError(f"the installed {package} lacks {member}", remedy=remedy)
    return found[0]
