"""When people are told: once as something begins and once as it ends, not at every window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, final, get_args

import pyarrow as pa

from thalweg.core.errors import ArtifactError
from thalweg.monitor.finding import Finding, What

ALERT_SCHEMA: Final = pa.schema(
    {
        "time": pa.timestamp("us", "UTC"),
        "name": pa.string(),
        "column": pa.string(),
        "state": pa.string(),
        "value": pa.float64(),
        "threshold": pa.float64(),
        "words": pa.string(),
        "version": pa.string(),
        "rows": pa.int64(),
    }
)
"""An alert: when, what and of which column, ``raised`` or ``cleared``, how much and from where on
that counts, in words, the model's version, and how many rows of the stream had come."""

IN_A_ROW: Final = 2
"""So many windows in a row must be high, or quiet, for an alert to be raised, or cleared."""
COOL: Final = 300.0
"""For so many seconds after an alert was cleared it is not raised again."""
CALM: Final = 10_000
"""What was confirmed at once is over after so many rows without another confirmation."""

_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True)
class _Standing:
    """How one thing stands; ``cleared`` is in microseconds since 1970, below 0 for never."""

    raised: bool = False
    high: int = 0
    quiet: int = 0
    confirmed: int = -1  # at which row, where a confirmation raised it
    cleared: int = -1

    def matters(self, now: int, cool: int) -> bool:
        """Say whether it must be remembered."""
        return self.raised or self.high > 0 or (self.cleared >= 0 and now < self.cleared + cool)


@final
class Alerts:
    """Turns findings into alerts: one row as each begins, and one as it ends.

    Raised where a finding is high in two windows in a row, or is confirmed; cleared where it is
    quiet, which is below a lower threshold, in two windows in a row. Between both thresholds
    nothing changes. After an alert was cleared it is not raised again for a while; what is high
    still is raised then.

    It has no clock: whoever asks says what time it is.

    Parameters
    ----------
    cool
        For so many seconds an alert that was cleared is not raised again.
    calm
        What was confirmed is over after so many rows without another confirmation.

    Examples
    --------
    >>> alerts = Alerts()
    >>> high = Finding("input", "age", "ks", 0.3, 0.05, "high", "mean 31 → 45", 5000)
    >>> noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    >>> [alerts.take([high], noon).num_rows for _ in range(3)]
    [0, 1, 0]
    """

    def __init__(self, cool: float = COOL, calm: int = CALM) -> None:
        self._cool, self._calm = round(cool * 1e6), calm
        self._standings: dict[tuple[What, str], _Standing] = {}

    @property
    def raised(self) -> list[tuple[What, str]]:
        """What is raised now, by what it is about and its column."""
        return [key for key, one in self._standings.items() if one.raised]

    def take(
        self, findings: Iterable[Finding], time: datetime, version: str = ""
    ) -> pa.RecordBatch:
        """Take findings, the oldest first.

        Parameters
        ----------
        findings
            The quiet ones too: they are what ends an alert.
        time
            When it is now, with a time zone.
        version
            The model that was at work.

        Returns
        -------
        pyarrow.RecordBatch
            Rows of `ALERT_SCHEMA`, one for each change; none where nothing changes.
        """
        now = round(time.timestamp() * 1e6)
        made: list[dict[str, Any]] = []

        def put(one: Finding, after: _Standing) -> None:
            key = (one.what, one.column)
            before = self._standings.get(key, _Standing())
            if after.raised != before.raised:
                made.append(_alert(one, time, version, raised=after.raised))
            if after.matters(now, self._cool):
                self._standings[key] = after
            else:
                self._standings.pop(key, None)

        rows = 0
        for one in findings:
            rows = max(rows, one.rows)
            before = self._standings.get((one.what, one.column), _Standing())
            put(one, self._next(before, one, now))
        for (what, column), standing in list(self._standings.items()):
            if standing.raised and 0 <= standing.confirmed <= rows - self._calm:
                words = f"no other change in {rows - standing.confirmed:,} rows"
                quiet = Finding(what, column, "", 0.0, 0.0, "quiet", words, rows)
                put(quiet, _Standing(cleared=now))
        return pa.RecordBatch.from_pylist(made, schema=ALERT_SCHEMA)

    def state(self) -> dict[str, Any]:
        """Give everything that it is as plain JSON."""
        standings = [
            {"what": what, "column": column, **asdict(one)}
            for (what, column), one in self._standings.items()
        ]
        return {"version": _VERSION, "standings": standings}

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` gave.

        Raises
        ------
        ArtifactError
            Where it is of another version, or damaged.
        """
        try:
            if state["version"] != _VERSION:
                raise ValueError(state["version"])
            found = {
                (one["what"], str(one["column"])): _Standing(
                    bool(one["raised"]),
                    *(int(one[name]) for name in ("high", "quiet", "confirmed", "cleared")),
                )
                for one in state["standings"]
            }
            if not {what for what, _ in found} <= set(get_args(What)):
                raise ValueError(sorted(what for what, _ in found))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the state of alerts is damaged ({error})",
                f"version {_VERSION}, as it was given",
                "Begin anew with new state.",
            ) from None
        self._standings = found

    def _next(self, before: _Standing, one: Finding, now: int) -> _Standing:
        """Say how a thing stands after another finding."""
        match one.level:
            case "confirmed":
                return replace(before, raised=True, high=0, quiet=0, confirmed=one.rows)
            case "high":
                high = min(before.high + 1, IN_A_ROW)
                cooling = before.cleared >= 0 and now < before.cleared + self._cool
                raised = before.raised or (high >= IN_A_ROW and not cooling)
                return replace(before, raised=raised, high=high, quiet=0)
            case "between":
                # Neither row is gone on with; a cooling-down goes on.
                return replace(before, high=0, quiet=0)
            case _:
                quiet = min(before.quiet + 1, IN_A_ROW)
                if before.raised and quiet >= IN_A_ROW:
                    return _Standing(cleared=now)
                return replace(before, high=0, quiet=quiet)


def _alert(one: Finding, time: datetime, version: str, *, raised: bool) -> dict[str, Any]:
    return {
        "time": time.astimezone(UTC),
        "name": one.what,
        "column": one.column,
        "state": "raised" if raised else "cleared",
        "value": one.value,
        "threshold": one.threshold,
        "words": one.words,
        "version": version,
        "rows": one.rows,
    }
