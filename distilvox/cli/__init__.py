"""The command line: one table of verbs. A verb parses, calls, prints; nothing else lives here.

Verbs are imported when asked for, so that `distilvox verify` starts without torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from rich.table import Table

from distilvox import __version__
from distilvox.console import err, out
from distilvox.errors import UserError, unknown

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "the whole journey on synthetic voices, in minutes; no download"),
    "pack": ("corpora", "speech files → a corpus"),
    "synth": ("corpora", "a corpus of synthetic speakers (eSpeak NG)"),
    "corpus": ("corpora", "what is in a corpus"),
    "trials": ("corpora", "a trial list from a corpus that has none"),
    "teacher": ("training", "how good a teacher is on your data, before you train on it"),
    "train": ("training", "a model without a teacher"),
    "distil": ("training", "a student from a teacher"),
    "evaluate": ("judging", "EER and minDCF of a run, a bundle or a teacher"),
    "study": ("judging", "a grid of runs on equal terms, compared"),
    "report": ("judging", "one HTML page from runs"),
    "export": ("shipping", "a run → the bundle that ships (ONNX)"),
    "embed": ("shipping", "speech files → embeddings, without torch"),
    "verify": ("shipping", "do two files hold the same speaker? without torch"),
}
"""Verb → (module of `distilvox.cli` that holds the function of that name, one line of help)."""

EXTRA_OF = {
    "torch": "train",
    "jaxtyping": "train",
    "safetensors": "train",
    "pyarrow": "train",
    "scipy": "train",
    "onnx": "train",
    "onnxscript": "train",
    "plotly": "train",
    "tensorboard": "train",
    "yaml": "train",
    "espeakng_loader": "synth",
}
"""Module → the extra of distilvox that installs it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `distilvox`. Exits 0, 2 for wrong input, 1 for work that could not be completed."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        _print_verbs()
        return
    if args[0] == "--version":
        out.print(f"distilvox {__version__}", highlight=False)
        return
    try:
        if args[0] not in VERBS:
            raise unknown("verb", args[0], VERBS, remedy="distilvox --help")
        _call(args[0], args[1:])
    except UserError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("[bold red]interrupted[/]; what was written so far is whole")
        sys.exit(130)


def _call(verb: str, args: list[str]) -> None:
    import tyro

    try:
        module = importlib.import_module(f"distilvox.cli.{VERBS[verb][0]}")
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_OF:
            raise
        raise UserError(
            f"`distilvox {verb}` needs the package {error.name}, which is not installed",
            remedy=f"pip install 'distilvox[{EXTRA_OF[error.name]}]'",
        ) from error
    tyro.cli(
        getattr(module, verb),
        args=args,
        prog=f"distilvox {verb}",
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _print_verbs() -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for verb, (_, line) in VERBS.items():
        table.add_row(f"[bold cyan]{verb}[/]", _escape(line))
    out.print("[bold]distilvox[/] VERB [options]      distils a large speaker verifier into one that ships\n")
    out.print(table)
    out.print("\ndistilvox VERB --help shows its options. Start with: [bold]distilvox demo[/]")


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
