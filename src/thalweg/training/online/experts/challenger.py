"""A head that begins anew after a change, and may take the place of the one that went on."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.seeds import derive
from thalweg.training.online.base import Expert, News, Script, State
from thalweg.training.online.experts.fast import Fast


@final
class Challenger(Expert):
    """Says nothing until a change is confirmed; then it is a `Fast` that knows nothing yet.

    Whether it takes the place of the one that went on is decided by a test of their losses, not
    here.

    Parameters
    ----------
    numbers
        Whether numbers are predicted, and no classes.
    seed
        Draws the first weights, each time others.
    """

    name: ClassVar[str] = "challenger"

    def __init__(self, *, numbers: bool, seed: int = 0) -> None:
        self._numbers = numbers
        self._seed = seed
        self._begun = 0
        self._since = 0  # settles since it began or ended, and how many it rests after an end
        self._rest = 0
        self._head: Fast | None = None

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """Let the head take a script's steps, where there is one."""
        if self._head is not None:
            self._head.run(script, said)

    def settle(self, news: News) -> None:
        """Begin anew after a change, unless a head is at it already or gave up of late."""
        self._since += 1
        if self._head is None and news.drift and self._since > self._rest:
            self._begin()
        elif self._head is not None:
            self._head.settle(news)

    def end(self) -> None:
        """Say nothing any more, until a change after as long a time as the head was at it."""
        self._head, self._rest, self._since = None, self._since, 0

    def state_of_head(self) -> State:
        """Give what the head has learned; there is one."""
        if self._head is None:
            raise AssertionError
        return self._head.state()

    def state(self) -> State:
        """Give all that it has learned."""
        facts = {
            "begun": self._begun,
            "there": self._head is not None,
            "since": self._since,
            "rest": self._rest,
        }
        if self._head is None:
            return State(facts)
        own = self._head.state()
        return State({**facts, "head": own.facts}, own.arrays)

    def restore(self, state: State) -> None:
        """Be what `state` gave."""
        self._begun, self._head = state.facts["begun"], None
        if state.facts["there"]:
            self._begun -= 1
            self._begin().restore(State(state.facts["head"], state.arrays))
        self._since, self._rest = state.facts["since"], state.facts["rest"]

    def _begin(self) -> Fast:
        """Make a head that knows nothing."""
        self._head = Fast(numbers=self._numbers, seed=derive(self._seed, str(self._begun)))
        self._begun += 1
        self._since = 0
        return self._head
