"""Which rows train, which choose, which judge: decided by what a row holds, not by where it stands.

Every row has a stable 64-bit hash of its content (`thalweg.stats.hashing`). Mixed with the seed
it is a number that looks random but is the same in any file order, format or batch, so a table
that is shuffled or re-exported keeps its test rows. Parts are cut by rank among these numbers:
in a table that has grown, rows near a cut may move to another part. Another column changes every
hash, and with them the parts. Equal rows share a part, so no copy of a test row is ever trained
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, SourceError
from thalweg.stats.hashing import mix

TRAIN: Final = 0
VALIDATION: Final = 1
TEST: Final = 2

NAMES: Final = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}

FOLDED_ROWS: Final = 200_000

_WHOLE: Final = float(2**64 - 2048)  # the largest number of both float64 and uint64

Method = Literal["random", "stratified", "group", "time"]


@final
@dataclass(frozen=True, slots=True)
class Split:
    """How rows are parted.

    Parameters
    ----------
    method
        ``random`` (stratified by class where the target has classes), ``stratified``,
        ``group`` (a group never lies in two parts) or ``time`` (later rows judge).
    column
        The column of the groups or times.
    test, validation
        The shares of all rows. Validation None means 10% of large tables (over `FOLDED_ROWS`)
        and of splits by time, else none: every member of the network then holds out a fold of
        the training rows of its own (`folds`), so that no row is lost to learning.
    seed
        Another seed gives another split; ``time`` does not use it.

    Examples
    --------
    >>> Split.parse("group:patient").column
    'patient'
    """

    method: Method = "random"
    column: str | None = None
    test: float = 0.2
    validation: float | None = None
    seed: int = 0

    @classmethod
    def parse(
        cls, text: str, test: float = 0.2, validation: float | None = None, seed: int = 0
    ) -> Split:
        """Read ``random``, ``stratified``, ``group:COLUMN`` or ``time:COLUMN``.

        Raises
        ------
        OptionError
            Where the text is none of these.
        """
        name, _, column = text.partition(":")
        shares = (test, validation, seed)
        match name, column:
            case ("random", ""):
                return cls("random", None, *shares)
            case ("stratified", ""):
                return cls("stratified", None, *shares)
            case ("group", column) if column:
                return cls("group", column, *shares)
            case ("time", column) if column:
                return cls("time", column, *shares)
        raise OptionError(
            f"the split is {text!r}",
            "random, stratified, group:COLUMN or time:COLUMN",
            "For rows that belong together (one patient, one shop) use group:COLUMN.",
        )

    def held_out(self, rows: int) -> float:
        """Give the share of validation rows among a number of rows."""
        if self.validation is not None:
            return self.validation
        return 0.1 if rows > FOLDED_ROWS or self.method == "time" else 0.0

    def part(
        self,
        hashes: NDArray[np.uint64],
        classes: NDArray[np.int64] | None,
        keys: NDArray[np.float64] | None,
    ) -> NDArray[np.int8]:
        """Part the rows.

        Parameters
        ----------
        hashes
            uint64 [N]: the hash of each row's content, or of its group's value.
        classes
            int64 [N]: the class of each row, where the target has classes.
        keys
            float64 [N]: the time of each row in seconds, for ``time``.

        Returns
        -------
        numpy.ndarray
            int8 [N] of `TRAIN`, `VALIDATION` and `TEST`.

        Raises
        ------
        SourceError
            Where a part would be empty.
        """
        validation = self.held_out(len(hashes))
        shares = (self.test, validation)
        if self.method == "time":
            if keys is None:
                raise AssertionError
            latest_first = np.where(np.isnan(keys), np.inf, -keys)
            parts = _cut(latest_first, shares)
        else:
            order = mix(hashes ^ mix(np.uint64(self.seed % 2**64))).astype(np.float64)
            parts = np.full(len(hashes), TRAIN, dtype=np.int8)
            strata = classes if classes is not None and self.method != "group" else None
            labels = np.zeros(len(hashes), dtype=np.int64) if strata is None else strata
            for label in np.unique(labels):
                inside = labels == label
                parts[inside] = _cut(order[inside], shares)
        self.require_all({part: int((parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)})
        return parts

    def require_all(self, rows: Mapping[int, int]) -> None:
        """Check that no part that should have rows has none.

        Parameters
        ----------
        rows
            How many rows each part has.

        Raises
        ------
        SourceError
            Naming the part.
        """
        shares = {TRAIN: 1.0, VALIDATION: self.held_out(sum(rows.values())), TEST: self.test}
        for part, share in shares.items():
            if share > 0 and not rows.get(part):
                raise SourceError(
                    f"{sum(rows.values())} rows leave none for the {NAMES[part]} part",
                    "more rows, or a column with more groups",
                    "Bring more rows, or judge on a file of its own with --test.",
                )

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return asdict(self)

    def part_apart(
        self,
        hashes: NDArray[np.uint64],
        times: NDArray[np.float64] | None,
        edges: tuple[float, float] | None,
    ) -> NDArray[np.int8]:
        """Part rows of a large table, each by itself, so that no row waits for the others.

        Hashes are as good as uniform, so a share of what they can be is that share of the rows,
        but for a fraction of a percent; so is every class's share.

        Parameters
        ----------
        hashes
            uint64 [N]: the hash of each row's content, or of its group's value.
        times
            float64 [N]: the time of each row, for ``time``.
        edges
            The times after which rows are for testing and for validation, for ``time``.

        Returns
        -------
        numpy.ndarray
            int8 [N] of `TRAIN`, `VALIDATION` and `TEST`.

        Examples
        --------
        >>> rows = np.arange(100_000, dtype=np.uint64)
        >>> np.bincount(Split(validation=0.1).part_apart(rows, None, None)).tolist()
        [69892, 10029, 20079]
        """
        parts = np.full(len(hashes), TRAIN, dtype=np.int8)
        if self.method == "time":
            if times is None or edges is None:
                raise AssertionError
            parts[times > edges[1]] = VALIDATION  # which a row without a time is not
            parts[times > edges[0]] = TEST
            return parts
        order = mix(hashes ^ mix(np.uint64(self.seed % 2**64)))
        validation = self.held_out(FOLDED_ROWS + 1)
        parts[order < np.uint64(min(self.test + validation, 1.0) * _WHOLE)] = VALIDATION
        parts[order < np.uint64(self.test * _WHOLE)] = TEST
        return parts


def folds(
    groups: NDArray[np.uint64], count: int, seed: int, classes: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Deal rows into folds of about equal size; what shares a group shares a fold.

    Parameters
    ----------
    groups
        uint64 [N]: the hash of what must stay together.
    count
        How many folds.
    seed
        Another seed deals otherwise.
    classes
        int64 [N]: every fold gets its share of each class, where groups allow.

    Returns
    -------
    numpy.ndarray
        int64 [N] from 0 to ``count`` - 1.

    Examples
    --------
    >>> np.bincount(folds(np.arange(9, dtype=np.uint64), 3, seed=0)).tolist()
    [3, 3, 3]
    """
    _, first, ranks = np.unique(
        mix(groups ^ mix(np.uint64((seed + 1) % 2**64))), return_index=True, return_inverse=True
    )
    if classes is None:
        return ranks.astype(np.int64) % count
    # Deal the groups class by class, so that a rare class is not all in one fold.
    dealt = np.empty(len(first), dtype=np.int64)
    dealt[np.argsort(classes[first], kind="stable")] = np.arange(len(first)) % count
    return dealt[ranks]


def _cut(order: NDArray[np.float64], shares: tuple[float, float]) -> NDArray[np.int8]:
    """Give the smallest to the test part, the next to validation; equals stay together."""
    values, inverse, counts = np.unique(order, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts / 2  # a block of equals goes where its middle lies
    test, validation = shares[0] * len(order), (shares[0] + shares[1]) * len(order)
    part = np.where(before < test, TEST, np.where(before < validation, VALIDATION, TRAIN))
    if len(values) > 1 and (part == TRAIN).sum() == 0:
        part[-1] = TRAIN
    return part.astype(np.int8)[inverse]
