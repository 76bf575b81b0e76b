"""A stream compared with what it was, window by window: `Watch`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.monitor.finding import Finding, Level, What
from thalweg.stats.codec import State
from thalweg.stats.drift.compare import FLOOR, ColumnDrift, Q, compare
from thalweg.stats.drift.embedding import Embedding
from thalweg.stats.drift.reference import Reference
from thalweg.stats.table import TableSummary

ROWS: Final = 5_000
"""How many rows are a window."""
LEARNED: Final = 2
"""So many windows become the reference where there is none."""
LOWER: Final = 0.8
"""The lower threshold is this part of the upper one."""

_VERSION: Final = 1
_SEED: Final = 0
_RARE: Final = 0.01  # so rarely vectors that have not changed count as changed
_RARER: Final = 0.1  # and are no longer quiet
_APART: Final = 0.03  # a smaller distance of vectors does not count, however certain

Vectors = NDArray[np.float32]


@final
class Watch:
    """Compares the rows of a stream, a fixed number at a time, with a reference.

    What it finds depends on the rows and their order alone, however they were cut into batches (as
    long as the counts of values are exact: see `TableSummary`). It holds two windows at most.

    Parameters
    ----------
    reference
        What the stream should look like; None: its first two windows tell.
    rows
        How many rows are a window.
    columns
        Which columns are watched; all by default. A column that is not in the reference is then
        new, and one that is not in the stream is missing.
    predictions
        The columns that hold predictions. What is found of them is called ``prediction``. Where
        the reference lacks them, as that of a table does, the stream's first two windows tell.
    embedding
        What the vectors should look like; None: the first two windows that have some tell.
    q, floor
        See `thalweg.stats.drift.compare.compare`.

    Examples
    --------
    >>> watch = Watch(rows=500)
    >>> drawn = np.random.default_rng(0).normal(size=2000)
    >>> "high" in {one.level for one in watch.take(pa.record_batch({"x": drawn[:1500]}))}
    False
    >>> [one.words for one in watch.take(pa.record_batch({"x": drawn[1500:] + 1})) if one.words]
    ['mean -0.04803 → 0.9333']
    """

    def __init__(
        self,
        reference: Reference | None = None,
        *,
        rows: int = ROWS,
        columns: Iterable[str] | None = None,
        predictions: Iterable[str] = (),
        embedding: Embedding | None = None,
        q: float = Q,
        floor: float = FLOOR,
    ) -> None:
        if rows < 1:
            raise OptionError(f"windows of {rows} rows", "1 or more", f"Take {ROWS}.")
        self._rows, self._q, self._floor = rows, q, floor
        self._predictions = tuple(dict.fromkeys(predictions))
        watched = None if columns is None else [*columns, *self._predictions]
        self._columns = None if watched is None else tuple(dict.fromkeys(watched))
        self._given, self._given_embedding = reference, embedding
        self._learned: Reference | None = None
        self._learned_embedding: Embedding | None = None
        self._window, self._learning = TableSummary(), TableSummary()
        self._held: list[pa.RecordBatch] = []  # of the window: many small batches are dear
        self._vectors: list[Vectors] = []
        self._learning_vectors: list[Vectors] = []
        self._seen = 0

    @property
    def seen(self) -> int:
        """How many rows have come."""
        return self._seen

    def take(self, rows: pa.RecordBatch, vectors: Vectors | None = None) -> list[Finding]:
        """Take the next rows of the stream.

        Parameters
        ----------
        rows
            Rows [N], with the columns of the predictions.
        vectors
            float32 [N, D]: the embedding of each row, where there is one.

        Returns
        -------
        list[Finding]
            For each window that became full, in order: how each column stands, the quiet ones too.
            Nothing of what the stream's first windows must tell first.
        """
        if self._columns is not None:
            rows = rows.select([name for name in self._columns if name in rows.schema.names])
        found: list[Finding] = []
        start = 0
        while start < rows.num_rows:
            left = self._rows - self._seen % self._rows
            stop = min(start + left, rows.num_rows)
            self._hold(rows.slice(start, stop - start))
            if vectors is not None:
                self._vectors.append(np.array(vectors[start:stop], dtype=np.float32))
            self._seen += stop - start
            start = stop
            if not self._seen % self._rows:
                found += self._closed()
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that has come of the stream: plain JSON, and tables by name.

        What it was made with is not in it, but for what the stream itself told.
        """
        self._settle()
        facts = {
            "version": _VERSION,
            "rows": self._rows,
            "seen": self._seen,
            "learned": None if self._learned is None else self._learned.model_dump(mode="json"),
        }
        summaries = {"window": self._window, "learning": self._learning}
        tables = {
            "summaries": pa.table(
                {
                    "name": pa.array(summaries, pa.string()),
                    "summary": pa.array(
                        [one.to_bytes() for one in summaries.values()], pa.large_binary()
                    ),
                }
            ),
            "vectors": _table_of(self._vectors),
            "learning_vectors": _table_of(self._learning_vectors),
        }
        if self._learned_embedding is not None:
            state = self._learned_embedding.state()
            facts["embedding"] = state.values
            tables["embedding"] = pa.table(
                {
                    "name": pa.array(state.arrays, pa.string()),
                    "values": pa.array(list(state.arrays.values()), pa.large_list(pa.float64())),
                }
            )
        return facts, tables

    def restore(self, facts: dict[str, Any], tables: dict[str, pa.Table]) -> None:
        """Be what `state` gave, down to the last bit; made with the same arguments as that one.

        Raises
        ------
        ArtifactError
            Where it is of another version, of other windows, or damaged.
        """
        if (facts.get("version"), facts.get("rows")) != (_VERSION, self._rows):
            raise ArtifactError(
                f"the state of a watch of version {facts.get('version')!r} over windows of "
                f"{facts.get('rows')!r} rows",
                f"version {_VERSION} over {self._rows} rows",
                "Go on with the same settings, or begin anew with new state.",
            )
        try:
            learned = facts["learned"]
            summaries = {
                row["name"]: TableSummary.from_bytes(row["summary"])
                for row in tables["summaries"].to_pylist()
            }
            embedding = None
            if "embedding" in facts:
                arrays = {
                    row["name"]: np.array(row["values"]) for row in tables["embedding"].to_pylist()
                }
                embedding = Embedding.from_state(State(dict(facts["embedding"]), arrays))
            self._learned = None if learned is None else Reference.model_validate(learned)
            self._learned_embedding = embedding
            self._window, self._learning = summaries["window"], summaries["learning"]
            self._vectors = _vectors_of(tables["vectors"])
            self._learning_vectors = _vectors_of(tables["learning_vectors"])
            self._seen, self._held = int(facts["seen"]), []
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the state of a watch is damaged ({' '.join(str(error).split())[:80]})",
                "what it gave",
                "Begin anew with new state.",
            ) from None

    def _hold(self, rows: pa.RecordBatch) -> None:
        """Hold rows of the window until they are many."""
        if self._held and self._held[0].schema != rows.schema:
            self._settle()
        self._held.append(rows)

    def _settle(self) -> None:
        """Take the rows that were held into the window's statistics."""
        if self._held:
            self._window.update(pa.Table.from_batches(self._held))
            self._held = []

    def _closed(self) -> list[Finding]:
        """Compare a window that is full, and begin the next one."""
        self._settle()
        window, self._window = self._window, TableSummary()
        vectors, self._vectors = self._vectors, []
        found = self._compared(window)
        if vectors:
            found += self._compared_vectors(np.concatenate(vectors))
        return found

    def _compared(self, window: TableSummary) -> list[Finding]:
        """Compare the columns; what the reference does not know is learned first."""
        given = self._given
        unknown = [] if given is None else [n for n in self._predictions if n not in given.columns]
        if self._learned is None and (given is None or unknown):
            self._learning.merge(window)
            if self._learning.rows >= LEARNED * self._rows:
                self._learned = Reference.of(self._learning, None if given is None else unknown)
                self._learning = TableSummary()
            if given is None:
                return []
            known = given
        else:
            known, unknown = _joined(given, self._learned), []
        drifts = compare(known, window, columns=self._columns, q=self._q, floor=self._floor)
        return [
            one for drift in drifts if drift.name not in unknown for one in self._standing(drift)
        ]

    def _compared_vectors(self, vectors: Vectors) -> list[Finding]:
        """Compare the vectors with the reference; where there is none yet, they become it."""
        known = self._given_embedding or self._learned_embedding
        if known is None:
            self._learning_vectors.append(vectors)
            if sum(map(len, self._learning_vectors)) >= LEARNED * self._rows:
                learned = np.concatenate(self._learning_vectors)
                self._learned_embedding = Embedding.fit(learned, _SEED)
                self._learning_vectors = []
            return []
        distance, p = known.compare(vectors)
        threshold = max(known.usual(len(vectors), 1 - _RARE), _APART)
        level: Level = "quiet"
        if distance >= LOWER * threshold and p <= _RARER:
            level = "high" if distance >= threshold and p <= _RARE else "between"
        words = "" if level == "quiet" else "the rows as the network sees them lie elsewhere"
        one = Finding("embedding", "", "mmd", distance, threshold, level, words, self._seen)
        return [one]

    def _standing(self, drift: ColumnDrift) -> Iterator[Finding]:
        """Say how a column stands: whether it is there, its cells, what is missing or new."""
        reasons = set(drift.reasons)
        if "new column" in reasons:
            yield self._one("new column", drift, "column", 1.0, 1.0, "high")
            return
        if "missing column" in reasons:
            yield self._one("missing column", drift, "column", 1.0, 1.0, "high")
            return
        yield self._one("missing column", drift, "column", 0.0, 1.0, "quiet")
        if drift.measure:
            what: What = "prediction" if drift.name in self._predictions else "input"
            level = self._level("distribution" in reasons, drift.distance, drift.p)
            yield self._one(what, drift, drift.measure, drift.distance, self._floor, level)
        gone = abs(drift.missing_after - drift.missing_before)
        level = self._level("missing" in reasons, gone, drift.p_missing)
        yield self._one("missing cells", drift, "share", gone, self._floor, level)
        if drift.measure == "mix":
            level = "high" if "new values" in reasons else "quiet"
            share, threshold = drift.new_share, drift.new_threshold
            yield self._one("new values", drift, "share", share, threshold, level)

    def _level(self, high: bool, value: float, p: float) -> Level:  # noqa: FBT001 - a fact
        """Say how a measure stands; what luck explains is quiet, however large."""
        if high:
            return "high"
        return "quiet" if value < LOWER * self._floor or p > self._q else "between"

    def _one(
        self,
        what: What,
        drift: ColumnDrift,
        measure: str,
        value: float,
        threshold: float,
        level: Level,
    ) -> Finding:
        words = "" if level == "quiet" else drift.words
        return Finding(what, drift.name, measure, value, threshold, level, words, self._seen)


def _joined(given: Reference | None, learned: Reference | None) -> Reference:
    """Join what was given and what the stream told."""
    if given is None or learned is None:
        found = given or learned
        assert found is not None  # noqa: S101 - a stream without either is learned first
        return found
    columns = {**learned.columns, **given.columns}
    return Reference(rows=min(given.rows, learned.rows), columns=columns)


def _table_of(vectors: Sequence[Vectors]) -> pa.Table:
    """Put vectors [N, D] into a table."""
    if not vectors:
        return pa.table({"vector": pa.array([], pa.list_(pa.float32(), 0))})
    whole = np.concatenate(vectors)
    flat = pa.array(whole.ravel())
    return pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, whole.shape[1])})


def _vectors_of(table: pa.Table) -> list[Vectors]:
    """Take vectors out of a table; none of none."""
    column = table.column("vector").combine_chunks()
    if not len(column):
        return []
    return [column.flatten().to_numpy().reshape(len(column), -1).astype(np.float32)]
