"""distilvox distils a large speaker-verification model (the teacher) into a small one that ships (the student).

The parts, in the order in which speech flows through them:

- `distilvox.corpus`      speech files → one memory-mapped store; trial lists; synthetic speakers
- `distilvox.views`       what training sees of an utterance: crop, speed, noise, room, gain
- `distilvox.models`      students: waveform [B, N] → embedding [B, D]; the speaker head
- `distilvox.teachers`    anything frozen that embeds speech; its head over our speakers; the cache
- `distilvox.losses`      AAM-softmax, target and non-target speaker KD, their sums
- `distilvox.train`       the loop, checkpoints, the run folder
- `distilvox.evaluation`  embed, score, EER and minDCF with confidence intervals, thresholds
- `distilvox.ship`        ONNX bundle, and the runtime that needs no torch
- `distilvox.serve`       the runtime and a book of people over HTTP, and a page to try a voice
- `distilvox.study`       grids of runs on equal terms
- `distilvox.report`      one HTML page that shows all of it

What they share: `errors` and `console` (what people read), `files` (whole or absent), `names` (of utterances), `walk`
(the audio under a folder), `sound` (channels, level, silence: one judgement everywhere), `held` (files in
memory), `containers` (what a file is, and what its header promises), `media` (m4a and the like), `audio` (a file →
samples).

Importing `distilvox` imports none of them: the runtime on a phone must not pay for training.
"""

__version__ = "0.1.0"
