"""enrol, identify, book: people in a file, and who of them is speaking. None of them loads torch."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from distilvox.console import out, print_json, say
from distilvox.errors import UserError, require
from distilvox.ship.book import Book
from distilvox.ship.decision import printable
from distilvox.ship.journal import read

Precision = Literal["float32", "int8"]
Action = Literal["list", "remove", "export", "check", "journal", "adopt"]


def enrol(
    book: Annotated[Positional[Path], arg(metavar="BOOK")],
    name: Annotated[Positional[str], arg(metavar="NAME")],
    files: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="FILE...", help_behavior_hint="(one or more)")
    ],
    /,
    *,
    model: Path | None = None,
    precision: Precision | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """Enrol a person: the embeddings of some recordings and their mean go into a book; no audio does.

    A book is one file, which any number of processes use at once. It belongs to one model, that which comes with
    the package if none is given: another one's embeddings are refused. A recording that does not fit the person's
    others is named, and nothing is enrolled.
    Recordings must be better than those to verify: a second of sound or more, at -50 dBFS or more, hardly clipped.
    Recordings of several days and places make the best enrolment; more may be added later.

    Examples:
        distilvox enrol people.book Anna anna1.wav anna2.wav
        distilvox enrol people.book "Bert O'Hara" bert.flac --model bundle/

    Args:
        book: the file; made if it does not exist.
        name: any text that can be printed.
        files: speech files, any format and rate that libsndfile reads.
        model: a folder that `distilvox export` made, or a ready student's name; if not given, the one that the book
            was last used with, and for a new book the student that comes with the package.
        precision: float32, or int8 (smaller); the book's own if not given.
        force: enrol recordings that do not fit the others, are too short, faint or clipped, or seem to be no speech.
        json: print JSON on stdout.
    """
    from distilvox.ship.enrolment import enrol_files

    done = enrol_files(book, name, files, model=model, precision=precision, force=force)
    if json:
        print_json(asdict(done))
        return
    known = f", {done.known} were there already" if done.known else ""
    say(f"{printable(done.name)}: {done.added} recordings added{known}; {done.count} in {book}")
    if done.fit is None:
        say("  one recording alone: nothing shows that it is the right one; add another of another day")
    else:
        say(f"  they fit: the least alike has a cosine of {done.fit:.3f} with the mean of the others")
    for source in done.misfits:
        say(f"  {printable(source)} does not fit the others and was enrolled by force")
    for reason in done.poor:
        say(f"  {printable(reason)}; enrolled by force")


def identify(
    book: Annotated[Positional[Path], arg(metavar="BOOK")],
    file: Annotated[Positional[Path], arg(metavar="FILE")],
    /,
    *,
    top: int = 5,
    model: Path | None = None,
    threshold: float | None = None,
    journal: bool = False,
    force: bool = False,
    json: bool = False,
) -> None:
    """Who of the enrolled people is speaking, and is it anybody of them? Without torch.

    Prints the nearest people and the decision about the first. A stranger has as many chances to pass as people
    are enrolled: the decision says how often one does. Exit code 0 where the first is accepted, 3 where nobody
    is, 4 where the model has no threshold.

    Examples:
        distilvox identify people.book unknown.wav
        distilvox identify people.book unknown.wav --top 1 --json

    Args:
        book: a file that `distilvox enrol` made.
        file: a speech file, or an embedding that `distilvox embed --out-folder` wrote.
        top: how many people to print.
        model: the bundle, where it is not the one that the book was last used with.
        threshold: accept cosines above this one, instead of the bundle's own threshold.
        journal: keep the decision in the book.
        force: decide on a file that would be refused; the decision says so.
        json: print JSON on stdout.
    """
    from distilvox.ship.enrolment import identify_file

    found = identify_file(book, file, model=model, top=top, threshold=threshold, keep=journal, force=force)
    if json:
        print(found.to_json())  # noqa: T201 (machine output)
    else:
        out.print(str(found), highlight=False, markup=False)
    if found.decision.accept is not True:
        sys.exit(4 if found.decision.accept is None else 3)


def book(
    action: Annotated[Positional[Action], arg(metavar="{list,remove,export,check,journal,adopt}")],
    path: Annotated[Positional[Path], arg(metavar="BOOK")],
    what: Annotated[Positional[str | None], arg(metavar="[NAME|OUT]")] = None,
    /,
    *,
    model: Path | None = None,
    json: bool = False,
) -> None:
    """Look after a book of people.

    list: who is enrolled. remove BOOK NAME: delete a person, the embeddings' bytes included. export BOOK OUT: names
    and mean embeddings as .parquet (for a vector database; needs the extra [train]) or .npz. check: is the book
    whole? journal: the decisions that were kept. adopt BOOK --model BUNDLE: take over another calibration of the
    same model.

    Examples:
        distilvox book list people.book
        distilvox book remove people.book Anna
        distilvox book export people.book people.parquet

    Args:
        action: what to do.
        path: a file that `distilvox enrol` made.
        what: the person to remove, or the file to export to.
        model: the bundle to adopt.
        json: print JSON on stdout, for list, check and journal.
    """
    takes = {"remove": "NAME", "export": "OUT"}.get(action)
    if (what is None) != (takes is None):
        raise UserError(
            f"usage: distilvox book {action} BOOK {takes or ''}".rstrip(), got=what or f"no {takes}"
        )
    require((model is not None) == (action == "adopt"), "--model goes with adopt", remedy="see --help")
    with Book.open(path) as opened:
        match action:
            case "list":
                show_people(opened, json)
            case "remove":
                opened.remove(str(what))
                say(f"{what} is removed from {path}, and the bytes of the embeddings with it")
            case "export":
                from distilvox.ship.bookexport import export_book

                say(f"{what}: {export_book(opened, Path(str(what))):,} people")
            case "check":
                from distilvox.ship.bookcheck import check_book

                found = check_book(opened)
                print_json(asdict(found)) if json else say(
                    f"{path} is whole: {found.people:,} people, {found.recordings:,} recordings"
                )
            case "journal":
                show_journal(opened, json)
            case "adopt":
                from distilvox.ship.enrolment import precision_of, space_of
                from distilvox.ship.runtime import Verifier

                opened.adopt(space_of(Verifier.load(str(model), precision=precision_of(opened)), str(model)))
                say(f"{path} goes by the calibration of {model} from now on")


def show_people(opened: Book, json: bool) -> None:
    """Name, recordings and time of enrolment of everybody."""
    if json:
        people = opened.people()
        print_json([{"name": one.name, "recordings": one.count, "enrolled": one.made} for one in people])
        return
    for one in opened.people():
        line = f"{one.count:4}  {one.made[:10]}  {printable(one.name)}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def show_journal(opened: Book, json: bool) -> None:
    """One line a decision, oldest first."""
    entries = read(opened)
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    for one in entries:
        said = {True: "accepted", False: "rejected", None: "undecided"}[one.accept]
        who = printable(one.name) if one.name is not None else "nobody"
        line = f"{one.made}  {one.verb:<8}  {said:<9}  {one.score:7.4f}  {who}  {printable(one.source)}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
