"""The table of faults: what can happen, what the user sees, what is never lost, and the test that causes it.

A test asks for its row by name (`fault`) and looks for what it `sees` in the message that it caused: so docs/faults.md,
which `python -m tests.faults` writes from here, says what is so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: its name.
        happens: what can happen.
        sees: words of the message that the user gets.
        exits: the exit code of the verb; None where it goes on.
        kept: what is never lost.
        test: file and function in tests/ that causes it.
    """

    kind: str
    happens: str
    sees: str
    exits: int | None
    kept: str
    test: str


FAULTS = (
    Fault(
        "two at once",
        "A second `pack`, `synth`, `trials`, `train`, `distil`, `import`, `export`, `study`, `demo` or `embed` writes "
        "where one is at work.",
        "another process writes here: ",
        1,
        "All that the first one does: the second touches nothing. The message names its process and since when.",
        "faults/test_two_at_once.py::test_the_second_is_refused",
    ),
    Fault(
        "two at one teacher cache",
        "Two processes begin one teacher cache.",
        "another process writes ",
        None,
        "The second waits and finds the cache whole: no embedding is computed twice.",
        "test_teachers_cache.py::test_the_second_of_two_processes_waits_and_finds_it_whole",
    ),
    Fault(
        "a scheduler ends a training",
        "SIGTERM comes while a model trains: SLURM's time is up, Kubernetes moves a pod.",
        "go on with --resume",
        143,
        "Every step that was done: the checkpoint is written after the step that is being computed, and the resumed "
        "run is the uninterrupted one to the bit.",
        "faults/test_terminated.py::test_a_terminated_training_goes_on_to_the_same_bits",
    ),
    Fault(
        "a scheduler ends a group of processes",
        "SIGTERM comes to torchrun, or to its processes.",
        "go on with --resume",
        143,
        "The same: all processes stop after one step. Start them by `python -m distilvox.train.torchrun`, which is "
        "torchrun without its traceback.",
        "faults/test_terminated.py::test_all_processes_of_a_group_stop_after_one_step",
    ),
    Fault(
        "a scheduler ends any other verb",
        "SIGTERM comes while a verb works that does not train.",
        "what was written so far is whole",
        143,
        "Every file that stood there before; the parts that `pack` and the teacher's cache have done.",
        "test_interrupts.py::test_a_verb_stops_where_it_is",
    ),
    Fault(
        "a study is killed",
        "`study --jobs 2` is killed, by SIGKILL or for its memory.",
        "",
        None,
        "Its processes notice, write their checkpoints, and end: a second study trains no cell beside them.",
        "test_interrupts.py::test_workers_end_with_the_process_that_they_work_for",
    ),
    Fault(
        "the disk fills while a model trains",
        "The file system of the run folder is full when the log, TensorBoard's events or the checkpoint are written.",
        "the disk is full: ",
        1,
        "The last checkpoint: with space and --resume the run goes on from it, to the same bits.",
        "test_train_board.py::test_a_full_disk_is_named_wherever_it_strikes",
    ),
    Fault(
        "a card is altered",
        "One digit of a bundle's threshold, or anything else in card.json, is not what was written.",
        "this bundle card is damaged or altered since it was written: ",
        2,
        "The decision: no verdict is given by a threshold that nobody measured.",
        "faults/test_cards.py::test_one_changed_digit_of_a_threshold_is_refused",
    ),
    Fault(
        "a card of the wrong types",
        "card.json is JSON, but a field is missing or of another type than its own, or it is nested without end.",
        "this bundle card is damaged: ",
        2,
        "The message names the field.",
        "faults/test_cards.py::test_a_wrong_type_is_named",
    ),
    Fault(
        "audio.bin is damaged",
        "Samples of a corpus change after it was packed: a bad copy, a failing disk, a file written over with zeros.",
        "is damaged: the samples of ",
        2,
        "The model: a few utterances are compared with their checks at every start and every epoch, and "
        "`distilvox corpus --verify` compares all.",
        "test_corpus_check.py::test_one_changed_sample_is_found_when_it_is_looked_at",
    ),
    Fault(
        "audio.bin is cut while it is read",
        "Somebody truncates the samples under a running training.",
        "was cut while it was read",
        2,
        "The last checkpoint; the size is looked at before every crop, so that no bus error ends the process.",
        "test_corpus_check.py::test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_bus_error",
    ),
    Fault(
        "a table whose offsets are wrong",
        "utterances.parquet is whole, but its offsets are all 0, overlap, or lie outside of the audio.",
        "is damaged: ",
        2,
        "The message names the utterance; nothing is trained on another's speech.",
        "test_corpus_check.py::test_places_that_do_not_fit_the_audio",
    ),
    Fault(
        "a table of the wrong types",
        "A column of utterances.parquet holds another type than its own, or gaps.",
        "the corpus is damaged: ",
        2,
        "The message names the column.",
        "test_corpus_check.py::test_a_column_of_another_type_is_named",
    ),
    Fault(
        "a corpus.json of the wrong types",
        "A field of corpus.json is missing or of another type than its own.",
        "",
        2,
        "The message names the field.",
        "test_corpus_check.py::test_a_manifest_of_the_wrong_types_is_named",
    ),
    Fault(
        "a study.json of the wrong types",
        "The result of a study is JSON, but a field is missing, of another type than its own, or speaks of a method "
        "that is none.",
        "this result of a study is damaged: ",
        2,
        "The message names the field, with the method.",
        "faults/test_studies.py::test_a_wrong_type_is_named",
    ),
    Fault(
        "a recipe of the wrong types",
        "A recipe is YAML, but a value is of another type than its field, beyond 64 bits, or nested without end.",
        "",
        2,
        "The message names the part of the recipe.",
        "faults/test_recipes.py::test_a_wrong_type_is_an_error_that_says_where",
    ),
    Fault(
        "a run's weights are damaged",
        "A bit of model.safetensors flips; its numbers stay finite.",
        "these weights are damaged: ",
        2,
        "The file states the sha256 of its own tensors: no other weights are evaluated, exported or taught by.",
        "test_train_runfolder.py::test_one_flipped_bit_of_the_weights_is_found",
    ),
    Fault(
        "too much is asked for",
        "100,000 threads, crops of years, a layer of a thousand million channels, a grid of millions of runs.",
        "is more than any machine should be asked for",
        2,
        "The machine. The message has the limit, and the variable of the environment that raises it.",
        "test_limits.py::test_too_much_is_refused_with_the_number_and_the_way_to_raise_it",
    ),
    Fault(
        "memory that cannot be had",
        "Python, torch or onnxruntime is refused memory by the system.",
        "there is not enough memory for this",
        1,
        "What stood there before; the message says what to ask less of.",
        "faults/test_messages.py::test_memory_that_cannot_be_had",
    ),
    Fault(
        "a checkpoint that is none",
        "checkpoint/state.pt asks for code, or its bytes are damaged, or it holds something else.",
        "this checkpoint is damaged: ",
        2,
        "Nothing in it is run, and nobody is advised to.",
        "faults/test_messages.py::test_a_checkpoint_that_asks_for_code",
    ),
    Fault(
        "a bundle that onnxruntime refuses",
        "A model fits its card, but this onnxruntime cannot run it.",
        "cannot run ",
        1,
        "The message names the file and onnxruntime's version.",
        "faults/test_messages.py::test_a_model_that_onnxruntime_refuses",
    ),
    Fault(
        "a kill while a file is written",
        "SIGKILL, a crash or a power cut strikes while a file is written.",
        "",
        None,
        "The old file; its unfinished successor goes when a verb next works in that folder.",
        "test_files.py::test_a_sweep_removes_what_the_dead_left_and_nothing_else",
    ),
)


def fault(kind: str) -> Fault:
    """The row of that name."""
    return next(row for row in FAULTS if row.kind == kind)
