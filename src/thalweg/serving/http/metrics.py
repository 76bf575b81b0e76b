"""What the server counts, for Prometheus.

Numbers are kept in plain Python and put into the words of ``prometheus_client`` only when they are
asked for: its own histogram takes a lock for every number, which a request of a quarter of a
millisecond would feel. All of it is written by the one thread of the server's event loop.

How many series there are is bounded: paths are the server's own routes, models and versions those
that are loaded, columns those of a model, reasons those of the code; anything else is ``other``.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, final

from thalweg.core.errors import not_installed

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["OTHER", "Metrics", "Outcome", "Role"]

OTHER: Final = "other"
"""The label of whatever the server does not know."""

Role = Literal["current", "previous", "candidate"]
Outcome = Literal["swapped", "refused", "broken"]

# A request of one row takes a quarter of a millisecond, a table of 100,000 a second.
_SECONDS: Final = (
    *(0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_COLUMNS: Final = 200
_REASONS: Final = 50


@final
class _Histogram:
    """Counts of numbers by size; a number on a bound is below it."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Give the counts up to each bound."""
        told, count = [], 0
        for bound, more in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += more
            told.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(count)))
        return told


@final
class Metrics:
    """Counts what happens, and tells it.

    Parameters
    ----------
    paths
        The server's routes, as ``/v1/models/{name}/predict``.
    runtime
        The version of ONNX Runtime, for the build's line.

    Raises
    ------
    OptionError
        Where prometheus_client is not installed.

    Examples
    --------
    >>> metrics = Metrics(["/v1/predict"])
    >>> metrics.loaded("adult", "0123456789ab", "current")
    >>> metrics.request("/v1/predict", "adult", "0123456789ab", 200, 0.0002, 1)
    >>> b'thalweg_rows_total{model="adult",version="0123456789ab"} 1.0' in metrics.expose()[0]
    True
    """

    def __init__(self, paths: Iterable[str] = (), runtime: str = "") -> None:
        if find_spec("prometheus_client") is None:
            raise not_installed("the server", "prometheus_client", "serve")
        self._paths = frozenset(paths)
        self._build = {
            "version": metadata.version("thalweg"),
            "python": platform.python_version(),
            "onnxruntime": runtime,
        }
        self._roles: dict[tuple[str, str], Role] = {}
        self._columns: dict[str, frozenset[str]] = {}
        self._requests: dict[tuple[str, str, str, int], _Histogram] = {}
        self._rows: dict[tuple[str, str], int] = {}
        self._batches: dict[str, _Histogram] = {}
        self._counts: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _COUNTERS}
        self._waiting: Callable[[], int] = int
        self._registry: Any = None

    def loaded(self, model: str, version: str, role: Role, columns: Iterable[str] = ()) -> None:
        """Learn of a version that can be asked, or of its new role.

        Parameters
        ----------
        columns
            The model's columns, of which warnings may tell; the first 200 have their own label.
        """
        self._roles[model, version] = role
        names = list(columns)
        if names:
            self._columns[model] = frozenset(names[:_COLUMNS])

    def gone(self, model: str, version: str) -> None:
        """Forget a version that nobody can ask any more, with all its series."""
        self._roles.pop((model, version), None)
        self._rows.pop((model, version), None)
        for key in [one for one in self._requests if one[1:3] == (model, version)]:
            del self._requests[key]
        for name, labels in _COUNTERS.items():
            if labels[1][:2] == ("model", "version"):
                counts = self._counts[name]
                for short in [one for one in counts if one[:2] == (model, version)]:
                    del counts[short]

    def request(
        self, path: str, model: str, version: str, status: int, seconds: float, rows: int
    ) -> None:
        """Count a request that was answered.

        Parameters
        ----------
        path
            The route; one that is none of the server's counts as ``other``.
        model, version
            Who answered; empty where nobody did.
        seconds
            From the end of its head to the answer's last byte.
        rows
            How many it asked about.
        """
        found = self._requests.get((path, model, version, status))
        if found is None:
            found = self._of(path, model, version, status)
        # As `_Histogram.add`, without the call: this is what every request pays.
        found.counts[bisect_left(_SECONDS, seconds)] += 1
        found.total += seconds
        if rows and (model, version) in self._rows:
            self._rows[model, version] += rows

    def _of(self, path: str, model: str, version: str, status: int) -> _Histogram:
        """Find the histogram of a kind of request, or begin it where it is known."""
        if (model, version) in self._roles:
            self._rows.setdefault((model, version), 0)
        else:
            model, version = (OTHER, OTHER) if model else ("", "")
        path = path if path in self._paths else OTHER
        status = status if 100 <= status <= 599 else 500
        return self._requests.setdefault((path, model, version, status), _Histogram(_SECONDS))

    def batch(self, model: str, rows: int) -> None:
        """Count one run of a model over the rows that were gathered for it."""
        found = self._batches.get(model)
        if found is None:
            known = any(model == name for name, _ in self._roles)
            found = self._batches.setdefault(model if known else OTHER, _Histogram(_ROWS))
        found.add(rows)

    def waiting(self, rows: Callable[[], int]) -> None:
        """Learn whom to ask how many rows wait for a run."""
        self._waiting = rows

    def busy(self, model: str) -> None:
        """Count a request that was turned away, as it would have waited for too long."""
        self._count("busy", (self._known(model),))

    def error(self, reason: str) -> None:
        """Count what was answered with an error.

        Parameters
        ----------
        reason
            A word of the code, such as ``body``, ``key``, ``row``; never the user's.
        """
        counts = self._counts["errors"]
        known = (reason,) in counts or len(counts) < _REASONS
        self._count("errors", (reason if known else OTHER,), 1)

    def unreadable(self, model: str, column: str, count: int = 1) -> None:
        """Count cells of a column that could not be read."""
        known = column in self._columns.get(model, ())
        self._count("unreadable_cells", (self._known(model), column if known else OTHER), count)

    def unseen(self, model: str, column: str, count: int) -> None:
        """Count cells of a column that hold what training never, or hardly ever, showed."""
        known = column in self._columns.get(model, ())
        self._count("unseen_cells", (self._known(model), column if known else OTHER), count)

    def refused(self, model: str, rows: int) -> None:
        """Count rows that were answered with an error of their own."""
        if rows:
            self._count("refused_rows", (self._known(model),), rows)

    def swap(self, model: str, outcome: Outcome) -> None:
        """Count what became of a new version in a model's folder."""
        self._count("swaps", (self._known(model), outcome))

    def rollback(self, model: str) -> None:
        """Count a rollback."""
        self._count("rollbacks", (self._known(model),))

    def shadow(
        self, model: str, version: str, rows: int, difference: float, disagreements: int
    ) -> None:
        """Count rows that a shadow answered too.

        Parameters
        ----------
        version
            The shadow's.
        difference
            The sum over rows of what `thalweg.serving.http.shadow.Comparison` calls so.
        disagreements
            In how many rows it says something else.
        """
        if (model, version) not in self._roles:
            return
        self._count("shadow_rows", (model, version), rows)
        self._count("shadow_difference", (model, version), difference)
        self._count("shadow_disagreements", (model, version), disagreements)

    def shadow_failed(self, model: str, version: str, why: Literal["error", "dropped"]) -> None:
        """Count a request that a shadow could not answer, or that came while it was busy."""
        if (model, version) in self._roles:
            self._count("shadow_failures", (model, version, why))

    def _known(self, model: str) -> str:
        return model if any(model == name for name, _ in self._roles) else OTHER

    def _count(self, name: str, labels: tuple[str, ...], more: float = 1) -> None:
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0.0) + more

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Write all of it down.

        Parameters
        ----------
        accept
            The request's ``Accept``: OpenMetrics where it asks for it, else Prometheus' own text.

        Returns
        -------
        tuple
            The body and its content type.
        """
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        write, content_type = choose_encoder(accept)
        return write(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Tell Prometheus' registry nothing in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give all series, in Prometheus' words."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        yield InfoMetricFamily("thalweg_build", "What runs.", value=self._build)
        served = GaugeMetricFamily(
            "thalweg_model", "Versions that can be asked.", labels=["model", "version", "role"]
        )
        for (model, version), role in self._roles.items():
            served.add_metric([model, version, role], 1)
        yield served
        requests = HistogramMetricFamily(
            "thalweg_request_seconds",
            "Time from the end of a request's head to its answer.",
            labels=["path", "model", "version", "status"],
        )
        for (path, model, version, status), histogram in self._requests.items():
            labels = [path, model, version, str(status)]
            requests.add_metric(labels, histogram.buckets(), histogram.total)
        yield requests
        rows = CounterMetricFamily(
            "thalweg_rows", "Rows that were asked about.", labels=["model", "version"]
        )
        for (model, version), count in self._rows.items():
            rows.add_metric([model, version], count)
        yield rows
        batches = HistogramMetricFamily(
            "thalweg_batch_rows", "Rows that went through a model together.", labels=["model"]
        )
        for model, histogram in self._batches.items():
            batches.add_metric([model], histogram.buckets(), histogram.total)
        yield batches
        yield GaugeMetricFamily(
            "thalweg_queue_rows", "Rows that wait for a run.", value=self._waiting()
        )
        for name, (words, names) in _COUNTERS.items():
            family = CounterMetricFamily(f"thalweg_{name}", words, labels=names)
            for values, total in self._counts[name].items():
                family.add_metric(list(values), total)
            yield family


_COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "busy": ("Requests turned away: they would have waited for too long.", ("model",)),
    "errors": ("Requests that were answered with an error.", ("reason",)),
    "unreadable_cells": (
        "Cells that were there but could not be read, and were taken as missing.",
        ("model", "column"),
    ),
    "unseen_cells": (
        "Cells that hold what training never, or hardly ever, showed.",
        ("model", "column"),
    ),
    "refused_rows": ("Rows that were answered with an error of their own.", ("model",)),
    "swaps": ("New versions found in a model's folder.", ("model", "outcome")),
    "rollbacks": ("Rollbacks.", ("model",)),
    "shadow_rows": ("Rows that a shadow answered too.", ("model", "version")),
    "shadow_difference": (
        "Sum over these rows of how far the shadow's answer is from the one given.",
        ("model", "version"),
    ),
    "shadow_disagreements": ("Rows of which a shadow says something else.", ("model", "version")),
    "shadow_failures": (
        "Requests that a shadow did not answer.",
        ("model", "version", "why"),
    ),
}
