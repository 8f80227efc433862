"""Losses: pure functions of tensors that return [B], and the objective that adds them up.

margin     aam: AAM-softmax logits from cosines; cross_entropy
kd         target_kd, non_target_kd and label_kd: label-level distillation, in parts and whole
triage     triage_kd: the target, the speakers that the teacher confuses it with, and the rest
schedule   Course: a weight that moves over the training
embedding  cosine and mse: embedding-level distillation
ensemble   teacher_logits: of one teacher, or of several whose probabilities are averaged
streaming  the same parts straight from embeddings and class centres, without a matrix [B, C]
statistics the sums that it keeps of every utterance, and their merge
passes     over the classes in blocks, and over the processes that hold them
trained    the pass over a head that learns, and its gradient
sharded    classes shared out over processes
config     ObjectiveConfig: which parts, their weights, and how these move over the training
objective  Objective: the weighted total and its named parts
unlabelled utterances without a speaker, and those of one recording
fused      the streaming objective's passes on a GPU
kernels    the Triton kernels that these are made of
checks     what the losses check at their door, and their precision
"""

from distilvox.losses.config import ObjectiveConfig
from distilvox.losses.embedding import cosine, mse
from distilvox.losses.kd import label_kd, non_target_kd, target_kd
from distilvox.losses.margin import aam
from distilvox.losses.objective import Objective

__all__ = [
    "Objective",
    "ObjectiveConfig",
    "aam",
    "cosine",
    "label_kd",
    "mse",
    "non_target_kd",
    "target_kd",
]
