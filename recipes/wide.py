"""The training speech of the ready-made student: the tables and folders of chorus and choir as one.

    python recipes/wide.py corpora/ wide/
    distilvox pack wide/audio corpora/wide --table wide/utterances.tsv \\
        --licence "CC0-1.0 AND CC-BY-4.0 AND BSD-2-Clause"

Training speakers alone, without those of tune.txt. An utterance without a label becomes a speaker of its own: a class
that the teacher's embedding of it stands for, which no other utterance is pulled to.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

SETS = ("chorus", "choir")


def rows_of(table: Path) -> list[dict[str, str]]:
    """Rows to train on, each with a speaker; `tune` is "no" for all."""
    with table.open(encoding="utf-8", newline="") as lines:
        rows = [{"tune": "no", **row} for row in csv.DictReader(lines, delimiter="\t")]
    for row in rows:
        row["speaker"] = row["speaker"] or "unlabelled-" + row["utterance"].replace("/", "-")
    return [row for row in rows if row["split"] in ("train", "unlabelled") and row["tune"] == "no"]


def main(corpora: Path, out: Path) -> None:
    rows = [row for name in SETS for row in rows_of(corpora / name / "utterances.tsv")]
    (out / "audio").mkdir(parents=True, exist_ok=True)
    for name in SETS:
        for file in (corpora / name / "audio").rglob("*.opus"):
            link = out / "audio" / file.relative_to(corpora / name / "audio")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(file.resolve())
    with (out / "utterances.tsv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(
            lines, list(rows[0]), delimiter="\t", extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
