"""What a pack did and found: the report, the lists of what was rejected and noted, and the refusal of a bad lot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distilvox import files
from distilvox.corpus.store import Corpus
from distilvox.corpus.table import UNKNOWN
from distilvox.errors import UserError


@dataclass(frozen=True)
class PackReport:
    """What a pack did: utterances packed, (path, reason) of the rejected, ignored files by extension."""

    corpus: Corpus
    packed: int
    rejected: list[tuple[str, str]]
    ignored: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    hours: float = 0.0
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The last line that `distilvox pack` prints, after one line for each note."""
        where = f" (named in {self.corpus.path / 'rejected.tsv'})" if self.rejected else ""
        ignored = "".join(f", {count} {extension}" for extension, count in self.ignored.items())
        lines = [f"note: {note}" for note in self.notes]
        if (self.corpus.path / "notes.tsv").exists():
            lines.append(f"note: which files these are says {self.corpus.path / 'notes.tsv'}")
        if ignored:
            lines.append(f"ignored {sum(self.ignored.values()):,} files that are no audio: {ignored[2:]}")
        lines.append(
            f"packed {self.packed:,} utterances of {len(self.corpus.speakers):,} speakers, "
            f"{self.hours:.2f} h of speech, in {self.seconds:.0f} s; "
            f"rejected {len(self.rejected):,}{where} -> {self.corpus.path}"
        )
        return "\n".join(lines)


def shown(pairs: Iterable[tuple[str, str]], sources: Sequence[Path]) -> list[tuple[str, str]]:
    """(path, words) sorted; paths relative to a lone source that they lie in; nothing that breaks a table's line."""
    return sorted((_printable(_relative(path, sources)), _printable(words)) for path, words in pairs)


def _relative(path: str, sources: Sequence[Path]) -> str:
    alone = len(sources) == 1 and Path(path).is_relative_to(sources[0]) and Path(path) != sources[0]
    return str(Path(path).relative_to(sources[0])) if alone else path


def _printable(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def listing(pairs: Sequence[tuple[str, str]], column: str) -> str:
    """A table of paths and what there is to say about each."""
    return f"path\t{column}\n" + "".join(f"{path}\t{words}\n" for path, words in pairs)


def counted(notes: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each kind of note ("kind: detail"): how many files have it, and the first of them."""
    kinds = Counter(note.partition(": ")[0] for _, note in notes)
    first = {note.partition(": ")[0]: (path, note) for path, note in reversed(notes)}
    lines = []
    for kind, count in sorted(kinds.items()):
        path, note = first[kind]
        detail = note.partition(": ")[2]
        many = f"{kind}: {count:,} files, such as {path}: {detail}"
        lines.append(f"{kind}: {detail} ({path})" if count == 1 else many)
    return lines


def of_speakers(corpus: Corpus) -> list[str]:
    """A note where one folder seems to hold all speakers."""
    if len(corpus.speakers) == 1 and len({session.split("/")[0] for session in corpus.sessions}) > 1:
        name = corpus.speakers[0]
        return [f"there is one speaker only, {name!r}: if that folder holds speakers, pack SRC/{name}"]
    return []


def of_nobody(corpus: Corpus) -> list[str]:
    """A note of the utterances without a speaker, and what is known of their recordings."""
    loose = np.flatnonzero(corpus.labels == UNKNOWN)
    known = {corpus.sessions[row] for row in loose.tolist()} - {"-"}
    if not len(loose):
        return []
    told = (
        f"those of one of their {len(known):,} sessions (folders, files) are not told apart in training"
        if known
        else "each is taken for a recording of its own"
    )
    return [f"{len(loose):,} utterances have no speaker; {told}"]


def refusal(rejected: Sequence[tuple[str, str]], packed: int, allowed: float, out: Path) -> UserError:
    """The error for too many unusable files; leaves their list beside `out`."""
    total = packed + len(rejected)
    beside = out.with_name(out.name + ".rejected.tsv")
    files.write_text(beside, listing(rejected, "reason"))
    first = "".join(f"\n             {path}: {reason}" for path, reason in rejected[:5])
    more = f"\n             and {len(rejected) - 5:,} more" if len(rejected) > 5 else ""
    return UserError(
        f"too many files cannot be used: {len(rejected):,} of {total:,} ({len(rejected) / total:.1%}); "
        f"nothing was packed",
        got=first.lstrip() + more,
        allowed=f"{allowed:.1%} (--max-rejected {allowed:g})" if packed else "at least one usable file",
        remedy=f"see {beside} for all of them; mend them" + (", or raise --max-rejected" if packed else ""),
        exit_code=1,
    )
