"""Tails: how likely a value so high is, told from the highest of those seen (peaks over threshold).

Above a high level, what values exceed it by follows a generalised Pareto curve, whatever the values
are (Pickands 1975; Balkema and de Haan 1974). Fitted to the excesses it says how rare values are
that were never seen: the way of SPOT (Siffer et al. 2017, "Anomaly Detection in Streams with
Extreme Value Theory").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PEAKS: Final = 0.1
"""The share of the values, the highest, that the curve is fitted to."""

FEWEST: Final = 10
"""Of fewer excesses no shape can be told: then the curve is the exponential one."""

STEPS: Final = 64
"""By how many quantiles the values below the level are known."""

SHAPES: Final = (-0.5, 1.0)
"""Shapes are kept within this: no hard end just above what was seen, no tail without a mean."""


@final
@dataclass(frozen=True, slots=True)
class TailFit:
    """What is known of how values are spread: quantiles up to a level, a curve above it.

    Parameters
    ----------
    quantiles
        Values in order, of equal steps of probability; the last is the level. Empty: nothing was
        seen.
    share
        The share of values above the level.
    shape, scale
        Of the generalised Pareto curve: its tail ``(1 + shape * excess / scale) ** (-1 / shape)``.
    count
        How many values were seen.

    Examples
    --------
    >>> found = TailFit.of(np.random.default_rng(0).exponential(size=10_000))
    >>> bool(abs(found.probability(np.array([math.log(1000)]))[0] - 0.001) < 0.0003)
    True
    """

    quantiles: tuple[float, ...] = ()
    share: float = 0.0
    shape: float = 0.0
    scale: float = 1.0
    count: int = 0

    @classmethod
    def of(cls, values: Floats, peaks: float = PEAKS) -> Self:
        """Fit finite values [N].

        Parameters
        ----------
        values
            Any numbers; their order does not matter.
        peaks
            The share of the values that the curve is fitted to.
        """
        if not len(values):
            return cls()
        ordered = np.sort(values.astype(np.float64))
        quantiles = np.quantile(ordered, np.linspace(0, 1 - peaks, STEPS + 1))
        excesses = ordered[ordered > quantiles[-1]] - quantiles[-1]
        shape, scale = fit_pareto(excesses)
        share = len(excesses) / len(ordered)
        return cls(tuple(quantiles.tolist()), share, shape, scale, len(ordered))

    @property
    def level(self) -> float:
        """Where the curve begins."""
        return self.quantiles[-1] if self.quantiles else -math.inf

    def probability(self, values: NDArray[Any]) -> Floats:
        """Say how likely a value at least so high is, float64 [N]; 1 where nothing was seen.

        It falls as values rise, and is never 0: in N values a chance below 1 / N was never seen,
        but is what the curve says.
        """
        if not self.quantiles:
            return np.ones(len(values))
        given = values.astype(np.float64)
        steps = np.linspace(1, self.share, len(self.quantiles))
        below = np.interp(given, *_risen(np.array(self.quantiles), steps))
        above = self.share * survival(given - self.level, self.shape, self.scale)
        found: Floats = np.where(given > self.level, above, below)
        return np.maximum(found, 1e-300)

    def value(self, probability: float) -> float:
        """Give the value that is passed with a probability: `probability` turned round."""
        if not self.quantiles:
            return math.inf
        if probability >= self.share:
            steps = np.linspace(1, self.share, len(self.quantiles))
            return float(np.interp(-probability, -steps, self.quantiles))
        ratio = probability / self.share
        if abs(self.shape) < 1e-9:
            return self.level - self.scale * math.log(ratio)
        return self.level + self.scale / self.shape * float(ratio**-self.shape - 1)

    def moved(self, by: float) -> Self:
        """Give the same spread of values that all lie higher."""
        return replace(self, quantiles=tuple(value + by for value in self.quantiles))

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {**asdict(self), "quantiles": list(self.quantiles)}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """Read plain data back."""
        return cls(**{**given, "quantiles": tuple(given["quantiles"])})


def _risen(values: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """Of equal values keep the largest step: a value as low as many others is not rare."""
    first = np.concatenate([[True], np.diff(values) > 0])
    return values[first], steps[first]


def survival(excess: Floats, shape: float, scale: float) -> Floats:
    """Give the tail of a generalised Pareto curve: how likely an excess [N] is passed."""
    ahead = np.maximum(excess, 0) / scale
    if abs(shape) < 1e-9:
        return np.asarray(np.exp(-ahead), np.float64)
    inside = np.maximum(1 + shape * ahead, 1e-12)
    return np.asarray(inside ** (-1 / shape), np.float64)


def fit_pareto(excesses: Floats | Sequence[float]) -> tuple[float, float]:
    """Fit a generalised Pareto curve to positive excesses [N], in any order.

    The estimate of Zhang and Stephens (2009): a mean over likely curves, which needs no start,
    always ends, and errs less than the likeliest curve where excesses are few. As Vehtari et al.
    (2024, "Pareto smoothed importance sampling") do, few excesses are drawn to a shape of their
    own: here to 0, the exponential curve, by ten imagined ones.

    Returns
    -------
    tuple
        Shape and scale, the scale above 0; ``(0, mean)`` of fewer than `FEWEST` excesses.

    Examples
    --------
    >>> shape, scale = fit_pareto(np.random.default_rng(0).pareto(4, 20_000))
    >>> abs(shape - 0.25) < 0.03 and abs(scale - 0.25) < 0.02
    True
    """
    ordered = np.sort(np.asarray(excesses, dtype=np.float64))
    ordered = ordered[ordered > 0]
    count = len(ordered)
    if count < FEWEST:
        return 0.0, float(ordered.mean()) if count else 1.0
    tries = 30 + int(math.sqrt(count))
    quarter = ordered[int(count / 4 + 0.5) - 1]
    places = np.arange(1, tries + 1)
    slopes = 1 / ordered[-1] + (1 - np.sqrt(tries / (places - 0.5))) / (3 * max(quarter, 1e-300))
    slopes = slopes[slopes != 0]
    shapes = np.log1p(-slopes[:, None] * ordered).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likely = count * (np.log(-slopes / shapes) - shapes - 1)
    likely[~np.isfinite(likely)] = -np.inf
    weights = np.exp(likely - likely.max())
    slope = float((slopes * weights).sum() / weights.sum())
    if slope == 0:
        return 0.0, float(ordered.mean())
    shape = float(np.log1p(-slope * ordered).mean())
    scale = -shape / slope
    drawn = min(max(shape * count / (count + 10), SHAPES[0]), SHAPES[1])
    if not (math.isfinite(scale) and scale > 0):
        return 0.0, float(ordered.mean())
    # The mean excess is what it is: another shape needs another scale.
    if shape < 1 and drawn < 1:
        scale *= (1 - drawn) / (1 - shape)
    return drawn, scale
