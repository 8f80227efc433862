"""The first number that is not finite stops a run, and says which it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distilvox.errors import UserError

OPTIONS = {
    "ce": "--scale",
    "tskd": "--kd-scale or --alpha",
    "nskd": "--kd-scale or --gamma",
    "kld": "--kd-scale",
    "masses": "--kd-scale or --alpha",
    "confusion": "--kd-scale or --gamma",
    "kd_weight": "--kd-weight",
}
"""What else makes a part of the loss too large for float32, besides steps that are too long."""


def finite_loss(lines: Sequence[Mapping[str, float]], option: str) -> float:
    """The last loss of logged steps; NaN where there are none.

    Args:
        option: of the command line, that sets the learning rate of this stage.

    Raises:
        UserError: a loss or a gradient is not finite: names the first such step, and what is not finite in it.
    """
    for line in lines:
        odd = [name for name, value in line.items() if not math.isfinite(value)]
        if "total" in odd or "grad_norm" in odd:
            causes = [OPTIONS[name] for name in odd if name in OPTIONS]
            raise UserError(
                f"the loss is not finite at step {int(line['step'])}",
                got=", ".join(f"{name} {value:g}" for name, value in line.items()),
                remedy=f"lower {' or '.join([option, *causes])}; the last checkpoint is from before this step",
                exit_code=1,
            )
    return lines[-1]["total"] if lines else math.nan
