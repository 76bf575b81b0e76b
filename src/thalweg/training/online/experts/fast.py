"""A small network that learns from every record at once, in exact order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.training.online.base import Expert, Inputs, News, Script, State
from thalweg.training.online.kernels import (
    KNOTS,
    SEED,
    SPAN,
    STIRRED,
    Desk,
    Net,
    Rates,
    draw,
    take,
)

_MIDDLE: Final = 1 << 40  # where the second layer's draws begin, and the categories'
_UNITS: Final = 1 << 41
_SHIFT: Final = 1 << 42


@final
@dataclass(frozen=True, slots=True)
class Dials:
    """How the network learns. The defaults are measured: see docs/log.md.

    Parameters
    ----------
    width
        How many numbers each of the two hidden layers has: a multiple of 8.
    rate
        The learning rate of a new label. It is high, and its step is short: see ``clip``.
    again
        The learning rate of a row that is rehearsed.
    clip
        The longest gradient; longer ones are shortened to it.
    replay
        How many of the last rows are rehearsed after each label (Rolnick et al. 2019). 0: none,
        which is more than twice as fast.
    shortest, longest
        How many of the last rows are drawn from, at least while nothing changes and at most.
    knots
        At how many places of each number's range it has a row of its own, so that steps and
        thresholds are learned at once (piecewise linear: Gorishniy et al. 2022). 0: none.
    memory
        Over about how many rows running means and variances reach.
    spread
        The standard deviation of the first layer's first weights.
    boost
        By how much the rates are raised after a change.
    stirred
        For how many labels they stay so.
    temper
        The rate at which it learns how sure it may be.
    """

    width: int = 64
    rate: float = 0.15
    again: float = 0.02
    clip: float = 1.0
    replay: int = 2
    shortest: int = 200
    longest: int = 1000
    knots: int = 16
    memory: float = 300.0
    spread: float = 0.05
    boost: float = 1.5
    stirred: int = 256
    temper: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises
        ------
        OptionError
            Naming the dial.
        """
        if self.width < 8 or self.width % 8:
            raise OptionError(f"width is {self.width}", "a multiple of 8")
        if self.knots < 0 or self.knots == 1:
            raise OptionError(f"knots is {self.knots}", "0, or 2 and more")
        if not 1 <= self.shortest <= self.longest:
            given = f"shortest is {self.shortest} and longest {self.longest}"
            raise OptionError(given, "1 or more, in this order")
        if min(self.rate, self.again, self.clip, self.spread, self.boost) <= 0:
            raise OptionError("a rate, clip, spread or boost is 0 or less", "numbers above 0")
        if self.replay < 0 or self.memory < 1 or self.stirred < 0:
            raise OptionError("replay, memory or stirred is negative", "0 or more; memory from 1")


AMOUNTS: Final = Dials(rate=0.02, again=0.005, clip=10.0)
"""The defaults where numbers are predicted: a squared error's slope says how far to go."""


@final
class Fast(Expert):
    """A network of two hidden layers with LayerNorm that learns from every label at once.

    Predictions and weights depend on the order of records alone, not on how they came in batches:
    `learn_many` is `learn_one`, one after the other, in every bit.

    Parameters
    ----------
    numbers
        Whether numbers are predicted, and no classes.
    dials
        How it learns; None: `Dials` as they are, and `AMOUNTS` for numbers.
    seed
        Draws the first weights and what is rehearsed.

    Examples
    --------
    >>> fast = Fast(numbers=False)
    >>> x = np.linspace(-1, 1, 400)
    >>> inputs = Inputs(x[:, None], np.zeros((400, 0), np.int32))
    >>> fast.learn_many(inputs, (x > 0.2).astype(float))
    >>> bool(0.3 < fast.predict_many(inputs).argmax(axis=1).mean() < 0.5)
    True
    """

    name: ClassVar[str] = "fast"

    def __init__(self, *, numbers: bool, dials: Dials | None = None, seed: int = 0) -> None:
        self._numbers = numbers
        self._dials = dials or (AMOUNTS if numbers else Dials())
        self._units = 0
        dials = self._dials
        self._rates = Rates(
            float(dials.rate),
            float(dials.again),
            float(dials.clip),
            dials.replay,
            dials.knots,
            float(dials.memory),
            float(dials.spread),
            float(dials.boost),
            float(dials.temper),
        )
        width = dials.width
        middle = np.zeros((width, width), np.float32)
        draw(middle, seed, _MIDDLE, float((2 / width) ** 0.5))
        shift = _zeros(2, width)
        draw(shift[:1], seed, _SHIFT, float(dials.spread))  # else rows without any cell say nothing
        counts = np.zeros(7, np.int64)
        counts[[SEED, SPAN]] = seed, dials.longest
        room = dials.longest if dials.replay else 1
        outputs = int(numbers)
        self._net = Net(
            columns=_zeros(0, width),
            units=_zeros(0, width),
            middle=middle,
            last=_zeros(outputs, width),
            start=_zeros(outputs),
            shift=shift,
            gain=np.ones((2, width), np.float32),
            bias=_zeros(2, width),
            seen=np.zeros(0, np.bool_),
            moments=np.zeros((0, 3)),
            scale=np.zeros(4),
            ring_numbers=np.zeros((room, 0)),
            ring_units=np.zeros((room, 0), np.int32),
            ring_targets=np.zeros(room),
            counts=counts,
        )
        self._desk = _desk(self._net)

    @property
    def dials(self) -> Dials:
        """How it learns."""
        return self._dials

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """Take a script's steps in one compiled call."""
        self._take(script.inputs, script.targets, script.steps, script.classes, said)

    def learn_one(self, inputs: Inputs, target: float) -> None:
        """Learn from one row, a batch of one; `learn_many` of one."""
        self.learn_many(inputs, np.array([target]))

    def learn_many(self, inputs: Inputs, targets: NDArray[np.float64]) -> None:
        """Learn from rows [N] with targets [N], one after the other, each predicted before."""
        rows = np.arange(len(inputs))
        steps = np.stack([rows, ~rows], axis=1).ravel()
        self._take(inputs, targets, steps, self._classes(targets), self._blank(inputs, targets))

    def predict_many(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predict rows [N] and learn nothing.

        Returns
        -------
        numpy.ndarray
            float64 [N, width]: probabilities of the classes, or numbers; NaN before any label.
        """
        targets = np.full(len(inputs), np.nan)
        said = self._blank(inputs, targets)
        classes = self._classes(targets)
        self._take(inputs, targets, np.arange(len(inputs)), classes, said)
        return said

    def settle(self, news: News) -> None:
        """Draw from the stretch without change alone; learn faster for a while after a change."""
        shortest = 1 if news.drift else self._dials.shortest
        self._net.counts[SPAN] = max(shortest, min(news.stretch, self._dials.longest))
        if news.drift:
            self._net.counts[STIRRED] = self._dials.stirred

    def state(self) -> State:
        """Give all that it has learned; arrays are copies."""
        arrays = {name: array.copy() for name, array in self._net._asdict().items()}
        arrays["units"] = arrays["units"][: self._units]
        return State({"dials": asdict(self._dials), "numbers": self._numbers}, arrays)

    def restore(self, state: State) -> None:
        """Be what `state` gave, down to the last bit; the dials are the state's."""
        head = Fast(numbers=bool(state.facts["numbers"]), dials=Dials(**state.facts["dials"]))
        made: dict[str, Any] = {}
        for name, own in head._net._asdict().items():
            made[name] = np.ascontiguousarray(state.arrays[name], dtype=own.dtype).copy()
        self._numbers, self._dials, self._rates = head._numbers, head._dials, head._rates
        self._net = Net(**made)
        self._units = len(self._net.units)
        self._desk = _desk(self._net)

    def _classes(self, targets: NDArray[np.float64]) -> int:
        """Count the classes, those of some targets included; 0 for numbers."""
        if self._numbers:
            return 0
        known = targets[~np.isnan(targets)]
        return max(len(self._net.seen), int(known.max()) + 1 if len(known) else 0)

    def _blank(self, inputs: Inputs, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full((len(inputs), max(1, self._classes(targets))), np.nan)

    def _take(
        self,
        inputs: Inputs,
        targets: NDArray[np.float64],
        steps: NDArray[np.int64],
        classes: int,
        said: NDArray[np.float64],
    ) -> None:
        """Grow to what comes, and take some steps."""
        numbers, units = self._fitted(inputs)
        self._grow(numbers.shape[1], units, classes)
        take(self._net, self._rates, numbers, units, targets, steps, said, self._desk)

    def _fitted(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Give inputs with at least as many columns as were ever seen; what is gone is missing."""
        numbers = np.ascontiguousarray(inputs.numbers, dtype=np.float64)
        units = np.ascontiguousarray(inputs.units, dtype=np.int32)
        gone = len(self._net.moments) - numbers.shape[1]
        if gone > 0:
            numbers = np.pad(numbers, ((0, 0), (0, gone)), constant_values=np.nan)
        gone = self._net.ring_units.shape[1] - units.shape[1]
        if gone > 0:
            units = np.pad(units, ((0, 0), (0, gone)), constant_values=-1)
        return numbers, units

    def _grow(self, numbers: int, units: NDArray[np.int32], classes: int) -> None:
        """Make room at the right; what is there stays as it is in every bit."""
        net, width = self._net, self._dials.width
        most = int(units.max(initial=-1)) + 1
        self._units = max(self._units, most)
        more = numbers > len(net.moments) or units.shape[1] > net.ring_units.shape[1]
        if not more and most <= len(net.units) and classes <= len(net.seen):
            return
        if most > len(net.units):
            room = max(most, 2 * len(net.units))
            fresh = _zeros(room - len(net.units), width)
            first = _UNITS + len(net.units)
            draw(fresh, int(net.counts[SEED]), first, float(self._dials.spread))
            net = net._replace(units=np.concatenate([net.units, fresh]))
        if classes:
            net = net._replace(
                last=_longer(net.last, classes),
                start=_longer(net.start, classes),
                seen=_longer(net.seen, classes),
            )
        lacking = ((0, 0), (0, max(0, numbers - net.ring_numbers.shape[1])))
        without = ((0, 0), (0, max(0, units.shape[1] - net.ring_units.shape[1])))
        net = net._replace(
            columns=_longer(net.columns, numbers * (KNOTS + self._dials.knots)),
            moments=_longer(net.moments, numbers),
            ring_numbers=np.pad(net.ring_numbers, lacking, constant_values=np.nan),
            ring_units=np.pad(net.ring_units, without, constant_values=-1),
        )
        self._net, self._desk = net, _desk(net)


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def _longer(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Give an array with zeros at its end, of a length at least."""
    more = max(0, length - len(array))
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


def _desk(net: Net) -> Desk:
    """Make room to work in."""
    width, outputs, touched = net.shift.shape[1], len(net.last), 3 * len(net.moments) + 1
    return Desk(
        places=np.zeros(touched, np.int64),
        values=_zeros(touched),
        live=np.zeros(width, np.int64),
        heights=_zeros(width),
        hat=_zeros(2, width),
        height=_zeros(2, width),
        back=_zeros(2, width),
        slope=_zeros(4, width),
        out=_zeros(outputs),
        wrong=_zeros(outputs),
    )
