"""Predictions that wait for their label, and labels that came before their event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError
from thalweg.data.features.order import joined
from thalweg.kinds.cells import require_flat
from thalweg.monitor.waiting import Keys, Waiting
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import canonical_text

FORMAT: Final = 1
MOST_BYTES: Final = 64 << 20

COUNTS: Final = (
    "events",
    "labels",
    "replaced",
    "repeated",
    "expired",
    "lone",
    "nameless",
)
"""What is counted: events that waited, labels that met theirs, events replaced by a later one with
their id, labels that came again, events whose label did not come in time, labels whose event did
not, and events or labels without an id."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Found:
    """Labels that met their events.

    Parameters
    ----------
    places
        int64 [H]: which of the labels met an event, in order.
    rows
        The events' rows [H] as they were when they were predicted.
    said
        float64 [H, E, W]: what each expert said then. Experts that came later are NaN, classes
        that came later 0.
    answers
        float64 [H, W]: what was answered; NaN where nothing was.
    times
        int64 [H]: when the events were.
    missed
        int64: which of the labels met none: their event is yet to come, or was forgotten.
    repeated
        int64: which of the labels came again; they are to be ignored.
    """

    places: Numbers
    rows: pa.RecordBatch
    said: Floats
    answers: Floats
    times: Numbers
    missed: Numbers
    repeated: Numbers


@final
@dataclass(frozen=True, slots=True)
class Early:
    """Labels that were there before their events.

    Parameters
    ----------
    places
        int64 [K]: which of the events have one, in order.
    cells
        The labels [K].
    times
        int64 [K]: when they were.
    """

    places: Numbers
    cells: pa.Array
    times: Numbers


@final
class Pending:
    """Keeps predictions until their label comes, or the limit is over.

    An event whose id waits already replaces it: what is scored is the newest prediction, once. A
    label whose event was answered already is told as repeated, as long as the event would have
    waited. Equal ids are those that say the same, whatever their type: ``7`` and ``" 7.0"``.

    Parameters
    ----------
    limit
        How long, in microseconds of the events' own times.
    folder
        Where rows go that find no room in memory; made when it is needed.
    most_bytes
        So much of the rows is held in memory; beside it about 40 bytes an event.

    Examples
    --------
    >>> import tempfile
    >>> pending = Pending(1_000_000, Path(tempfile.mkdtemp()))
    >>> rows = pa.record_batch({"x": [1.5, 2.5]})
    >>> early = pending.put(
    ...     pa.array(["a", "b"]), np.array([0, 10]), rows, np.zeros((2, 1, 2)), np.zeros((2, 2)))
    >>> found = pending.take(pa.array(["b", "c", "b"]))
    >>> found.places, found.rows.to_pydict(), found.missed, found.repeated
    (array([0]), {'x': [2.5]}, array([1]), array([2]))
    >>> pending.expire(1_000_001), pending.waiting
    (1, 0)
    """

    def __init__(self, limit: int, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._limit = limit
        self._events = Waiting("events", folder, most_bytes)
        self._labels = Waiting("labels", folder, most_bytes // 4)
        self._empty = pa.record_batch({})
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))

    @property
    def waiting(self) -> int:
        """How many events wait for a label."""
        return len(self._events)

    @property
    def early_labels(self) -> int:
        """How many labels wait for their event."""
        return len(self._labels)

    @property
    def nbytes(self) -> int:
        """How much memory all of it takes."""
        return self._events.nbytes + self._labels.nbytes

    def put(
        self, ids: pa.Array, times: Numbers, rows: pa.RecordBatch, said: Floats, answers: Floats
    ) -> Early:
        """Let events wait.

        Parameters
        ----------
        ids
            What their labels will be known by, [N].
        times
            int64 [N]: when they were, in microseconds.
        rows
            The model's columns [N].
        said
            float64 [N, E, W]: what each expert said.
        answers
            float64 [N, W]: what was answered.

        Returns
        -------
        Early
            The labels of those whose label came first. They wait no more: the caller has all that
            belongs to them.
        """
        self._empty = rows.slice(0, 0)
        keys, named = self._keys(ids)
        last = keys.last()
        self.counts["replaced"] += len(keys) - len(last)
        keys, where = keys.take(last), named[last]
        old, _ = self._events.find(keys)
        self._events.drop(old[old >= 0])
        self.counts["replaced"] += int((old >= 0).sum())
        self.counts["events"] += len(where)
        if not len(where):
            return Early(where, pa.nulls(0), where)
        whole = np.concatenate([said, answers[:, None]], axis=1)
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(whole[where].ravel()), whole.shape[1] * whole.shape[2]
        )
        own = rows if len(where) == rows.num_rows else rows.take(pa.array(where))
        columns = [*own.columns, lists]
        kept = pa.RecordBatch.from_arrays(columns, [*own.schema.names, " said"])
        slots = self._events.put(keys, times[where], kept, whole.shape[1:])
        return self._met(keys, where, slots)

    def early(self, ids: pa.Array) -> Early:
        """Give the labels that wait for events [N], which all have other ids; they wait no more.

        The events are to be told of with `note`.
        """
        nothing = np.zeros(0, np.int64)
        if not self.early_labels or not len(ids):
            return Early(nothing, pa.nulls(0), nothing)
        cells = keys_of(ids)
        named = np.flatnonzero(cells.is_valid().to_numpy(zero_copy_only=False))
        labels, _ = self._labels.find(Keys.of(cells.drop_null()))
        hits = np.flatnonzero(labels >= 0)
        if not len(hits):
            return Early(nothing, pa.nulls(0), nothing)
        moments = self._labels.times(labels[hits])
        found = _gathered(self._labels, labels[hits])[0].column(0)
        self._labels.drop(labels[hits])
        return Early(named[hits], found, moments)

    def note(self, ids: pa.Array, times: Numbers) -> None:
        """Know of events [N] whose label met them at once, so that another one is a repeated one.

        Parameters
        ----------
        ids
            By which their labels are known.
        times
            int64 [N]: when they were, in microseconds.
        """
        keys, named = self._keys(ids)
        if not len(keys):
            return
        old, _ = self._events.find(keys)
        old = np.unique(old[old >= 0])
        self._events.drop(old)
        self.counts["replaced"] += len(old)
        self.counts["events"] += len(keys)
        self.counts["labels"] += len(keys)
        self._events.note(keys, times[named])

    def _met(self, keys: Keys, where: Numbers, slots: Numbers) -> Early:
        """Answer events whose label is there."""
        labels, _ = self._labels.find(keys)
        hits = np.flatnonzero(labels >= 0)
        if not len(hits):
            return Early(hits, pa.nulls(0), hits)
        moments = self._labels.times(labels[hits])
        cells = _gathered(self._labels, labels[hits])[0].column(0)
        self._labels.drop(labels[hits])
        self._events.answer(slots[hits])
        self.counts["labels"] += len(hits)
        return Early(where[hits], cells, moments)

    def take(self, ids: pa.Array) -> Found:
        """Find the events of labels [M], which wait no more."""
        keys, named = self._keys(ids)
        slots, answered = self._events.find(keys)
        first = np.zeros(len(keys), bool)
        first[keys.first()] = True
        hits = np.flatnonzero((slots >= 0) & first)
        again = answered | ((slots >= 0) & ~first)
        self.counts["labels"] += len(hits)
        self.counts["repeated"] += int(again.sum())
        missed = np.flatnonzero((slots < 0) & ~again)
        times = self._events.times(slots[hits])
        rows, whole = self._empty, np.zeros((0, 1, 1))
        if len(hits):
            rows, whole = _gathered(self._events, slots[hits])
            self._events.answer(slots[hits])
        said, answers = whole[:, :-1], whole[:, -1]
        return Found(named[hits], rows, said, answers, times, named[missed], named[again])

    def put_label(self, ids: pa.Array, cells: pa.Array, times: Numbers) -> None:
        """Let labels [M] that met no event wait for it: those that `take` told as missed.

        A second label of an id that waits is counted and ignored.
        """
        keys, named = self._keys(ids)
        known, _ = self._labels.find(keys)
        fresh = np.flatnonzero(known < 0)
        fresh = fresh[keys.take(fresh).first()]
        self.counts["repeated"] += len(keys) - len(fresh)
        if len(fresh):
            places = named[fresh]
            rows = pa.RecordBatch.from_arrays([plain(cells).take(pa.array(places))], ["label"])
            self._labels.put(keys.take(fresh), times[places], rows, ())

    def expire(self, now: int) -> int:
        """Forget what is older than the limit, and say how many events were.

        Labels without an event are forgotten by the same limit.
        """
        late = self._events.expire(now - self._limit)
        self.counts["expired"] += late
        self.counts["lone"] += self._labels.expire(now - self._limit)
        return late

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that waits, for a checkpoint: plain JSON, and tables by name.

        Files are referred to by name and digest. One that nothing refers to any more is removed
        only when a few more states were given, so that older checkpoints can be gone back to.
        """
        events, tables = self._events.state()
        labels, more = self._labels.state()
        schema = pa.Table.from_batches([self._empty])
        facts = {"format": FORMAT, "counts": dict(self.counts), "events": events, "labels": labels}
        return facts, tables | more | {"schema": schema}

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Be what `state` gave.

        Raises
        ------
        ArtifactError
            Where it is another version's, or a file is missing or damaged.
        """
        if facts.get("format") != FORMAT:
            raise ArtifactError(
                f"pending predictions of format {facts.get('format')!r}",
                f"format {FORMAT}",
                "Use the version of Thalweg that saved them, or start with another --state.",
            )
        self.counts = Counter(facts["counts"])
        self._events.restore(facts["events"], tables)
        self._labels.restore(facts["labels"], tables)
        self._empty = pa.RecordBatch.from_pylist([], schema=tables["schema"].schema)

    def _keys(self, ids: pa.Array) -> tuple[Keys, Numbers]:
        """Write ids as keys [K], and tell which of them there are: int64 [K]."""
        cells = keys_of(ids)
        if not cells.null_count:
            return Keys.of(cells), np.arange(len(cells))
        self.counts["nameless"] += cells.null_count
        named = np.flatnonzero(cells.is_valid().to_numpy(zero_copy_only=False))
        return Keys.of(cells.drop_null()), named


def keys_of(ids: pa.Array | pa.ChunkedArray) -> pa.LargeBinaryArray:
    """Write ids as the bytes by which they are compared; null, NaN and blank ones are null.

    Bytes are compared as they are, all else by what it says; times to the microsecond.

    Raises
    ------
    ColumnError
        Where ids are lists or records.

    Examples
    --------
    >>> keys_of(pa.array([7, None])).to_pylist(), keys_of(pa.array([" 7.0", ""])).to_pylist()
    ([b'7', None], [b'7', None])
    """
    ids = plain(ids)
    require_flat(ids)
    if pa.types.is_dictionary(ids.type):
        return keys_of(ids.dictionary).take(ids.indices)
    if pa.types.is_fixed_size_binary(ids.type):
        ids = ids.cast(pa.binary())
    if pa.types.is_binary(ids.type) or pa.types.is_large_binary(ids.type):
        return ids.cast(pa.large_binary())
    if pa.types.is_decimal(ids.type):
        ids = ids.cast(pa.string())
    texts = canonical_text(ids)
    blank = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(blank, None, texts).cast(pa.large_string()).cast(pa.large_binary())


def _gathered(store: Waiting, slots: Numbers) -> tuple[pa.RecordBatch, Floats]:
    """Give the rows of slots [H] in their order, and what goes with them: float64 [H, E + 1, W].

    Rows of several shapes get the largest: NaN for experts, 0 for classes that were not there.
    """
    parts = list(store.get(slots))
    sizes = [shape or (1, 1) for _, _, shape in parts]
    experts, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    whole = np.full((len(slots), experts, width), np.nan)
    batches = []
    for (batch, places, shape), size in zip(parts, sizes, strict=True):
        if shape:
            lists = batch.column(batch.num_columns - 1)
            block = np.zeros((len(places), size[0], width))
            block[:, :, : size[1]] = lists.flatten().to_numpy().reshape(-1, *size)
            block[np.isnan(block).any(axis=2)] = np.nan
            # The answer is the last one, whatever the number of experts.
            whole[places, : size[0] - 1] = block[:, :-1]
            whole[places, -1] = block[:, -1]
        batches.append(batch.select(list(range(batch.num_columns - bool(shape)))))
    order = np.argsort(np.concatenate([places for _, places, _ in parts]))
    return joined(batches).take(pa.array(order)), whole
