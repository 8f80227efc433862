"""`README.md` of a bundle: the card in words, for whoever is handed the folder."""

from __future__ import annotations

from typing import Any

from distilvox.ship.calibration import duration_name
from distilvox.ship.card import Card
from distilvox.ship.decision import percent
from distilvox.ship.modelcard import front_matter, uses

SPECIAL = "\\`*_{}[]()#+-.!|~$:/@=^"


def render(card: Card) -> str:
    """Markdown. Everything that came from data or options is escaped."""
    name = escape(card.model.get("name", "model"))
    return f"""{front_matter(card)}

# {name}: a speaker-verification model

Speech in, one embedding of {card.model["embedding_dim"]} numbers out; two embeddings with a high cosine \
are probably of one speaker.
{card.model["parameters"]:,} parameters. Written by distilvox {escape(card.distilvox)}.

## How good it is
{quality(card)}

## The threshold
{threshold(card)}
{meaning(card)}
{uses(card)}

## How to use it
```python
from distilvox.ship.runtime import Verifier

verifier = Verifier.load("PATH/TO/THIS/FOLDER")
print(verifier.verify("enrol.wav", "test.wav"))
```
```sh
distilvox verify PATH/TO/THIS/FOLDER enrol.wav test.wav
distilvox embed PATH/TO/THIS/FOLDER speech.wav
```
Any format and sample rate that libsndfile reads, at least {card.model.get("min_seconds", 0.5)} s of speech. \
Neither needs PyTorch.

Embeddings belong to the space `{plain_code(card.space)}`; those of the int8 model to \
`{plain_code(card.space_of("int8"))}`. Embeddings of different spaces must not be compared.

## What is in this folder
| file | MB | what it is |
|---|---|---|
{contents(card)}
| `card.json` | | everything stated here and more, with the sha256 of each file |

## Where it comes from
{origin(card)}

## Licence
{licences(card)}
"""


def quality(card: Card) -> str:
    """The metrics with their interval and the trials, or that there are none."""
    metrics = card.metrics
    if not metrics or "eer" not in metrics:
        return "Not measured. Nothing is known about how often this model is wrong."
    interval = metrics.get("eer_ci")
    spread = f" (95 % interval {percent(interval[0])} to {percent(interval[1])})" if interval else ""
    lines = [
        f"- Equal error rate: **{percent(metrics['eer'])}**{spread}",
        f"- Trials: {escape(metrics.get('trial_list', 'a list without a name'))}, "
        f"{metrics.get('trials', 0):,} trials, {metrics.get('target_trials', 0):,} of them of one speaker"
        + (f", {metrics['speakers']:,} speakers" if metrics.get("speakers") else ""),
    ]
    for prior, cost in sorted(metrics.get("min_dcf", {}).items()):
        lines.append(f"- Minimum detection cost at a target prior of {escape(prior)}: {cost:.3f}")
    worst = max(part["worst"] for part in card.parity.values())
    lines.append(f"- ONNX against PyTorch, at lengths from 0.5 s to 20 s: relative error at most {worst:.1e}")
    lines.append(f"- int8 against float32: mean cosine {card.int8['cosine_mean']:.4f} {int8_note(card)}")
    if (judged := card.int8.get("judged")) is not None:
        lines.append(f"- {escape(lowered_line(judged))}")
    return "\n".join(lines)


def lowered_line(found: dict[str, Any]) -> str:
    """What 8 bits cost on trials (`lowered.compare`), in one line."""
    eer, growth, flips = found["eer"], found["relative"], found["flips"]
    spread = (
        f" (95 % interval {growth['low']:+.1%} to {growth['high']:+.1%})" if growth["low"] is not None else ""
    )
    more = f", {growth['growth']:+.1%}{spread}" if growth["growth"] is not None else ""
    turned = " and ".join(
        f"{one['share']:.2%} ({one['low']:.2%} to {one['high']:.2%}) of {name}"
        for name, one in (("target", flips["target"]), ("non-target", flips["non_target"]))
    )
    cost = ", ".join(f"{found['min_dcf'][name]['0.01']:.3f} {name}" for name in ("float32", "int8"))
    return (
        f"int8 against float32 on {found['trials']:,} trials of {found['trial_list']}: EER {percent(eer['int8'])} "
        f"instead of {percent(eer['float32'])}{more}; minDCF(0.01) {cost}; decisions turned at the threshold "
        f"{found['threshold']:.4f}: {turned} trials"
    )


def int8_note(card: Card) -> str:
    note = card.int8.get("note", "")
    return f"({escape(note)})" if note else ""


def threshold(card: Card) -> str:
    point = card.operating_point
    if point is None:
        return (
            "None. The model scores pairs and decides nothing, until it is exported again with a threshold\n"
            "calibrated on trials."
        )
    lines = [
        f"Accept when the cosine is above **{point.threshold:.4f}**. Set for a false-accept rate of "
        f"{percent(point.false_accept_target)} on {point.trials:,} trials of {escape(point.trial_list)}."
    ]
    if point.false_accept is not None and point.miss is not None:
        lines.append(
            f"On speakers that had no part in setting it, {percent(point.false_accept)} of false claims were "
            f"accepted and {percent(point.miss)} of true claims rejected."
        )
    if point.how:
        lines.append(f"How: {escape(point.how)}.")
    if point.doubt:
        lines.append(f"Caution: {escape(point.doubt)}.")
    return "\n".join(lines)


def meaning(card: Card) -> str:
    """The calibration: a table of thresholds, and how true the likelihood ratios are."""
    found = card.calibration
    if found is None:
        return ""
    lines = [
        "",
        f"Calibrated on {found.trials:,} trials of {found.speakers:,} people ({escape(found.fitted_on)}), judged on "
        f"other people ({escape(found.judged_on)}). Thresholds by the seconds of sound in the shorter recording:",
        "",
        "| sound | false accepts asked for | threshold | found | missed |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in found.thresholds:
        start = f"| {duration_name(one.seconds)} | {percent(one.rate)} |"
        if one.threshold is None:
            lines.append(f"{start} none: {escape(one.note)} | | |")
        else:
            shares = (one.false_accept, one.miss)
            cells = " | ".join("not measured" if share is None else percent(share) for share in shares)
            lines.append(f"{start} {one.threshold:.4f} | {cells} |")
    if found.cllr is not None and found.min_cllr is not None:
        lines += ["", f"Likelihood ratios cost {found.cllr:.3f} bits (Cllr), at best {found.min_cllr:.3f}."]
    return "\n".join(lines) + "\n"


def origin(card: Card) -> str:
    """Where the weights come from: teacher, objective and speech; or the file that others trained."""
    held = card.training
    if imported := held.get("imported"):
        return (
            f"- Imported: {escape(imported.get('from', 'unknown'))}, file {escape(imported.get('file', 'unknown'))} "
            f"of {escape(imported.get('folder', 'unknown'))} "
            f"(sha256 {escape(str(imported.get('sha256', 'not recorded'))[:16])} …)\n"
            "- How it was trained, and on whose speech, is known to those who published it, and not recorded here."
        )
    corpus = held.get("corpus", {})
    return (
        f"- Teacher: {teacher(card)}\n"
        f"- Objective: {escape(compact(card.objective)) or 'not recorded'}\n"
        f"- Training speech: corpus {escape(corpus.get('path', 'not recorded'))} "
        f"(id {escape(str(corpus.get('id', 'not recorded'))[:16])}), "
        f"{held.get('speakers', 0):,} speakers or speaker variants. Their names and class centres are not "
        "in this folder."
    )


def licences(card: Card) -> str:
    """What is known of the licences that this model inherits, and who has to say the rest."""
    held = card.training.get("corpus", {})
    lines = [f"- Of the training speech: {escape(held.get('licence') or 'not stated')}"]
    if card.teacher is not None:
        lines.append(f"- Of the teacher's weights: {escape(card.teacher.get('licence') or 'not stated')}")
    return (
        "\n".join(lines) + "\n\n"
        "To be filled in by the owner of this model: the licence of its own weights, which has to respect these.\n"
        "distilvox, which wrote it, is under Apache-2.0; that says nothing about this model."
    )


def teacher(card: Card) -> str:
    if card.teacher is None:
        return "none, trained on speaker labels alone"
    return f"{escape(card.teacher.get('uri', 'unknown'))} (id {escape(card.teacher.get('id', 'unknown'))})"


WHAT = {
    "model.onnx": "waveform [batch, samples] at 16 kHz in [-1, 1] → embedding",
    "model.int8.onnx": "the same with an 8-bit backbone: smaller and faster, scores differ a little",
    "model.fbank.onnx": "log-mel features → embedding",
    "model.safetensors": "the weights, for PyTorch",
}


SHERPA = {"window": "povey", "low": 20.0, "high": 7600.0, "snip_edges": False, "mels": 80}
"""What sherpa-onnx computes by itself, of a front end's record."""


def contents(card: Card) -> str:
    front = card.model.get("frontend") or {}
    here = "the same embedding in sherpa-onnx, which computes these features"
    elsewhere = "not for sherpa-onnx, which computes other features"
    features = f"{WHAT['model.fbank.onnx']}; {here if SHERPA.items() <= front.items() else elsewhere}"
    return "\n".join(
        f"| `{name}` | {card.files[name].get('bytes', 0) / 1e6:.1f} | {what} |"
        for name, what in {**WHAT, "model.fbank.onnx": features}.items()
    )


def compact(value: dict[str, Any]) -> str:
    return ", ".join(f"{name} {item}" for name, item in sorted(value.items()))


def escape(value: Any) -> str:
    """Text that Markdown and HTML show as it is: on one line, nothing in it is markup.

    >>> print(escape("a_b <script>"))
    a\\_b &lt;script&gt;
    """
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(
        f"\\{letter}" if letter in SPECIAL and letter not in "./-+=@:^$" else letter for letter in text
    )


def plain_code(text: str) -> str:
    """Text for a code span: only what an id holds."""
    return "".join(letter for letter in text if letter.isalnum() or letter == "-")
