"""A tail that learns from a stream's own scores: how rare a score is, while ordinary changes.

After DSPOT (Siffer et al. 2017, "Anomaly Detection in Streams with Extreme Value Theory"): scores
are taken less the median of those shortly before, and what exceeds a level, gross anomalies left
out, teaches the curve. Every score is judged by what came before it, and what is learned follows
from the scores alone, however they are cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.stats.tails import TailFit

BLOCK: Final = 500
"""After so many scores the tail is fitted anew, wherever batches end."""

KEPT: Final = 10_000
"""How many of the last ordinary scores tell the tail."""

LOCAL: Final = 1_000
"""How many scores, whatever they are, tell where scores lie now."""

GROSS: Final = 0.01
"""What is this much rarer than an alarm teaches nothing.

Were all alarms left out, each fit would be of less than the whole, and the next would call more
scores odd.
"""

RARE: Final = 10
"""How many alarms the kept scores should hold before they tell the tail alone."""

HUGE: Final = 1e300

Floats = NDArray[np.float64]


@final
class Tail:
    """Says how likely scores are, and learns from them.

    Parameters
    ----------
    start
        What held-out rows told; without it nothing is rare before the first block is full.
    alarm
        Scores that are no likelier are anomalies.
    drifts
        Whether the median of the last scores is taken off, so that a slow rise is no alarm.
    kept
        How many of the last ordinary scores tell the tail.

    Examples
    --------
    >>> tail = Tail(alarm=0.001)
    >>> some = tail.take(np.random.default_rng(0).exponential(size=3_000))
    >>> bool(tail.take(np.array([30.0]))[0] < 1e-6), bool(tail.take(np.array([1.0]))[0] > 0.1)
    (True, True)
    """

    def __init__(
        self,
        start: TailFit | None = None,
        alarm: float = 0.01,
        *,
        drifts: bool = True,
        kept: int = KEPT,
    ) -> None:
        if not 0 < alarm < 1:
            raise OptionError(f"the alarm is {alarm}", "a share above 0 and below 1")
        self._alarm = alarm
        self._drifts = drifts
        self._most = max(kept, BLOCK)
        self._fit, self._offset = TailFit(), 0.0
        if start is not None and start.quantiles:
            self._offset = start.value(0.5) if drifts else 0.0
            self._fit = start.moved(-self._offset)
        self._ordinary = np.zeros(0)  # the last ordinary scores, less what was the offset then
        self._recent = np.zeros(0)  # the last scores, whatever they are
        self._block = np.zeros(0)  # those of the block at hand
        self._started = bool(self._fit.quantiles)

    @property
    def fit(self) -> TailFit:
        """The curve that scores are judged by now."""
        return self._fit.moved(self._offset)

    def take(self, scores: NDArray[Any]) -> Floats:
        """Say how likely a score at least so high is, float64 [N], and learn from these scores.

        Parameters
        ----------
        scores
            [N], in the order of the stream; what is no number is judged as ordinary and teaches
            nothing.
        """
        given = np.asarray(scores, np.float64)
        found, done = np.empty(len(given)), 0
        while done < len(given):
            some = given[done : done + BLOCK - len(self._block)]
            found[done : done + len(some)] = self._judge(some - self._offset)
            self._block = np.concatenate([self._block, some])
            done += len(some)
            if len(self._block) == BLOCK:
                self._learn()
        return found

    def _judge(self, scores: Floats) -> Floats:
        """Say how likely scores [N], less the offset, are by what is known."""
        known = np.where(np.isnan(scores), -np.inf, scores)
        likely = self._fit.probability(np.clip(known, -HUGE, HUGE))
        return np.where(np.isnan(scores), 1.0, likely)

    def _learn(self) -> None:
        """Take the block that is full among what is known, and fit anew."""
        block = self._block[np.isfinite(self._block)]
        self._block = np.zeros(0)
        if not len(block):
            return
        self._recent = np.concatenate([self._recent, block])[-LOCAL:]
        local = float(np.median(self._recent)) if self._drifts else 0.0
        if not self._fit.quantiles:
            self._offset = local  # nothing was known that the block could be less than
        ahead = block - self._offset
        ordinary = ahead[self._judge(ahead) > GROSS * self._alarm]
        self._ordinary = np.concatenate([self._ordinary, ordinary])[-self._most :]
        self._offset = local
        enough = min(self._most, max(LOCAL, RARE / self._alarm)) if self._started else 1
        if len(self._ordinary) >= enough:
            self._fit = TailFit.of(self._ordinary)

    def state(self) -> dict[str, Any]:
        """Give all that is remembered as plain JSON; floats come back bit for bit."""
        return {
            "fit": self._fit.to_json(),
            "alarm": self._alarm,
            "drifts": self._drifts,
            "most": self._most,
            "ordinary": self._ordinary.tolist(),
            "recent": self._recent.tolist(),
            # What is no number has no place in JSON.
            "block": [one if math.isfinite(one) else str(one) for one in self._block.tolist()],
            "offset": self._offset,
            "started": self._started,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Go on from what `state` gave."""
        found = cls(None, state["alarm"], drifts=state["drifts"], kept=state["most"])
        found._fit = TailFit.from_json(state["fit"])
        found._ordinary, found._recent, found._block = (
            np.array([float(one) for one in state[name]], np.float64)
            for name in ("ordinary", "recent", "block")
        )
        found._offset, found._started = state["offset"], state["started"]
        return found
