"""How far two rows of counts are apart, and how likely by luck: for many columns at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.stats.drift.reference import Floats

CONVENTION: Final = 0.1
"""From here on a stability index is commonly called a moderate change."""

_GROUPS: Final = 10
_EXPECTED: Final = 5.0  # fewer expected cells make the chi-square test wrong: they are pooled


@final
@dataclass(frozen=True, slots=True)
class Figures:
    """How far columns [C] have moved: see `thalweg.stats.drift.compare.ColumnDrift`."""

    distance: Floats
    p: Floats
    psi: Floats
    threshold: Floats
    js: Floats


def measured(before: Floats, after: Floats, ordered: NDArray[np.bool_]) -> Figures:
    """Measure how far counts [C, B] are from each other, by column."""
    n, m = before.sum(axis=1), after.sum(axis=1)
    there = (n > 0) & (m > 0)
    shares = [
        np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
        for counts, total in ((before, n), (after, m))
    ]
    gap = shares[1] - shares[0]
    ks = np.abs(np.cumsum(gap, axis=1)).max(axis=1)
    mix = np.abs(gap).sum(axis=1) / 2
    size = np.sqrt(np.divide(n * m, n + m, out=np.zeros_like(n), where=there))
    p = np.where(ordered, _kolmogorov(ks, size), _chi_square(before, after))
    psi, threshold, js = _stability(before, after, shares[0], ordered)
    distance = np.where(ordered, ks, mix)
    for figure, usual in (
        (distance, 0.0),
        (p, 1.0),
        (psi, 0.0),
        (js, 0.0),
        (threshold, CONVENTION),
    ):
        figure[~there] = usual
    return Figures(distance, p, psi, threshold, js)


def _kolmogorov(distance: Floats, size: Floats) -> Floats:
    """Give the p values of distances of two distribution functions; size: sqrt(n m / (n + m))."""
    from scipy.special import kolmogorov

    # Stephens's correction for few values (1970).
    found: Floats = np.asarray(kolmogorov((size + 0.12 + 0.11 / np.maximum(size, 1.0)) * distance))
    return found


def _chi_square(before: Floats, after: Floats) -> Floats:
    """Give the p values of Pearson's test of two rows of counts [C, B]; small cells are pooled."""
    from scipy.special import chdtrc

    n, m = before.sum(axis=1, keepdims=True), after.sum(axis=1, keepdims=True)
    total = np.maximum(n + m, 1.0)
    small = (before + after) * np.minimum(n, m) / total < _EXPECTED
    pooled = []
    for counts in (before, after):
        rest = np.where(small, counts, 0.0).sum(axis=1, keepdims=True)
        pooled.append(np.hstack([np.where(small, 0.0, counts), rest]))
    one, other = pooled
    both = one + other
    statistic = np.zeros(len(before))
    for counts, size in ((one, n), (other, m)):
        expected = both * size / total
        statistic += np.divide(
            (counts - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0
        ).sum(axis=1)
    freedom = (both > 0).sum(axis=1) - 1
    found: Floats = np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), statistic), 1.0)
    return found


def _stability(
    before: Floats, after: Floats, shares: Floats, ordered: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Measure the stability index, what it may be by luck, and the Jensen-Shannon distance.

    Numbers are put into ten parts of the reference, values into their own but for the smallest.
    """
    from scipy.special import chdtri, xlogy

    middle = np.cumsum(shares, axis=1) - shares / 2
    tenth = np.minimum((middle * _GROUPS).astype(np.int64), _GROUPS - 1)
    rank = np.argsort(np.argsort(-shares, axis=1, kind="stable"), axis=1)
    group = np.where(ordered[:, None], tenth, np.minimum(rank, _GROUPS - 1))
    rows = np.repeat(np.arange(len(before)), before.shape[1])
    first, second = np.zeros((2, len(before), _GROUPS))
    np.add.at(first, (rows, group.ravel()), before.ravel())
    np.add.at(second, (rows, group.ravel()), after.ravel())
    used = (first + second) > 0
    parts = used.sum(axis=1)
    n, m = first.sum(axis=1), second.sum(axis=1)
    smooth = [
        np.where(used, (counts + 0.5) / (total + 0.5 * parts)[:, None].clip(1e-300), 0.0)
        for counts, total in ((first, n), (second, m))
    ]
    log = np.log(smooth[1], out=np.zeros_like(first), where=used)
    log -= np.log(smooth[0], out=np.zeros_like(first), where=used)
    psi = ((smooth[1] - smooth[0]) * log).sum(axis=1)
    # Where nothing has changed it is a chi-square of (parts - 1) times (1/n + 1/m).
    luck = chdtri(np.maximum(parts - 1, 1), 0.001) * (1 / n.clip(1) + 1 / m.clip(1))
    mean = (smooth[0] + smooth[1]) / 2
    entropy = [-xlogy(part, part).sum(axis=1) for part in (*smooth, mean)]
    divergence = (entropy[2] - (entropy[0] + entropy[1]) / 2) / np.log(2)
    js: Floats = np.sqrt(np.clip(divergence, 0.0, 1.0))
    return psi, np.maximum(CONVENTION, luck), js


def two_shares(was: Floats, now: Floats, n: int, m: int) -> Floats:
    """Give the p values of two shares of n and of m rows being one share (z, both sides)."""
    from scipy.special import ndtr

    if not n or not m:
        return np.ones_like(was)
    joint = (was * n + now * m) / (n + m)
    spread = np.sqrt(joint * (1 - joint) * (1 / n + 1 / m))
    gap = np.maximum(np.abs(now - was) - (1 / n + 1 / m) / 2, 0.0)  # Yates's correction
    z = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)
    found: Floats = 2 * ndtr(-z)
    return found


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjust p values [N] so that those below q hold false discoveries at a rate of q.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.5, 0.02])).round(3).tolist()
    [0.03, 0.5, 0.03]
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return found
