"""Every verb does what its help says: results on stdout, text for people on stderr, exit codes, no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from distilvox import __version__
from distilvox.cli import EXTRA_OF, VERBS, main
from tests.journey import Journey, travelled
from tests.running import TINY, run, succeed


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return travelled(tmp_path_factory)


def test_every_verb_is_part_of_the_journey(journey: Journey) -> None:
    # tests/test_synthetic.py; make demo; tests/test_cli_models.py; tests/test_cli_import.py; test_train_profile.py;
    # tests/test_cli_enrolling.py; tests/test_cli_calibrating.py
    others = {"synth", "demo", "models", "import", "profile", "enrol", "identify", "book", "calibrate"}
    others |= {"teachers", "serve"}  # tests/test_teachers_listing.py, tests/test_serve_settings.py
    assert {name.split()[0] for name in journey.said} | others == set(VERBS)


def test_no_text_loses_its_brackets(journey: Journey) -> None:
    """Every verb that names what it made names it whole, on one line."""
    for verb, made in {
        "pack": "train",
        "trials": "trials.txt",
        "train": "big",
        "distil": "small",
        "export": "bundle",
        "report": "report.html",
    }.items():
        assert f"{journey.home / made}" in journey.said[verb].err, verb
    assert f"{journey.home / 'small'} on trials.txt" in journey.said["evaluate"].out
    assert f"{journey.home / 'train'}" in journey.said["corpus"].out


@pytest.mark.parametrize("verb", ["pack", "trials", "train", "distil", "export", "report"])
def test_people_are_told_on_stderr(journey: Journey, verb: str) -> None:
    assert journey.said[verb].out == ""
    assert journey.said[verb].err != ""


@pytest.mark.parametrize("verb", ["corpus", "teacher", "evaluate", "study", "verify"])
def test_what_was_asked_for_is_on_stdout(journey: Journey, verb: str) -> None:
    assert journey.said[verb].out != ""


def test_pack_counts_and_corpus_agrees(journey: Journey) -> None:
    assert "packed 36 utterances of 6 speakers" in journey.said["pack"].err
    corpus = json.loads(succeed("corpus", journey.home / "train", "--json").out)
    assert (corpus["speakers"], corpus["utterances"], corpus["sessions"]) == (6, 36, 12)


def model(journey: Journey, kind: str) -> str:
    return {
        "run": str(journey.home / "small"),
        "bundle": str(journey.home / "bundle"),
        "uri": f"run:{journey.home / 'small'}",
    }[kind]


@pytest.mark.parametrize("kind", ["run", "bundle", "uri"])
def test_evaluate_prints_one_json_document(journey: Journey, kind: str) -> None:
    """A run, its bundle and the run as a teacher are one model, and are judged alike."""
    ran = succeed(
        *("evaluate", model(journey, kind), "--corpus", journey.home / "dev", "--json", "--device", "cpu"),
        *("--trials", journey.home / "trials.txt"),
    )
    found = json.loads(ran.out)
    low, high = found["eer_ci"]
    assert 0 <= low <= found["eer"] <= high <= 1
    assert set(found["min_dcf"]) == {"0.01", "0.05"}
    assert (found["trials"], found["target_trials"]) == (276, 60)
    kept = json.loads((journey.home / "small" / "evaluation.json").read_text())
    assert found["eer"] == pytest.approx(kept["eer"], abs=0.02)


def test_int8_is_judged_too_and_only_a_bundle_has_it(journey: Journey) -> None:
    words = ("--corpus", journey.home / "dev", "--trials", journey.home / "trials.txt", "--precision", "int8")
    found = json.loads(succeed("evaluate", model(journey, "bundle"), *words, "--json").out)
    assert 0 <= found["eer"] <= 1
    refused = run("evaluate", model(journey, "run"), *words)
    assert refused.code == 2
    assert "only a bundle comes in several precisions" in refused.err


def test_embed_prints_a_line_a_file(journey: Journey) -> None:
    lines = [json.loads(line) for line in journey.said["embed"].out.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in journey.files]
    assert {len(line["embedding"]) for line in lines} == {8}
    assert len(list((journey.home / "enrolled").glob("*.npz"))) == len(journey.files)


def test_verify_decides_by_its_exit_code(journey: Journey) -> None:
    bundle, a, b = journey.home / "bundle", journey.files[0], journey.files[1]
    assert journey.said["verify"].code in (0, 3)
    assert run("verify", bundle, a, b, "--threshold", -1).code == 0
    assert run("verify", bundle, a, b, "--threshold", 1).code == 3
    ran = run(
        "verify", bundle, journey.home / "enrolled" / "0.npz", journey.home / "enrolled" / "0.npz", "--json"
    )
    assert ran.code == 0
    assert json.loads(ran.out)["score"] == pytest.approx(1, abs=1e-6)


def test_a_stored_embedding_decides_as_its_file(journey: Journey) -> None:
    bundle, (a, b) = journey.home / "bundle", journey.files[:2]
    direct = json.loads(run("verify", bundle, a, b, "--json").out)
    stored = json.loads(run("verify", bundle, journey.home / "enrolled" / f"{a.stem}.npz", b, "--json").out)
    assert stored == pytest.approx(direct) or stored["score"] == pytest.approx(direct["score"], abs=1e-6)


def test_study_compares_its_methods(journey: Journey) -> None:
    result = json.loads((journey.home / "study" / "study.json").read_text())
    assert set(result["methods"]) == {"none", "cosine"}
    assert "tiny [study]: trials.txt" in journey.said["study"].out
    again = succeed(
        *(
            "study",
            journey.home / "tiny.yaml",
            "--corpus",
            journey.home / "train",
            "--device",
            "cpu",
            "--json",
        ),
        *("--trials", journey.home / "trials.txt", "--trials-corpus", journey.home / "dev"),
        *("--out", journey.home / "study"),
    )
    assert json.loads(again.out) == result
    assert "2 of 2 runs are finished already" in again.err


def test_the_report_holds_the_runs(journey: Journey) -> None:
    page = (journey.home / "report.html").read_text()
    assert "all [of] it" in page
    assert all(name in page for name in ("big", "small"))


def test_resume_of_a_finished_run_changes_nothing(journey: Journey) -> None:
    weights = (journey.home / "big" / "model.safetensors").read_bytes()
    ran = succeed(
        *("train", "--corpus", journey.home / "train", "--out", journey.home / "big", "--resume", *TINY),
        *("--epochs", 20, "--learning-rate", 0.01),
        *("--trials", journey.home / "trials.txt", "--trials-corpus", journey.home / "dev"),
    )
    assert f"{journey.home / 'big'} is finished already" in ran.err
    assert (journey.home / "big" / "model.safetensors").read_bytes() == weights


def test_the_list_of_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    shown = capsys.readouterr().out
    main(["--help"])
    assert capsys.readouterr().out == shown
    lines = [line.split(maxsplit=1) for line in shown.splitlines() if line.startswith("  ")]
    assert dict(lines) == {verb: line for verb, (_, line) in VERBS.items()}
    main(["--version"])
    assert capsys.readouterr().out == f"distilvox {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_in_examples_of_its_verb(verb: str) -> None:
    ran = run(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    _, _, examples = ran.out.partition("\nexamples:\n")
    assert f"  distilvox {verb} " in examples + " "
    assert "\x1b" not in ran.out


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from distilvox.cli import main
main()
"""


def started(*words: str, absent: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`python -m distilvox WORDS` in a process of its own, perhaps one that cannot import some packages."""
    program = ["-c", WITHOUT.format(absent=list(absent))] if absent else ["-m", "distilvox"]
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *program, *words], capture_output=True, text=True, timeout=60, env=environment
    )


def test_as_a_module_it_is_the_same_program() -> None:
    ran = started("--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"distilvox {__version__}\n", "")


def test_verify_needs_no_extra(journey: Journey) -> None:
    """The plain install: neither torch nor anything else of an extra can be imported."""
    a, b = map(str, journey.files[:2])
    ran = started("verify", str(journey.home / "bundle"), a, b, "--threshold", "-1", absent=list(EXTRA_OF))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == run("verify", journey.home / "bundle", a, b, "--threshold", -1).out


@pytest.mark.parametrize(("missing", "verb"), [("torch", "train"), ("pyarrow", "corpus"), ("yaml", "study")])
def test_a_missing_package_names_its_extra(journey: Journey, missing: str, verb: str) -> None:
    words = {
        "train": ["--help"],
        "corpus": [str(journey.home / "train")],
        "study": ["x.yaml", "--corpus=c", "--trials=t", "--trials-corpus=d", "--out=o"],
    }[verb]
    ran = started(verb, *words, absent=[missing])
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error: `distilvox {verb}` needs the package {missing}")
    assert "pip install 'distilvox[train]'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("json_", [False, True])
def test_a_reader_who_has_seen_enough_gets_no_traceback(journey: Journey, json_: bool) -> None:
    words = ["corpus", str(journey.home / "train"), *(["--json"] if json_ else [])]
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "distilvox", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_an_interrupt_is_no_traceback(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distilvox.cli.corpora.describe", interrupt)
    ran = run("corpus", journey.home / "train")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.startswith("interrupted")


def test_a_bug_keeps_its_traceback(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a user can mend is put in words: anything else must be reported with where it happened."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("distilvox.cli.corpora.describe", fail)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(ZeroDivisionError):
        main(["corpus", str(journey.home / "train")])
