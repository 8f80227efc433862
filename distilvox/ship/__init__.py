"""What leaves the house: a run becomes a bundle, and a bundle runs without torch.

- `runtime`   `Verifier`: audio → embedding → score → decision; numpy, onnxruntime, libsndfile
- `decision`  a score, the threshold, and what the threshold rests on
- `samples`   a path or samples → checked samples
- `gate`      what is refused: too little, faint or clipped speech, and no speech
- `lengths`   how long embeddings of speech are
- `quality`   is it speech, how much, and how good?
- `calibration` what a score means: likelihood ratio, thresholds for a rate and a duration
- `ready`     the students that come with the package
- `bundle`    a bundle's files, each checked against its card before use
- `card`      what `card.json` holds
- `seen`      whom a bundle was trained on, without naming anybody
- `verify`    what the command line calls of these
- `book`      enrolled people in one SQLite file: enrol, identify, remove
- `person`    what a book holds of people: names, recordings, their space
- `bookfile`  the SQLite file itself: many processes, kills, damage
- `cohesion`  do several recordings hold one voice?
- `nearest`   who is most like an embedding: one blocked product
- `removal`   deleting that deletes
- `journal`   decisions kept in the book
- `bookcheck` is a book whole?
- `bookexport` a book as Parquet or npz
- `enrolment` from recordings to a book and back
- `pairs`     pairs of recordings → scored trials of each duration (from here on with the extra [train])
- `calibrating` scored trials → a calibration
- `calibrationpage` a calibration as one HTML page
- `operating` the threshold of a judged run
- `export`    run folder → bundle (from here on with torch)
- `trace`     PyTorch → ONNX
- `parity`    ONNX against PyTorch at unseen lengths
- `quantize`  the 8-bit backbone
- `lowered`   8 bits against float32 on the same trials: a bundle that loses too much is not written
- `speed`     how long a student takes on one core
- `students`  every student side by side
- `readme`    the card in words
- `modelcard` its front matter for Hugging Face, its use and its limits

Importing `distilvox.ship` imports none of them.
"""
