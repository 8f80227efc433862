"""The page's sentences."""

from __future__ import annotations

EER = {
    False: "Lower is better. Bars of single runs are 95 % intervals over speakers: others would have given other "
    "rates. Bars of several seeds are one standard deviation, rings the seeds.",
    True: "Lower is better. Large marks are means over training seeds with one standard deviation, rings the "
    "single seeds; runs outside the study carry their 95 % interval over speakers.",
}
SPEAKERS = (
    "What more training speakers bring, on a logarithmic axis: means over seeds with one standard deviation (of a "
    "single seed: the 95 % interval over speakers), rings the single seeds."
)
DET = "Lower left is better. ● equal error rate, ◆ least cost where 1 trial in 100 is a target (minDCF 0.01)."
DET_SOME = " Of each method the seed with the median EER is drawn, of more than 16 methods the best 16."
SCORES = (
    "The less the two hills overlap, the better. Each is drawn as shares of its own trials; the dashed line is the "
    "threshold at which both errors are equally frequent."
)
LEARNING = (
    "Moving means over 1/40 of the steps (5 steps in short runs); of several seeds the mean, and shaded the range. "
    "Losses of distillation are shown before their weights."
)
MAP = (
    "The {} speakers with most utterances in the trials: each dot is an utterance, a line leads to its "
    "speaker's middle. A t-SNE of length-normalised embeddings: it keeps neighbours together, while distances "
    "between clusters and their sizes mean little. The table says how near the embeddings really are."
)
AGREEMENT = (
    "On speakers that neither was trained on: the cosine between both embeddings once one space is rotated into the "
    "other, whether both rank the trials alike, and how many of an utterance's ten nearest others they share."
)
MODELS = (
    "Where no speed was measured, the size is that of the student's weights. Multiply–accumulates are those of the "
    "network, without the front end. Times are those of the machine that made this page, on one thread."
)
STUDY_ALONE = (
    "This page rests on a study's result alone. With its run folders (distilvox report STUDY_FOLDER) it also "
    "has DET curves, scores, learning curves, the map of speakers, sizes, and the commands that made them."
)

NAVIGATION = {
    "eer": "EER", "speakers": "Speaker count", "det": "DET curves", "scores": "Scores", "learning": "Learning",
    "map": "Speakers", "agreement": "Agreement", "models": "Models", "sources": "Sources",
}  # fmt: skip
