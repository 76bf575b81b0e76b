"""The last label once more: what every other expert has to beat."""

from __future__ import annotations

from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.training.online.base import Expert, Script, State
from thalweg.training.online.compiled import compiled

LABELS: Final = 0
VALUE: Final = 1
RIGHT: Final = 2
TOLD: Final = 3


@final
class Last(Expert):
    """Predicts the last known label, or the last known number ("no change").

    Its probability is a fading share of the labels that were equal to the one before; the other
    classes seen so far have what is left in equal parts.

    Parameters
    ----------
    numbers
        Whether numbers are predicted, and no classes.
    memory
        Over about how many labels the share reaches.
    """

    name: ClassVar[str] = "last"

    def __init__(self, *, numbers: bool, memory: float = 200.0) -> None:
        self._numbers = numbers
        self._memory = float(memory)
        # Labels so far, the last one, and of the labels told of while this expert spoke the
        # fading count of those that were what it had said, and of all. Both begin at a half and 1.
        self._facts = np.array([0.0, np.nan, 0.5, 1.0])
        self._seen = np.zeros(0, np.bool_)

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """Take a script's steps in one compiled call."""
        if script.classes > len(self._seen):
            more = np.zeros(script.classes - len(self._seen), np.bool_)
            self._seen = np.concatenate([self._seen, more])
        steps, targets = script.steps, script.targets
        fade = 1 - 1 / self._memory
        _repeat(self._facts, self._seen, self._numbers, fade, steps, targets, said)

    def state(self) -> State:
        """Give all that it has learned; arrays are copies."""
        arrays = {"facts": self._facts.copy(), "seen": self._seen.copy()}
        return State({"numbers": self._numbers, "memory": self._memory}, arrays)

    def restore(self, state: State) -> None:
        """Be what `state` gave, down to the last bit."""
        self._numbers = bool(state.facts["numbers"])
        self._memory = float(state.facts["memory"])
        self._facts = np.array(state.arrays["facts"], np.float64)
        self._seen = np.array(state.arrays["seen"], np.bool_)


@compiled
def _repeat(
    facts: NDArray[np.float64],
    seen: NDArray[np.bool_],
    numbers: bool,  # noqa: FBT001 (compiled code takes its arguments by place)
    fade: float,
    steps: NDArray[np.int64],
    targets: NDArray[np.float64],
    said: NDArray[np.float64],
) -> None:
    """Take all steps in order."""
    for s in range(steps.shape[0]):
        r = steps[s]
        if r < 0:
            _note(facts, seen, numbers, fade, targets[~r], said[~r])
        elif facts[LABELS] == 0:
            said[r] = np.nan
        elif numbers:
            said[r, 0] = facts[VALUE]
        else:
            others = -1.0
            for c in range(seen.shape[0]):
                others += seen[c]
            # Never less than the others: what it said can be told from how much it said of it.
            sure = max(facts[RIGHT] / facts[TOLD], 1.001 / (others + 1)) if others > 0 else 1.0
            said[r] = 0.0
            for c in range(min(seen.shape[0], said.shape[1])):
                if seen[c]:
                    said[r, c] = sure if c == facts[VALUE] else (1 - sure) / others


@compiled
def _note(
    facts: NDArray[np.float64],
    seen: NDArray[np.bool_],
    numbers: bool,  # noqa: FBT001 (compiled code takes its arguments by place)
    fade: float,
    target: float,
    said: NDArray[np.float64],
) -> None:
    """Note a label, and whether what was said of its row was right."""
    if np.isnan(target):
        return
    if not numbers:
        if not np.isnan(said[0]):
            best = 0
            for c in range(said.shape[0]):
                if said[c] > said[best]:
                    best = c
            facts[RIGHT] = fade * facts[RIGHT] + (best == int(target))
            facts[TOLD] = fade * facts[TOLD] + 1
        seen[int(target)] = True
    facts[LABELS] += 1
    facts[VALUE] = target
