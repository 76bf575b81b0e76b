"""The engine of windowed features: takes batches of rows, answers them, and remembers them.

There is one for every tempo: over a table it takes large batches, on a stream small ones, and
what a row gets does not depend on how rows are cut into batches. A feature looks at the window
``[t - over, t)`` of the rows with the same key: neither the row itself nor others of its moment
count, so the order within a moment makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import pyarrow as pa

from thalweg.core.errors import ArtifactError
from thalweg.data.features.declare import Feature, Features
from thalweg.data.features.groups import Group, GroupKey
from thalweg.data.features.values import Hasher
from thalweg.stats.moments import EARLIEST, LATEST, Moments, read_moments


@final
class Engine:
    """Computes features and holds what they need of the past.

    Parameters
    ----------
    features
        What to compute, checked against a table by `Features.of`.

    Examples
    --------
    >>> rows = pa.record_batch({"at": [1.0, 2.0, 4.0], "card": ["a"] * 3, "amount": [5, 7, 1]})
    >>> features = Features.parse(["spent = sum(amount) by card over 3s"], "at").of(rows.schema)
    >>> engine = Engine(features)
    >>> engine.compute(rows, engine.moments(rows)).to_pydict()
    {'spent': [0.0, 5.0, 12.0]}
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        self._hasher = Hasher()
        parted: dict[GroupKey, list[Feature]] = {}
        for feature in features.features:
            parted.setdefault(GroupKey.of(feature), []).append(feature)
        self._groups = [Group(key, some) for key, some in parted.items()]

    def moments(self, rows: pa.RecordBatch) -> Moments:
        """Read when rows were, microseconds [N]; see `read_moments`."""
        return read_moments(rows.column(self.features.time), self.features.formats)

    def compute(
        self, rows: pa.RecordBatch, times: Moments, watermark: int | None = None
    ) -> pa.RecordBatch:
        """Answer rows, then remember them.

        Parameters
        ----------
        rows
            Rows [N] in any order, with the columns that features are made of.
        times
            int64 [N]: when they were, in microseconds since 1970. Rows beyond the years 1 to 9999
            (so `NO_TIME` too) get nulls and are not remembered.
        watermark
            No row before it is waited for: what none after it can see is forgotten. By default
            the newest moment that was seen.

        Returns
        -------
        pyarrow.RecordBatch
            The features' columns [N]. Rows that come late, after newer ones of an earlier batch,
            are answered from what is remembered still.
        """
        timed = (times >= EARLIEST) & (times <= LATEST)
        found: dict[str, pa.Array] = {}
        keys = {
            by: self._hasher.keys([rows.column(name) for name in by], rows.num_rows)
            for by in {group.key.by for group in self._groups}
        }
        for group in self._groups:
            hashes, there = keys[group.key.by]
            found |= group.compute(rows, hashes, times, there & timed, watermark, self._hasher)
        columns = [found[name] for name in self.features.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.features.schema)

    def state(self) -> dict[str, pa.Table]:
        """Give all that it remembers: a table for each group of features with the same keys."""
        return {group.key.name: group.state() for group in self._groups}

    @classmethod
    def from_state(cls, features: Features, state: Mapping[str, pa.Table]) -> Engine:
        """Make one that goes on where another stood.

        Raises
        ------
        ArtifactError
            Where the state is of other features.
        """
        made = cls(features)
        names = sorted(group.key.name for group in made._groups)
        if names != sorted(state):
            raise ArtifactError(
                f"a state of features {', '.join(sorted(state)) or 'that are none'}",
                ", ".join(names),
                "Use the state that was saved with this model.",
            )
        for group in made._groups:
            group.restore(state[group.key.name])
        return made

    @property
    def remembered(self) -> int:
        """How many events it holds."""
        return sum(group.remembered for group in self._groups)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return sum(group.nbytes for group in self._groups)
