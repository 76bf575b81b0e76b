"""How many records are taken at a time: one when it is quiet, thousands when there is a backlog."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

LEAST: Final = 64
MOST: Final = 65_536
_BINS: Final = 64  # of latency for each power of ten
_LOWEST: Final = 1e-5


@final
class Pace:
    """Keeps a batch's time within a limit.

    Work begins as soon as a record is there, and takes all that came meanwhile: so batches are as
    small as the load allows. Behind, they grow as long as one takes no more than half the limit.

    Parameters
    ----------
    latency
        The seconds that a record may take at most, as far as the machine keeps up.

    Examples
    --------
    >>> pace = Pace(1.0)
    >>> pace.took(64, 0.001)
    >>> pace.most
    32000
    """

    def __init__(self, latency: float) -> None:
        self._limit = latency / 2
        self._each: float | None = None
        self.most = 1024

    def took(self, records: int, seconds: float) -> None:
        """Learn from a batch."""
        if not records:
            return
        each = seconds / records
        if self._each is None or records >= self.most // 2:
            self._each = each if self._each is None else 0.7 * self._each + 0.3 * each
        else:
            # A small batch has its costs whatever its size: it tells at most how cheap a row is.
            self._each = min(self._each, each)
        self.most = int(np.clip(self._limit / max(self._each, 1e-9), LEAST, MOST))


@final
class Latencies:
    """How long records took, by shares: a histogram of the logarithm, within 4%.

    Examples
    --------
    >>> some = Latencies()
    >>> some.take(np.array([0.001, 0.001, 0.002, 0.1]))
    >>> round(some.share(0.5), 4), round(some.share(0.99), 1)
    (0.001, 0.1)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(9 * _BINS, dtype=np.int64)

    def take(self, seconds: NDArray[np.float64]) -> None:
        """Count float64 [N] seconds."""
        places = np.log10(np.maximum(seconds, _LOWEST) / _LOWEST) * _BINS
        places = np.clip(places.astype(np.int64), 0, len(self._counts) - 1)
        self._counts += np.bincount(places, minlength=len(self._counts))

    def share(self, share: float, since: NDArray[np.int64] | None = None) -> float:
        """Give the seconds that a share of the records took at most; NaN of none.

        Parameters
        ----------
        share
            From 0 to 1.
        since
            What `counts` gave earlier: only what came after counts.
        """
        counts = self._counts if since is None else self._counts - since
        total = int(counts.sum())
        if not total:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(counts), share * total))
        return float(_LOWEST * 10 ** ((place + 0.5) / _BINS))

    def counts(self) -> NDArray[np.int64]:
        """Give the histogram as it stands, to ask later for what came since."""
        return self._counts.copy()
