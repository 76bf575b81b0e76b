"""A contest of two predictors that may be stopped at any moment: a bet on who loses less.

What grows while the challenger does better is a wealth that nobody could expect to make if it did
not (an e-process); so whoever looks after every event, and stops when it is large, is wrong no more
often than was said (Howard et al. 2021; Choe and Ramdas 2023 on comparing forecasters; Waudby-Smith
and Ramdas 2023 on betting).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["promote", "reject"]

_BETS: Final = 0.75 * 0.5 ** (np.arange(14) / 2)
"""How much is staked, from three quarters to a hundredth: a mixture needs no choice among them."""

_PRICES: Final = -np.log1p(-_BETS) - _BETS
"""What each stake costs for every unit of variance (Fan et al. 2015, Howard et al. 2021)."""

_PIECE: Final = 8192


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a contest stands.

    Parameters
    ----------
    pairs
        How many pairs of losses were seen.
    difference
        The champion's mean loss less the challenger's, each clipped: above 0 the challenger is
        better.
    low, high
        The bounds of that difference: right at every moment at once, but for a share of `alpha`.
    evidence
        The odds against a challenger that is no better: promoted at ``1 / alpha``.
    verdict
        What was decided, at the first moment when it could be; None while it is open.
    decided
        After how many pairs.
    """

    pairs: int
    difference: float
    low: float
    high: float
    evidence: float
    verdict: Verdict | None
    decided: int | None


@final
class Contest:
    """A sequential test on paired losses, champion and challenger on the same events.

    What is tested is the running mean of what the difference was to be expected, given all before:
    nothing is assumed of how losses depend on one another, nor that they stay as they are. With a
    challenger that at no moment was better on average since the start, "promote" comes with a
    probability of `alpha` at most, ever; likewise "reject" with one that at no moment was worse.
    One that was truly better up to some moment may well be promoted there: what comes after it
    nobody can promise.

    Parameters
    ----------
    bound
        Losses are clipped to [0, bound]: 1 for mistakes; a few units of log loss.
    alpha
        The share of contests that may end wrongly, on each side. Default 0.01.
    least
        No verdict before so many pairs. Default 256.
    most
        After so many pairs without proof the challenger is rejected; None: it may go on for ever.

    Examples
    --------
    >>> contest = Contest()
    >>> draw = np.random.default_rng(0)
    >>> contest.take((draw.random(4000) < 0.30) * 1.0, (draw.random(4000) < 0.20) * 1.0)
    'promote'
    """

    def __init__(
        self,
        bound: float = 1.0,
        *,
        alpha: float = 0.01,
        least: int = 256,
        most: int | None = None,
    ) -> None:
        self.bound = bound
        self.alpha = alpha
        self.least = least
        self.most = most
        self._pairs = 0
        self._sum = 0.0  # of differences, in units of twice the bound: each within half a unit
        self._spread = 0.0  # of squared distances from what went before
        self._verdict: Verdict | None = None
        self._decided: int | None = None

    def take(
        self, champion: NDArray[np.float64], challenger: NDArray[np.float64]
    ) -> Verdict | None:
        """Look at pairs [N] of losses, in order; NaN for either leaves the pair out.

        Returns
        -------
        str or None
            "promote", "reject", or None while nothing is proved; what was said once stays.
        """
        apart = np.clip(champion, 0, self.bound) - np.clip(challenger, 0, self.bound)
        apart = apart[np.isfinite(apart)] / (2 * self.bound)
        for start in range(0, len(apart), _PIECE):
            self._take(apart[start : start + _PIECE])
        return self._verdict

    def standing(self) -> Standing:
        """Say how the contest stands, for people."""
        scale = 2 * self.bound
        low, high = self._bounds()
        return Standing(
            pairs=self._pairs,
            difference=scale * self._sum / max(1, self._pairs),
            low=scale * low,
            high=scale * high,
            evidence=math.exp(min(700.0, float(_wealth(self._sum, self._spread)))),
            verdict=self._verdict,
            decided=self._decided,
        )

    def state(self) -> dict[str, Any]:
        """Give all that was seen, as plain JSON."""
        return {
            "pairs": self._pairs,
            "sum": self._sum,
            "spread": self._spread,
            "verdict": self._verdict,
            "decided": self._decided,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be what `state` gave, down to the last bit."""
        self._pairs = state["pairs"]
        self._sum = state["sum"]
        self._spread = state["spread"]
        self._verdict = state["verdict"]
        self._decided = state["decided"]

    def _take(self, apart: NDArray[np.float64]) -> None:
        """Look at a few differences [N], each within half a unit."""
        # Sums are run through one by one, so that they do not depend on how pairs were cut.
        sums = np.add.accumulate(np.concatenate([[self._sum], apart]))
        pairs = self._pairs + np.arange(1, len(apart) + 1)
        expected = sums[:-1] / pairs  # as if one pair without a difference had come first
        distance = np.square(apart - expected)
        spreads = np.add.accumulate(np.concatenate([[self._spread], distance]))
        if self._verdict is None:
            needed = math.log(1 / self.alpha)
            ready = pairs >= self.least
            better = ready & _reached(needed, sums[1:], spreads[1:])
            worse = ready & _reached(needed, -sums[1:], spreads[1:])
            if self.most is not None:
                worse |= ~better & (pairs >= self.most)
            over = np.flatnonzero(better | worse)
            if len(over):
                self._verdict = "promote" if better[over[0]] else "reject"
                self._decided = int(pairs[over[0]])
        self._pairs += len(apart)
        self._sum, self._spread = float(sums[-1]), float(spreads[-1])

    def _bounds(self) -> tuple[float, float]:
        """Give the confidence sequence's bounds of the mean difference, by bisection."""
        if self._pairs == 0:
            return -0.5, 0.5
        needed = math.log(2 / self.alpha)
        found = []
        for sign in (1.0, -1.0):
            least, most = -0.5, 0.5  # the mean, seen from this side, is not below the first
            for _ in range(40):
                middle = (least + most) / 2
                excluded = _wealth(sign * self._sum - self._pairs * middle, self._spread) >= needed
                least, most = (middle, most) if excluded else (least, middle)
            found.append(sign * least)
        return found[0], found[1]


def _reached(
    needed: float, sums: NDArray[np.float64], spreads: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say where the logarithm of the wealth is large enough, bool [N]."""
    found: NDArray[np.bool_] = sums * _BETS[0] >= needed  # else not even the boldest bet got there
    found[found] = _wealth(sums[found], spreads[found]) >= needed
    return found


def _wealth(sums: Any, spreads: Any) -> Any:
    """Give the logarithm of a mixture of bets' wealth, for numbers or arrays [N]."""
    powers = np.multiply.outer(sums, _BETS) - np.multiply.outer(spreads, _PRICES)
    top = powers.max(axis=-1)
    return top + np.log(np.exp(powers - np.expand_dims(top, -1)).mean(axis=-1))
