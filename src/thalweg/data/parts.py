"""A table that is ready for training: its schema and its encoded parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.arrays import Arrays
from thalweg.data.features.declare import Features
from thalweg.data.schema import Schema
from thalweg.data.shards import Held, Store
from thalweg.sources import Reject
from thalweg.stats import TableSummary

Hashes = NDArray[np.uint64]

_NOBODY = np.zeros(0, dtype=np.uint64)


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part, encoded, and where they stood.

    Parameters
    ----------
    arrays
        The encoded rows in memory: all of them, or of a large table's part a fair sample.
    store
        All rows to learn from, in memory or on disk.
    raw
        The rows of ``arrays`` as they came, for slices and importances; None for training rows.
    hashes
        uint64 [N]: the hash of each row's content; empty for large tables.
    groups
        uint64 [N]: the hash of what must stay together: the row's group, else its content;
        empty for large tables.
    counts
        int64 [classes]: the rows of each class; None where the target is a number.
    """

    arrays: Arrays
    store: Store
    raw: pa.Table | None = None
    hashes: Hashes = field(default_factory=lambda: _NOBODY)
    groups: Hashes = field(default_factory=lambda: _NOBODY)
    counts: NDArray[np.int64] | None = None

    @classmethod
    def held(
        cls,
        arrays: Arrays,
        raw: pa.Table | None = None,
        hashes: Hashes = _NOBODY,
        groups: Hashes = _NOBODY,
    ) -> Part:
        """Make a part of rows that are all in memory."""
        return cls(arrays, Held(arrays), raw, hashes, groups, class_counts(arrays))

    @property
    def rows(self) -> int:
        """How many rows there are to learn from."""
        return len(self.store)


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A table that is ready for training.

    Parameters
    ----------
    schema
        The fitted columns.
    summary
        The statistics of the training rows.
    train, validation, test
        The parts.
    dropped
        How many rows had no target or were set aside by a cleaning option.
    rejects
        Rows that the source could not read.
    fingerprint
        Changes when the source does: files by their names, sizes and times of change, tables in
        memory and rows of databases by their content.
    left_out
        Part -> reason -> how many of its rows are counted in ``dropped``; see `Schema.left_out`.
    copies
        How many test rows equal training rows, of how many; estimated in large tables. A split
        keeps equal rows together: only test rows of another source can be copies.
    held_out
        Part -> how many rows were held out and can judge; of a large table's some do.
    """

    schema: Schema
    summary: TableSummary
    train: Part
    validation: Part
    test: Part
    dropped: int
    rejects: Collection[Reject]
    fingerprint: str
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    copies: tuple[int, int] = (0, 0)
    held_out: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user said of the columns.

    Parameters
    ----------
    target
        The column to predict; None: how likely rows are is learned.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]``.
    drop
        Columns not to use.
    features
        Windowed features to compute first; None for none.
    truth
        Without a target: the column that says which rows are odd, which only judging looks at, as
        ``COLUMN`` or ``COLUMN=VALUE``.
    """

    target: str | None
    columns: Mapping[str, str]
    drop: Sequence[str] = ()
    features: Features | None = None
    truth: str | None = None


def class_counts(arrays: Arrays) -> NDArray[np.int64] | None:
    """Count the rows of each class; None where the target is a number, or there is none."""
    codes = arrays.target.get("code")
    return None if codes is None else np.bincount(codes[:, 0]).astype(np.int64)
