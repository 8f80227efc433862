"""teachers: which teachers can be loaded, and what of them is installed here."""

from __future__ import annotations

from distilvox.console import out, print_json, say


def teachers(*, json: bool = False) -> None:
    """List the teachers that can be loaded: what follows the colon, what is installed here, licences.

    A URI takes options behind a question mark: `?frontend=` and `?window=` where a layout does not say which
    features its network was trained on, `?revision=` and `?offline=1` for a repository on the Hugging Face hub,
    `?licence=` for weights that come without one. Licence and URI travel into the run and into the card.

    Examples:
        distilvox teachers
        distilvox teachers --json | jq '.teachers[] | select(.ready) | .scheme'
        distilvox teacher ge2e: --corpus train/ --trials dev.txt --trials-corpus dev/

    Args:
        json: print it as JSON on stdout, with files and sizes in bytes.
    """
    from distilvox.teachers.listing import describe, render
    from distilvox.teachers.table import SCHEMES

    lines = [describe(name) for name in SCHEMES]
    if json:
        print_json({"teachers": lines})
        return
    out.print(render(lines))
    say("several, separated by commas, are an ensemble; distilvox teacher URI --corpus CORPUS looks at one")
