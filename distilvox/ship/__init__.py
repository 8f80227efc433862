"""What leaves the house: a run becomes a bundle, and a bundle runs without torch.

- `runtime`   `Verifier`: audio → embedding → score → decision; numpy, onnxruntime, libsndfile
- `decision`  a score, the threshold, and what the threshold rests on
- `bundle`    a bundle's files, each checked against its card before use
- `card`      what `card.json` holds
- `verify`    what the command line calls of these
- `export`    run folder → bundle (from here on with torch)
- `trace`     PyTorch → ONNX
- `parity`    ONNX against PyTorch at unseen lengths
- `quantize`  the 8-bit backbone
- `speed`     how long a student takes on one core
- `students`  every student side by side
- `readme`    the card in words

Importing `distilvox.ship` imports none of them.
"""
