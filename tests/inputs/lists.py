"""Tables and trial lists as people save them, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """One kind of text file.

    Attributes:
        kind: what it is, for the page.
        outcome: "read", "noted", "rejected" (a row) or "refused" (the whole).
        words: a part of the note, reason or message.
        text: its content; speakers anna (utterances anna/1, anna/2) and bert (bert/1) are there as WAV.
        encoding: of the file.
    """

    kind: str
    outcome: str
    words: str
    text: str
    encoding: str = "utf-8"


ROWS = "path,speaker\nanna/1.wav,anna\nanna/2.wav,anna\nbert/1.wav,bert\n"

LINES = "path,speaker,said\nanna/1.wav,anna,a\u2028b\x85c\x0bd\x0ce\n"
BACKWARDS = "path,speaker,start,end\nanna/1.wav,anna,1,0.5\nbert/1.wav,bert,0,1\n"
ALIKE = ROWS.replace("2.wav,anna", "2.wav,Anna")

TABLES = (
    Text("CSV with `path` and `speaker`", "read", "", ROWS),
    Text("tabs, semicolons, `sep=;`", "read", "", "sep=;\n" + ROWS.replace(",", ";")),
    Text("`Path`, `Speaker`", "read", "", ROWS.replace("path,speaker", "Path,Speaker")),
    Text("UTF-16 with its mark", "read", "", ROWS, "utf-16"),
    Text("backslashes", "read", "", ROWS.replace("/", "\\")),
    Text("U+2028, U+0085, VT, FF in a cell", "read", "", LINES),
    Text("`start` and `end`, in seconds: cut", "read", "", "path,speaker,start,end\nanna/1.wav,anna,0.1,0.9\n"),
    Text("`offset` and `duration`: cut", "read", "", "path,speaker,offset,duration\nanna/1.wav,anna,0.1,0.8\n"),
    Text("`start_ms` and `end_ms`: cut", "read", "", "path,speaker,start_ms,end_ms\nanna/1.wav,anna,100,900\n"),
    Text("`start_frame`", "refused", "but not in seconds", "path,speaker,start_frame\nanna/1.wav,anna,1\n"),
    Text("Latin-1", "refused", "iconv -f windows-1252 -t utf-8", "path,speaker\nanna/1.wav,Jos\xe9\n", "latin-1"),
    Text("UTF-16 without its mark", "refused", "iconv -f utf-16le -t utf-8", ROWS, "utf-16-le"),
    Text("no header", "refused", "has no column 'speaker'", ROWS.partition("\n")[2]),
    Text("one recording of two speakers", "rejected", "one recording of 2 speakers", ROWS + "bert/1.wav,carl\n"),
    Text("a part that ends before it begins", "rejected", "its part ends at", BACKWARDS),
    Text("a file that is not there", "rejected", "no such file", ROWS + "dora/1.wav,dora\n"),
    Text("a path out of SRC", "rejected", "its path leaves SRC", ROWS + "../x.wav,dora\n"),
    Text("no speaker in a row", "rejected", "no speaker", ROWS + "bert/2.wav,\n"),
    Text("speakers that differ in case alone", "noted", "speakers that look alike", ALIKE),
)  # fmt: skip

LIST = "1 anna/1.wav anna/2.wav\n0 anna/1.wav bert/1.wav\n"

ITSELF = LIST + "1 bert/1 bert/1.wav\n"

TRIALS = (
    Text("`label enrol test` (VoxCeleb)", "read", "", LIST),
    Text("`enrol test target|nontarget` (Kaldi)", "read", "", "anna/1 anna/2 target\nanna/1 bert/1 nontarget\n"),
    Text("`enrol test 1|0` (CN-Celeb)", "read", "", "anna/1 anna/2 1\nanna/1 bert/1 0\n"),
    Text("`enrol test tgt|imp` (VOiCES)", "read", "", "anna/1 anna/2 tgt\nanna/1 bert/1 imp\n"),
    Text("separated by tabs, as `distilvox trials` writes", "read", "", LIST.replace(" ", "\t")),
    Text("`./` before names, backslashes", "read", "", LIST.replace("anna/", ".\\anna\\")),
    Text("UTF-16 with its mark", "read", "", LIST, "utf-16"),
    Text("Latin-1", "refused", "iconv -f windows-1252 -t utf-8", LIST + "0 Jos\xe9 bert/1\n", "latin-1"),
    Text("a repeated trial, either way round", "noted", "1", LIST + "1 anna/2 anna/1\n"),
    Text("an utterance compared with itself", "refused", "compare an utterance with itself", ITSELF),
    Text("separated by commas", "refused", "separated by commas", LIST.replace(" ", ",")),
    Text("names with blanks, separated by blanks", "refused", "separate the words by tabs", "1 Anna M/1 Anna M/2\n"),
    Text("labels that nobody knows", "refused", "is a label", "same anna/1 anna/2\nother anna/1 bert/1\n"),
    Text("two forms in one list", "refused", "the list mixes both", LIST + "anna/1 bert/1 nontarget\n"),
    Text("targets alone", "refused", "EER needs both", LIST.partition("\n")[0] + "\n"),
    Text("an utterance that is not there", "refused", "are not in the corpus", LIST + "0 anna/1 dora/1\n"),
)  # fmt: skip
