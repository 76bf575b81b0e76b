"""The network that took the trained model's place; until one does, it says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from thalweg.models.model import Model
from thalweg.training.online.base import Expert, Script, State
from thalweg.training.online.experts.frozen import Frozen, require_single


@final
class Champion(Expert):
    """Says what the network says that was promoted last.

    Whether one is promoted is decided by a test of losses, not here. The trained model itself is
    still heard, as `Frozen`.

    Parameters
    ----------
    model
        The trained model that it all began with.
    """

    name: ClassVar[str] = "champion"

    def __init__(self, model: Model) -> None:
        require_single(model)
        self._first = model
        self._said: Frozen | None = None

    @property
    def there(self) -> bool:
        """Whether a network was promoted."""
        return self._said is not None

    @property
    def model(self) -> Model:
        """The network that answers now: the trained one until another is promoted."""
        return self._first if self._said is None else self._said.model

    def become(self, model: Model) -> None:
        """Say what another model of the same target says, from now on."""
        self._said = Frozen(model)

    def end(self) -> None:
        """Say nothing, as before the first promotion."""
        self._said = None

    def prepare(self, script: Script) -> None:
        """Answer for all rows that the script predicts, at once."""
        if self._said is not None:
            self._said.prepare(replace(script, first=None))

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """See `Expert.run`; nothing is learned."""
        if self._said is not None:
            self._said.run(replace(script, first=None), said)
        else:
            said[script.steps[script.steps >= 0]] = np.nan

    def state(self) -> State:
        """Say whether there is one; the network itself is a saved model."""
        return State({"there": self.there})

    def restore(self, state: State) -> None:
        """Be without one where there was none; else `become` is told which it was."""
        if not state.facts["there"]:
            self._said = None
