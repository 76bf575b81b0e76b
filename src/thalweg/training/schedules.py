"""Learning-rate schedules: a factor for each step, fitted to how many steps there will be."""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

from thalweg.core.errors import OptionError, near

Name = Literal["cosine", "linear", "constant"]
NAMES: Final = get_args(Name)


def factor(name: str, step: int, steps: int, warmup: float = 0.02) -> float:
    """Give the factor on the peak learning rate at a step.

    Parameters
    ----------
    name
        ``cosine`` (Loshchilov & Hutter 2017), ``linear`` or ``constant``.
    step
        From 0.
    steps
        How many steps the whole training has.
    warmup
        The share of steps over which the rate rises from near 0, linearly.

    Raises
    ------
    OptionError
        Where the name is unknown.

    Examples
    --------
    >>> [round(factor("cosine", step, 100, warmup=0.1), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if name not in NAMES:
        raise OptionError(
            f"the schedule is {name!r}", "one of " + ", ".join(NAMES), near(name, NAMES)
        )
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if name == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * done)) if name == "cosine" else 1.0 - done
