"""The whole summary of each window, all keys together: what drift compares two of."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.stats.table import TableSummary
from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.watermark import LEAST, MOST

_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True)
class WindowSummary:
    """A window that has closed.

    Parameters
    ----------
    start, end
        Its bounds in microseconds since 1970-01-01 UTC.
    summary
        Everything that is known of its rows. To be read, not changed.
    """

    start: int
    end: int
    summary: TableSummary


@final
class WindowSummaries:
    """Rows taken in, and a `TableSummary` given for each tumbling or sliding window that closes.

    A summary costs far more than `thalweg.stats.windows.Windows` holds of a window, so that keys
    do not part the rows here. The summaries are those of the same rows in a table, in every bit as
    long as their counts are exact.

    Parameters
    ----------
    spec
        Which windows; its keys are columns like others.

    Examples
    --------
    >>> windows = WindowSummaries(WindowSpec.tumbling(1_000))
    >>> windows.take(pa.record_batch({"x": [1.0, 3.0]}), np.array([1, 2])).tolist()
    [False, False]
    >>> [(one.start, one.end, one.summary.columns["x"].numbers.mean) for one in windows.flush()]
    [(0, 1000, 2.0)]
    """

    def __init__(self, spec: WindowSpec) -> None:
        if spec.kind == "session":
            raise OptionError("summaries of sessions", "tumbling or sliding windows", "Use these.")
        self.spec = spec
        self._pane = gcd(spec.size, spec.slide)
        self._each, self._step = spec.size // self._pane, spec.slide // self._pane
        self._panes: dict[int, TableSummary] = {}
        self._closed = LEAST // self._pane  # windows that end at or before this pane are closed

    def take(self, rows: pa.RecordBatch, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take rows [N] of times [N] in; say which were late and are not taken in: bool [N]."""
        if self.spec.columns is not None:
            rows = rows.select([*self.spec.by, *self.spec.columns])
        panes = np.asarray(times, dtype=np.int64) // self._pane
        late: NDArray[np.bool_] = panes // self._step * self._step + self._each <= self._closed
        order = np.argsort(panes, kind="stable")
        order = order[~late[order]]
        found, begins = np.unique(panes[order], return_index=True)
        for pane, own in zip(found.tolist(), np.split(order, begins[1:]), strict=False):
            part = rows if len(own) == rows.num_rows else rows.take(pa.array(own))
            self._panes.setdefault(pane, TableSummary()).update(part)
        return late

    def close(self, watermark: int | None) -> list[WindowSummary]:
        """Close the windows that end at or before a time, in that order; None closes all."""
        until = MOST + 2 * self.spec.size if watermark is None else watermark
        low = (self._closed - self._each) // self._step + 1
        self._closed = max(self._closed, until // self._pane)
        high = (self._closed - self._each) // self._step
        windows = {
            window
            for pane in self._panes
            for window in range(
                max((pane - self._each) // self._step + 1, low),
                min(pane // self._step, high) + 1,
            )
        }
        closed = [self._window(window) for window in sorted(windows)]
        for pane in [pane for pane in self._panes if pane // self._step <= high]:
            del self._panes[pane]
        return closed

    def flush(self) -> list[WindowSummary]:
        """Close all windows: the stream has ended."""
        return self.close(None)

    def state(self) -> tuple[dict[str, Any], pa.Table]:
        """Give everything that it is: plain JSON, and a table of a summary for each pane."""
        meta = {"version": _VERSION, "spec": self.spec.to_json(), "closed": self._closed}
        summaries = [summary.to_bytes() for summary in self._panes.values()]
        columns = {
            "pane": pa.array(list(self._panes), pa.int64()),
            "summary": pa.array(summaries, pa.large_binary()),
        }
        return meta, pa.table(columns)

    @classmethod
    def from_state(cls, meta: dict[str, Any], table: pa.Table) -> WindowSummaries:
        """Make one of what `state` gave.

        Raises
        ------
        ArtifactError
            Where it is of another version, or damaged.
        """
        if meta.get("version") != _VERSION:
            raise ArtifactError(
                f"window summaries of version {meta.get('version')!r}",
                f"version {_VERSION}",
                "Read them with the Thalweg that wrote them.",
            )
        made = cls(WindowSpec.from_json(meta["spec"]))
        made._closed = int(meta["closed"])
        for pane, summary in zip(
            *(table[name].to_pylist() for name in table.schema.names), strict=True
        ):
            made._panes[pane] = TableSummary.from_bytes(summary)
        return made

    def _window(self, window: int) -> WindowSummary:
        """Put the panes of a window together."""
        first = window * self._step
        there = [pane for pane in sorted(self._panes) if first <= pane < first + self._each]
        whole = self._panes[there[0]]
        if len(there) > 1:
            whole = TableSummary()
            for pane in there:
                whole.merge(self._panes[pane])
        return WindowSummary(first * self._pane, (first + self._each) * self._pane, whole)
