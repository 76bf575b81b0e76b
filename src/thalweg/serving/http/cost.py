"""What a run of a model costs: a time and a time for each row, learned from the runs themselves."""

from __future__ import annotations

from typing import Final, final

_SHARE: Final = 0.1  # of the newest run in its bin
_OUTLIER: Final = 4.0  # a run counts at most this many times what its bin says
_AGE: Final = 1000  # runs after which what a bin says weighs half
_REFIT: Final = 16  # runs
_LEAST: Final = 1e-7  # seconds
_FAR: Final = 2  # rows that are this many times those of any run are not foretold


@final
class Cost:
    """Foretells the seconds of a run of n rows as a + b n.

    Runs are kept in bins by powers of two of their rows, each a mean that forgets (exponential,
    10% for the newest). In it an outlier counts at most four times the mean, and the mean at most
    four times the newest. So thousands of small runs do not drown what is known of large ones. The
    line through the bins minimises the relative errors, older bins weighing less; where only one
    size is known it is flat, i.e. too kind to larger ones: what is let in on its account is
    measured and mends it, whereas what is refused never would.

    Examples
    --------
    >>> cost = Cost()
    >>> cost.forecast(10) is None
    True
    >>> cost.took(1, 0.001)
    >>> cost.took(1001, 0.002)
    >>> round(cost.forecast(501), 5)
    0.0015
    """

    def __init__(self) -> None:
        self._bins: dict[int, list[float]] = {}  # of bit lengths: rows, seconds, number of the run
        self._runs = 0
        self._fresh = False
        self._each = self._fixed = 0.0
        self._largest = 0

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a run."""
        self._runs += 1
        length = rows.bit_length()
        known = self._bins.get(length)
        if known is None:
            self._bins[length] = [rows, max(seconds, _LEAST), self._runs]
            self._largest = max(self._largest, rows)
            self._fresh = False
            return
        seconds = max(_LEAST, min(seconds, _OUTLIER * known[1]))
        if known[1] > _OUTLIER * seconds:
            # A first run is slow for reasons that do not return; a quick one shows what can be.
            known[1] = _OUTLIER * seconds
            self._fresh = False
        known[0] += _SHARE * (rows - known[0])
        known[1] += _SHARE * (seconds - known[1])
        known[2] = self._runs
        if self._runs % _REFIT == 0:
            self._fresh = False

    def forecast(self, rows: int) -> float | None:
        """Give the seconds of a run; None for one that is larger than all that is known."""
        if rows > _FAR * self._largest:
            return None
        if not self._fresh:
            self._fit()
        return self._fixed + self._each * rows

    def pieces(self, rows: int, most: int) -> float:
        """Give the seconds of rows that are run in pieces; 0 if nothing is known yet."""
        if not self._fresh:
            self._fit()
        return -(-rows // most) * self._fixed + self._each * rows

    def most(self, seconds: float, most: int) -> int:
        """Give the rows that a run may have to take so long, but no fewer than 64."""
        if not self._fresh:
            self._fit()
        if self._each * most + self._fixed <= seconds:
            return most
        return min(most, max(64, int((seconds - self._fixed) / self._each))) if self._each else most

    def _fit(self) -> None:
        """Lay the line through the bins."""
        self._fresh = True
        bins = [
            (rows, seconds, 1 / (seconds * seconds * (1 + (self._runs - run) / _AGE)))
            for rows, seconds, run in self._bins.values()
        ]
        if not bins:
            return
        total = sum(weight for _, _, weight in bins)
        n = sum(weight * rows for rows, _, weight in bins) / total
        t = sum(weight * seconds for _, seconds, weight in bins) / total
        spread = sum(weight * (rows - n) ** 2 for rows, _, weight in bins)
        slope = sum(weight * (rows - n) * (seconds - t) for rows, seconds, weight in bins)
        self._each = max(0.0, slope / spread) if spread > 0 else 0.0
        self._fixed = t - self._each * n
        if self._fixed < 0.0:
            self._fixed, self._each = 0.0, t / n
