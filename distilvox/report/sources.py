"""Where the numbers come from: the command, the commit and the inputs of every run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from distilvox.report.read import Run, table
from distilvox.report.table import NONE, html_table

SOURCES = ("run", "commit", "distilvox", "corpus", "corpus id", "teacher", "teacher id", "trials", "folder")


def sources(runs: Sequence[Run], command: str | None) -> str:
    """The command of the page, the commands that trained its runs, and a table of their inputs."""
    shown = f"<h3>This page</h3><pre tabindex='0'>{escape(command)}</pre>" if command else ""
    typed: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        words = run.config.get("command")
        if words:
            typed.setdefault((str(words), str(run.config.get("commit") or "unknown")), []).append(run.name)
    for (words, commit), names in typed.items():
        who = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        shown += f"<h3>{escape(who)}</h3><p class='none small'>at commit {escape(commit)}</p>"
        shown += f"<pre tabindex='0'>{escape(words)}</pre>"
    silent = len(runs) - sum(map(len, typed.values()))
    if runs and silent:
        shown += (
            f"<p class='none'>The command is not known of {silent} of {len(runs)} runs: an older version, or a "
            "program of its own, made them. Their settings stand in their config.json.</p>"
        )
    if not runs:
        return shown
    return (
        shown + f"<details><summary>Commit and inputs of every run</summary>{sources_table(runs)}</details>"
    )


def sources_table(runs: Sequence[Run]) -> str:
    """What each run's numbers come from: versions and content ids, shortened to 16 digits."""
    rows = []
    for run in runs:
        corpus, teacher = table(run.config, "corpus"), table(run.config, "teacher")
        trials = run.config.get("trials") or run.evaluation.get("trial_list")
        commit = str(run.config.get("commit") or NONE)
        rows.append(
            [
                run.name,
                commit[:12] + ("-dirty" if commit.endswith("-dirty") else ""),
                str(run.config.get("distilvox", NONE)),
                str(corpus.get("path", NONE)),
                str(corpus.get("id", NONE))[:16],
                str(teacher.get("uri", NONE)),
                str(teacher.get("id", NONE))[:16],
                str(trials or NONE),
                str(run.folder),
            ]
        )
    return html_table(SOURCES, rows, range(len(SOURCES)), drop=True)
