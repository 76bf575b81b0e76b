"""Which rows are known to be odd: a column that only judging looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.stats.parsing import canonical_text, is_missing_text


@final
@dataclass(frozen=True, slots=True)
class Truth:
    """The column that says which rows are odd.

    Parameters
    ----------
    column
        Its name.
    value
        What an odd row has there, as text; None: the rarer of its two values.
    """

    column: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Self:
        """Read ``COLUMN`` or ``COLUMN=VALUE``, of a table with columns of these names.

        Raises
        ------
        OptionError
            Where there is no such column, with near names.

        Examples
        --------
        >>> Truth.parse("kind=fraud", ["kind", "amount"])
        Truth(column='kind', value='fraud')
        """
        if text in names:
            return cls(text)
        column, equals, value = text.rpartition("=")
        if equals and column in names:
            return cls(column, value)
        raise OptionError(
            f"the truth is {text!r}", "COLUMN or COLUMN=VALUE", near(column or text, names)
        )

    def read(self, column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Say of each row whether it is odd, int64 [N]: 1 if so, 0 if not, -1 where nobody knows.

        Raises
        ------
        OptionError
            Where there is no row of the value, or there are more values than two to choose from.
        """
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        missing = is_missing_text(array) | array.is_null().to_numpy(zero_copy_only=False)
        texts = canonical_text(array).cast(pa.large_string())
        found = np.full(len(texts), -1, dtype=np.int64)
        known = texts.filter(pa.array(~missing))
        odd = self.value if self.value is not None else _rarer(self.column, known)
        found[~missing] = _equal(known, odd)
        if self.value is not None and not (found == 1).any():
            raise OptionError(
                f"no row has {self.value!r} in {self.column!r}",
                f"one of {', '.join(repr(text) for text in _values(known)[:8])}",
                near(self.value, _values(known)),
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {"column": self.column, "value": self.value}


def _equal(texts: pa.Array, value: str) -> NDArray[np.int64]:
    """Say which texts are a value, as the table writes it or as a user would: 1, not 1.0."""
    plain = canonical_text(pa.array([value])).cast(pa.large_string())[0]
    same: NDArray[np.int64] = (
        pc.or_(pc.equal(texts, value), pc.equal(texts, plain))
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    )
    return same


def _values(texts: pa.Array) -> list[str]:
    """Give the different texts, the commonest first."""
    counted = sorted(texts.value_counts().to_pylist(), key=lambda one: -one["counts"])
    return [one["values"] for one in counted]


def _rarer(column: str, texts: pa.Array) -> str:
    """Give the rarer of two texts."""
    values = _values(texts)
    if len(values) == 2:
        return values[1]
    some = ", ".join(repr(text) for text in values[:4])
    raise OptionError(
        f"{column!r} has {len(values):,} values: {some}",
        "two, or the one that odd rows have",
        f"Say which: --truth {column}=VALUE.",
    )
