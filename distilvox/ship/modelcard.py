"""What a bundle's README says as a model card: the front matter that Hugging Face reads, its use, and its limits."""

from __future__ import annotations

from distilvox.ship.card import Card
from distilvox.ship.quality import ENROL, VERIFY

TAGS = ("speaker-verification", "speaker-recognition", "speaker-embedding", "onnx", "distilvox")


def front_matter(card: Card) -> str:
    """YAML between two lines of three dashes; names from data are quoted.

    The licence of the weights is their owner's to state: "other" until then. Metrics are those of the card.
    """
    lines = [
        "library_name: distilvox",
        "pipeline_tag: feature-extraction",
        f"tags: [{', '.join(TAGS)}]",
        "license: other",
        "license_name: to be stated by the owner of the weights",
    ]
    corpus, teacher = card.training.get("corpus", {}), card.teacher or {}
    inherited = {"training_speech": corpus.get("licence"), "teacher_weights": teacher.get("licence")}
    if any(inherited.values()):
        lines += ["inherited_licences:"]
        lines += [f"  {what}: {quoted(licence)}" for what, licence in inherited.items() if licence]
    return "\n".join(["---", *lines, *results(card), "---"])


def results(card: Card) -> list[str]:
    """The card's metrics as a `model-index`; nothing where there are none."""
    metrics = card.metrics
    if not metrics or "eer" not in metrics:
        return []
    found = [("eer", "Equal error rate, %", 100 * metrics["eer"])]
    for prior, cost in sorted(metrics.get("min_dcf", {}).items()):
        found.append(("min_dcf", f"Minimum detection cost, target prior {prior}", cost))
    trials = metrics.get("trial_list", "a list without a name")
    lines = [
        "model-index:",
        f"- name: {quoted(card.model.get('name', 'model'))}",
        "  results:",
        "  - task: {type: speaker-verification, name: Speaker verification}",
        f"    dataset: {{type: trial-list, name: {quoted(trials)}}}",
        "    metrics:",
    ]
    return lines + [
        f"    - {{type: {kind}, name: {quoted(name)}, value: {value:.4g}}}" for kind, name, value in found
    ]


def quoted(text: object) -> str:
    """A YAML string in double quotes, on one line, whatever is in it.

    >>> print(quoted('a"b'))
    "a\\U00000022b"
    """
    return (
        '"'
        + "".join(x if x.isprintable() and x not in '"\\' else f"\\U{ord(x):08x}" for x in str(text))
        + '"'
    )


def uses(card: Card) -> str:
    """What the model is for, what it refuses, and what it does not protect from."""
    lengths = card.speech.get("float32")
    beyond = (
        "- an embedding whose length no embedding of speech has (the range was measured on "
        f"{lengths.recordings:,} recordings)"
        if lengths is not None
        else "- (no range of lengths of embeddings was measured: the model was exported without speech)"
    )
    return f"""## What it is for
To say how likely two recordings are of one speaker: to verify a claimed speaker, to find one among enrolled people, to
group recordings by voice. Embeddings are biometric data: in many countries the people whose voices they are must be
asked, and may ask for deletion.

It is not for telling age, sex, origin, health or mood, nor for evidence in court.

## What it refuses
The runtime judges every recording before it decides, and names the reason:

- less than {VERIFY.seconds:g} s of sound ({ENROL.seconds:g} s to enrol), fainter than {VERIFY.level:g} dBFS \
({ENROL.level:g}), or more than {VERIFY.clipped:.0%} of the samples at full scale ({ENROL.clipped:.0%})
- what does not change as speech does: silence, clicks, noise, tones, chords
{beyond}

## What it is no defence against
- recordings that are played back, voices that are synthesised or converted: it does not look for them
- people who imitate a voice, and relatives who share one
- somebody who is made to speak, and somebody else who speaks in the same recording: the embedding is then of both
- noises that change as speech does, music and singing among them: some pass for speech
- speech unlike that of its trials: other languages, microphones, distances, illnesses, children, years between. Its
  error rates hold for speech like that of the trials named above, and were not compared between groups of people

A voice is no password. Where an error costs something, ask for a second proof."""
