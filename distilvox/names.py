"""Names of utterances: how two of them are the same, in one place.

A list is looked up by the exact name first; then without its audio extension; then in Unicode's composed form (NFC),
since some systems write `José` as `Jose` and an accent. A name that says nothing else about itself is never changed.
"""

from __future__ import annotations

import bisect
import difflib
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator

EXTENSIONS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".w64", ".rf64"),
    *(".caf", ".au"),
)
"""Lower-case extensions of the formats that libsndfile reads."""

FOREIGN = (".m4a", ".aac", ".mp4", ".webm", ".mkv", ".mka", ".wma", ".amr", ".3gp", ".ra")
"""Speech too, but in formats that libsndfile does not read: refused with advice, never overlooked."""

_KNOWN = frozenset(EXTENSIONS + FOREIGN)


def without_extension(name: str) -> str:
    """The name without its audio extension, if it has a known one.

    >>> without_extension("cv0001/se993/00.opus"), without_extension("anna/v1.2")
    ('cv0001/se993/00', 'anna/v1.2')
    """
    stem, dot, extension = name.rpartition(".")
    known = dot + extension.lower() in _KNOWN
    return stem if known and stem and not stem.endswith("/") else name


def composed(name: str) -> str:
    """The name in NFC: two names that look alike are then the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_name(name: str) -> bool:
    """False for a name with control characters, tabs, line breaks, or bytes that are not UTF-8: no list can hold it."""
    return name.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)


class Names:
    """Names, each with its position, found by what people write for them.

    Args:
        names: all different.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {name: position for position, name in enumerate(names)}
        self._composed: dict[str, int | None] | None = None

    def find(self, name: str) -> int | None:
        """The position of the first form of `name` that there is; None if there is none, or if two names look alike.

        >>> Names(["a/1", "a/1.m4a"]).find("a/1.m4a"), Names(["a/1"]).find("a/1.wav"), Names(["a/1"]).find("b")
        (1, 0, None)
        """
        for form in _forms(name):
            if (found := self._exact.get(form)) is not None:
                return found
        if self._composed is None:
            self._composed = {}
            for known, position in self._exact.items():
                key = composed(known)
                self._composed[key] = None if key in self._composed else position
        for form in _forms(name):
            if (found := self._composed.get(composed(form))) is not None:
                return found
        return None

    def nearest(self, name: str) -> str | None:
        """The name most like this one among those that stand near it in the alphabet, if any is like it."""
        names, wanted = sorted(self._exact), without_extension(name)
        at = bisect.bisect(names, wanted)
        near = difflib.get_close_matches(wanted, names[max(0, at - 200) : at + 200], n=1)
        return near[0] if near else None


def _forms(name: str) -> Iterator[str]:
    """What a name may stand for, the likeliest first."""
    yield name
    yield without_extension(name)
    stripped = name.strip()
    yield from (stripped, without_extension(stripped))
    path = posixpath.normpath(stripped.replace("\\", "/"))  # ./a/1.wav and a\1.wav
    yield from (path, without_extension(path))
