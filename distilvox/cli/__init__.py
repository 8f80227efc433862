"""The command line: one table of verbs. A verb parses, calls, prints; nothing else lives here.

Verbs are imported when asked for, so that `distilvox verify` starts without torch.
"""

from __future__ import annotations

import importlib
import io
import keyword
import os
import sys
from collections.abc import Sequence

from rich.markup import escape

from distilvox import __version__
from distilvox.console import err, out
from distilvox.errors import UserError, unknown
from distilvox.interrupts import Terminated, at_once

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "the whole journey on synthetic voices, in minutes; no download"),
    "pack": ("corpora", "speech files → a corpus"),
    "synth": ("corpora", "a corpus of synthetic speakers (eSpeak NG)"),
    "corpus": ("corpora", "what is in a corpus"),
    "trials": ("corpora", "a trial list from a corpus that has none"),
    "models": ("models", "what each student costs: parameters, arithmetic, time here"),
    "profile": ("profiling", "where the time of a training step goes, and what to do about it"),
    "teachers": ("teachers", "which teachers can be loaded, and what is installed here"),
    "teacher": ("training", "how good a teacher is on your data, before you train on it"),
    "train": ("training", "a model without a teacher"),
    "distil": ("training", "a student from a teacher"),
    "import": ("importing", "a model that others trained → a run"),
    "evaluate": ("judging", "EER and minDCF of a run, a bundle or a teacher"),
    "study": ("judging", "a grid of runs on equal terms, compared"),
    "report": ("judging", "one HTML page from runs"),
    "export": ("shipping", "a run → the bundle that ships (ONNX)"),
    "embed": ("shipping", "speech files → embeddings, without torch"),
    "verify": ("shipping", "do two files hold the same speaker? without torch"),
    "calibrate": ("calibrating", "what scores mean on your own pairs: thresholds, likelihood ratios"),
    "enrol": ("enrolling", "a person's recordings → a book of people, without torch"),
    "identify": ("enrolling", "who of a book's people is it, if anybody? without torch"),
    "book": ("enrolling", "who is in a book: list, remove, export, check"),
    "serve": ("serving", "all of this over HTTP, and a page to try a voice; without torch"),
}
"""Verb → (module of `distilvox.cli` that holds the function of that name, one line of help).

A verb that Python keeps for itself has a function with `_` behind its name.
"""

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
    "transformers": "teachers",
    "huggingface_hub": "teachers",
    "espeakng_loader": "synth",
    "fastapi": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
}
"""Module → the extra of distilvox that installs it."""


NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "bad_alloc")
"""How torch and onnxruntime, which raise no MemoryError, say that memory cannot be had."""

LESS = "ask for less at a time: a smaller --batch-size, shorter crops, fewer --jobs; or use a larger machine"


def main(argv: Sequence[str] | None = None) -> None:
    """`distilvox` itself. Exits 0, 2 for wrong input, 1 for work that could not be completed; 143 after SIGTERM."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        with at_once():
            _main(args)
        sys.stdout.flush()
    except UserError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (extra := EXTRA_OF.get((error.name or "").partition(".")[0])) is None:
            raise
        what = f"`distilvox {args[0]}` needs the package {error.name}, which is not installed"
        _complain(str(UserError(what, remedy=f"pip install 'distilvox[{extra}]'")))
        sys.exit(2)
    except BrokenPipeError:
        _drop_output()  # `| head` has seen enough
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise  # a library's own, which says nothing of the system
        _complain(
            str(UserError(f"cannot read or write {error.filename or 'the output'}", got=error.strerror))
        )
        _drop_output()
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        _complain(str(UserError("there is not enough memory for this", got=_first_line(error), remedy=LESS)))
        sys.exit(1)
    except Terminated as end:
        if end.line:
            err.print(f"[bold red]terminated[/]; {escape(end.line)}", highlight=False, soft_wrap=True)
        raise
    except KeyboardInterrupt:
        err.print("[bold red]interrupted[/]; what was written so far is whole")
        sys.exit(130)


def _drop_output() -> None:
    """What waits for a standard output that takes no more goes nowhere: Python would complain again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        _print_verbs()
    elif args[0] == "--version":
        out.print(f"distilvox {__version__}", highlight=False)
    elif args[0] not in VERBS:
        raise unknown("verb", args[0], [*VERBS, "--help", "--version"], remedy="distilvox --help")
    else:
        from distilvox.cli.parse import call

        module = importlib.import_module(f"distilvox.cli.{VERBS[args[0]][0]}")
        call(args[0], getattr(module, args[0] + "_" * keyword.iskeyword(args[0])), args[1:])


def _print_verbs() -> None:
    lines = ["usage: [bold]distilvox[/] VERB [OPTIONS]", ""]
    lines += ["Distils a large speaker verifier into one that ships.", ""]
    lines += [f"  [bold cyan]{verb:<10}[/]{escape(line)}" for verb, (_, line) in VERBS.items()]
    lines += ["", "`distilvox VERB --help` shows its options. Start with: [bold]distilvox demo[/]"]
    out.print("\n".join(lines).replace("[OPTIONS]", r"\[OPTIONS]"), highlight=False, soft_wrap=True)


def _first_line(error: BaseException) -> str | None:
    return str(error).strip().partition("\n")[0][:200] or None


def _complain(text: str) -> None:
    err.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)
