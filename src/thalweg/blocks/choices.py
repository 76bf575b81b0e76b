"""Cells as choices out of a few options: what a density over mixed columns is made of.

A number is near to some of its column's bins, a code is one of its levels, a time one of the
hours of a week. Each module gives how dense each option is where a cell lies; what the options'
shares are is for others to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BINS: Final = 24
"""How many bins of equally many rows a number's column has, before its tails are told apart."""

TAILS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""Shares of the rows at which the tails are cut further, on either side."""

MOST_BINS: Final = BINS + 2 * len(TAILS)

SMOOTH: Final = 0.3
"""How far a bin reaches beyond itself, in standard deviations of its column.

A density that follows every value is no measure of how odd one is: on seven tables, 0.1 and sharp
bins told odd rows worse from others.
"""

NARROW: Final = 1e-3
"""The least width of a bin, in standard deviations."""

ANYWHERE: Final = 1e-3
"""The share of a wide curve (Cauchy's) over all numbers: surprise rises on and on, but slowly."""

MOST_LEVELS: Final = 256
"""How many levels of a column are told apart; all others are one option, each of them as likely."""

HOURS: Final = 7 * 24

POWERS: Final = 16
"""The degree to which a normal curve's integral is fitted for graphs."""


@final
class BinnedNumbers(nn.Module):
    """Numbers as blurred bins: narrow where rows are many and towards the ends.

    Each bin is a flat piece that a normal curve has smoothed, so that their mixture is a density
    with fixed places (a mixture density network, Bishop 1994). It is of numbers in standard
    deviations.

    Parameters
    ----------
    columns
        How many columns.

    Examples
    --------
    >>> bins = BinnedNumbers(1)
    >>> some = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    >>> bins.prepare({"values": some, "missing": np.zeros((1000, 1), np.uint8)})
    >>> dense = bins({"values": torch.tensor([[0.0], [9.0]]), "missing": torch.zeros(2, 1)})
    >>> dense.shape, bool(dense[0].max() > 0.5), bool(dense[1].max() < 1e-4)
    (torch.Size([2, 37]), True, True)
    """

    edges: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        start = torch.arange(MOST_BINS + 1, dtype=torch.float32)
        self.register_buffer("edges", start.repeat(columns, 1))
        self.register_buffer("centre", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    @property
    def options(self) -> list[int]:
        """How many options each column has: the bins, and to be missing."""
        return [MOST_BINS + 1] * len(self.edges)

    def prepare(self, fields: Mapping[str, NDArray[Any]]) -> None:
        """Find the bins of training rows: ``values`` [N, C] that are not ``missing``."""
        for column in range(len(self.edges)):
            known = fields["values"][fields["missing"][:, column] == 0, column]
            edges = _edges(known)
            self.edges[column] = torch.inf
            self.edges[column, : len(edges)] = torch.from_numpy(edges)
            self.centre[column], self.scale[column] = _spread(known)

    def taken(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say in which option each cell lies, int64 [N, C]."""
        values = fields["values"].T.contiguous()
        last = self.edges.isfinite().sum(dim=1, keepdim=True) - 2
        places = torch.searchsorted(self.edges, values, right=True) - 1
        bins = places.clamp_min(0).minimum(last)
        return torch.where(fields["missing"].T.bool(), MOST_BINS, bins).T

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give how dense each option is where a cell lies, float32 [N, all options]."""
        scale = self.scale.double()[:, None]
        edges = (self.edges - self.centre[:, None]).double() / scale
        lower, there = edges[:, :-1], edges[:, 1:].isfinite()
        upper = torch.maximum(edges[:, 1:], lower + NARROW)
        width = torch.where(there, upper - lower, 1.0)
        values = (fields["values"] - self.centre).double()[..., None] / scale
        # Right of a bin both ends are near 1, and so their mirror images near 0 are taken.
        side = torch.where(values > lower + width / 2, -1.0, 1.0)
        far, near = side * (values - upper) / SMOOTH, side * (values - lower) / SMOOTH
        dense = (_normal(near) - _normal(far)).abs() / width
        dense = torch.where(there, dense, 0.0)
        wide = ANYWHERE / (torch.pi * (1 + values.square()))
        missing = fields["missing"].bool()[..., None]
        found = torch.where(missing, 0.0, (1 - ANYWHERE) * dense + wide)
        return torch.cat([found, missing.double()], dim=-1).flatten(1).float()


def _spread(values: NDArray[np.float32]) -> tuple[float, float]:
    """Give the median of values [N] and their standard deviation, wild ones moved to a fence.

    The fences are four times as far from the median as the rows at either end.
    """
    if not len(values):
        return 0.0, 1.0
    end = float(np.clip(1.5 / len(values), TAILS[0], 0.25))
    low, middle, high = np.quantile(values.astype(np.float64), [end, 0.5, 1 - end])
    kept = values.astype(np.float64).clip(middle - 4 * (middle - low), middle + 4 * (high - middle))
    return float(middle), max(float(kept.std()), 1e-3)


def _edges(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find the edges of a column's bins; a value that many rows share has one of its own."""
    if not len(values):
        values = np.zeros(1, np.float32)
    ends = [share for share in TAILS if share * len(values) >= 3]
    shares = np.unique([*ends, *np.linspace(0, 1, BINS + 1), *(1 - share for share in ends)])
    found = np.quantile(values, shares, method="inverted_cdf").astype(np.float32)
    edges, often = np.unique(found, return_counts=True)
    above = np.nextafter(edges[often > 1], np.float32(np.inf))
    edges = np.union1d(edges, above)
    if len(edges) < 2:
        edges = np.append(edges, np.nextafter(edges[-1], np.float32(np.inf)))
    return edges.astype(np.float32)


@final
class Levels(nn.Module):
    """Codes as options: the commonest levels each its own.

    Parameters
    ----------
    codes
        How many codes each column has.
    field
        The name of the field with the codes [N, C].

    Examples
    --------
    >>> Levels([2, 3])({"codes": torch.tensor([[1, 0]])}).tolist()
    [[0.0, 1.0, 1.0, 0.0, 0.0]]
    """

    most: Tensor
    dense: Tensor

    def __init__(self, codes: Sequence[int], field: str = "codes") -> None:
        super().__init__()
        self.options = [min(count, MOST_LEVELS) for count in codes]
        self._field = field
        shared = np.ones(sum(self.options), np.float32)
        last = np.cumsum(self.options) - 1
        shared[last] = [1 / max(1, count - MOST_LEVELS + 1) for count in codes]
        self.register_buffer("most", torch.from_numpy(np.array(self.options) - 1), persistent=False)
        self.register_buffer("dense", torch.from_numpy(shared), persistent=False)

    def prepare(self, fields: Mapping[str, NDArray[Any]]) -> None:
        """Choose nothing: the schema knows the levels."""

    def taken(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which option each cell is, int64 [N, C]."""
        return fields[self._field].long().minimum(self.most)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give how dense each option is where a cell lies, float32 [N, all options]."""
        return _one_hot(self.taken(fields), self.options) * self.dense


@final
class Hours(nn.Module):
    """Times as hours of a week: what time always goes on to be new is no surprise.

    Parameters
    ----------
    columns
        How many columns.
    week, day
        Where in ``parts`` [N, C, parts] sine and cosine of the weekday and of the hour stand.
    """

    def __init__(self, columns: int, week: int, day: int) -> None:
        super().__init__()
        self._week, self._day = week, day
        self.options = [HOURS + 1] * columns

    def prepare(self, fields: Mapping[str, NDArray[Any]]) -> None:
        """Choose nothing: every week has the same hours."""

    def taken(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which option each cell is, int64 [N, C]."""
        parts = fields["parts"]
        day = _around(parts[..., self._week : self._week + 2], 7)
        hour = _around(parts[..., self._day : self._day + 2], 24)
        return torch.where(fields["missing"].bool(), HOURS, 24 * day + hour)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Give how dense each option is where a cell lies, float32 [N, all options]."""
        return _one_hot(self.taken(fields), self.options)


def _normal(x: Tensor) -> Tensor:
    """Give the share of a normal curve below float64 values, to 1e-12 of itself where x < 0."""
    if not torch.compiler.is_exporting():
        below: Tensor = torch.special.ndtr(x)
        return below
    # ONNX has no such function in double precision. With t = 2 / (2 + z) it is
    # t exp(-z^2 + P(t)) / 2 at z = -x / sqrt(2), where P is smooth (Press et al. 2007, 6.2.2).
    z = x.abs() * torch.tensor(0.5, dtype=torch.float64).sqrt()
    t = 2 / (2 + z)
    power = torch.zeros_like(t)
    # Tensors, for an exporter takes plain numbers for float32: the halves would not meet at 0.
    for factor in reversed(_smooth_powers()):
        power = power * t + torch.tensor(factor, dtype=torch.float64)
    below = 0.5 * t * (power - z * z).exp()
    found: Tensor = torch.where(x < 0, below, 1 - below)
    return found


def _smooth_powers() -> list[float]:
    """Fit the powers of P(t) = log(erfcx(z) / t) at z = 2 / t - 2 on Chebyshev's places."""
    from scipy.special import erfcx

    def wanted(places: NDArray[np.float64]) -> NDArray[np.float64]:
        t = (places + 1) / 2
        found: NDArray[np.float64] = np.log(erfcx(2 / t - 2) / t)
        return found

    fitted = np.polynomial.chebyshev.Chebyshev(
        np.polynomial.chebyshev.chebinterpolate(wanted, POWERS),  # type: ignore[arg-type] # arrays do
        domain=[0, 1],
    )
    powers: list[float] = fitted.convert(
        kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]
    ).coef.tolist()
    return powers


def _around(pair: Tensor, count: int) -> Tensor:
    """Say which of so many places on a circle sine and cosine [..., 2] stand for."""
    # Both are 0 where a column knows no hours; a 0 below 0 would be half a turn away.
    turn = torch.atan2(pair[..., 0], pair[..., 1] + 0.0) / (2 * torch.pi)
    return torch.round(turn * count).long() % count


def _one_hot(taken: Tensor, options: Sequence[int]) -> Tensor:
    """Write choices [N, C] as 0 and 1, float32 [N, all options]."""
    first = torch.tensor([0, *np.cumsum(options)[:-1].tolist()], device=taken.device)
    flat = torch.zeros(taken.shape[0], sum(options))
    return flat.scatter_(1, taken + first, 1.0)
