"""Training: one run, from its configuration to its folder, on any number of processes.

config        everything that decides a run
fields        its fields by name: read, set, compared
origin        what was typed, on which code
folder        the door of a run folder: may this run begin or go on there
start         the student's first weights
unlabelled    speech without speakers: what of it is learnt from
seen          speakers of the trials that were trained on
distributed   the processes, and what the first of them says for all
syncnorm      batch norm over all processes
targets       what training keeps of its teacher
schedules     the learning rate
stages        training, then perhaps fine-tuning
sharing       class centres, whole or shared out; data parallelism
step          one training step
checkpoint    the state of a run in one file
board         TensorBoard's event file
runlog        the losses, as they come
finite        the first number that is none
stop          SIGTERM, heard by all processes after the same step
optimiser     AdamW
prepare       all that stands before the first step
loop          the training loop
torchrun      torchrun without its own traceback
profile       a step, timed part by part
bottleneck    what these times mean
"""
