"""Watching a stream for drift: of its rows, of its predictions, and of how wrong they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.monitor.alerts import Alerts
from thalweg.monitor.finding import Finding
from thalweg.monitor.watch import Watch
from thalweg.stats.drift.reference import Reference

PREDICTION: Final = "prediction"


@final
class Vigil:
    """Looks at rows on their way, and says when something changed and when it is well again.

    Parameters
    ----------
    columns
        Which columns to look at, beside the predictions.
    reference
        What they should look like; None: the first rows tell.
    """

    def __init__(self, columns: Sequence[str], reference: Reference | None = None) -> None:
        self._columns = list(columns)
        self._watch = Watch(reference, predictions=[PREDICTION])
        self._alerts = Alerts()

    def take(
        self,
        rows: pa.RecordBatch,
        drifts: Sequence[int],
        clock: int,
        version: int,
        vectors: NDArray[np.float32] | None = None,
    ) -> pa.RecordBatch:
        """Take the next rows.

        Parameters
        ----------
        rows
            Rows [N] with their predictions.
        drifts
            After how many labels a change of the error was confirmed.
        clock
            The time, in microseconds since 1970.
        version
            Which version predicts.
        vectors
            float32 [N, D]: what the trained network makes of each row; None for nothing.

        Returns
        -------
        pyarrow.RecordBatch
            Alerts; see `thalweg.monitor.alerts.ALERT_SCHEMA`.
        """
        names = [name for name in self._columns if name in rows.schema.names]
        findings = self._watch.take(rows.select([*names, PREDICTION]), vectors)
        seen = self._watch.seen
        findings += [
            Finding(
                "error",
                "",
                "detector",
                float(label),
                0.0,
                "confirmed",
                f"how wrong predictions are has changed: confirmed after {label:,} labels",
                seen,
            )
            for label in drifts
        ]
        now = datetime.fromtimestamp(clock / 1e6, tz=UTC)
        return self._alerts.take(findings, now, str(version or ""))

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that it remembers: plain JSON, and tables by name."""
        facts, tables = self._watch.state()
        return {"watch": facts, "alerts": self._alerts.state()}, tables

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Remember what `state` gave."""
        self._watch.restore(dict(facts["watch"]), dict(tables))
        self._alerts.restore(facts["alerts"])
