"""Views: what training sees of an utterance the v-th time. Drawn first, applied second.

- `draws`     every random choice, a function of (seed, utterance, v) alone
- `bank`      the noises and rooms that the choices point into
- `augment`   the choices applied to a batch, on the training device
- `resident`  where crops come from: the memory map, or the corpus on the GPU
- `batches`   the order of an epoch, the slice of a rank, a few batches ahead of their use
"""
