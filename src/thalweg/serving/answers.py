"""Predictions beside the rows that they are of."""

from __future__ import annotations

import pyarrow as pa

from thalweg.core.errors import OptionError


def answered(rows: pa.RecordBatch, answers: pa.RecordBatch) -> pa.RecordBatch:
    """Put answers after the rows' own columns.

    Raises
    ------
    OptionError
        Where both have a column of one name.
    """
    for name in answers.schema.names:
        if name in rows.schema.names:
            raise OptionError(
                f"the rows have a column {name!r} of their own",
                "columns of other names than the prediction's",
                "Leave the rows' own columns out with --no-keep (keep=False), or rename it.",
            )
    return pa.RecordBatch.from_arrays(
        [*rows.columns, *answers.columns], schema=pa.schema([*rows.schema, *answers.schema])
    )
