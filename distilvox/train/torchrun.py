"""`python -m distilvox.train.torchrun` is torchrun, with its options, that ends without a traceback of its own.

torchrun raises where it is told to end, and where a process of its group failed, and prints both as tracebacks, though
every process has said what was wrong. Here it exits with 143 after SIGTERM (128 + the number of any other signal),
and with the exit code of the first process that failed.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run


def main(words: list[str] | None = None) -> int:
    """Runs torchrun with these words; its exit code."""
    try:
        run(get_args_parser().parse_args(words))
    except SignalException as end:
        return 128 + int(end.sigval)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
