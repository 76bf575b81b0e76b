"""MySQL's types: what is asked of the driver for each, and what the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

_INTEGERS: Final = {1: 8, 2: 16, 9: 32, 3: 32, 8: 64}
_PLAIN: Final = {
    4: pa.float32(),
    5: pa.float64(),
    7: pa.timestamp("us", "UTC"),
    10: pa.date32(),
    12: pa.timestamp("us"),
    13: pa.int16(),
    16: pa.int64(),
}
_DECIMALS: Final = (0, 246)
_MOMENTS: Final = (7, 10, 12)
_TIME, _BIT, _JSON, _GEOMETRY = 11, 16, 245, 255
_UNSIGNED, _BYTES = 32, 63


def quoted(names: Sequence[str]) -> str:
    """Write a name with its database."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def asked(field: Any) -> str:
    """Ask for a column, in a form that the driver reads without loss."""
    name = quoted([field.name])
    if field.type_code in _DECIMALS or field.type_code == _TIME:
        return f"CAST({name} AS CHAR) AS {name}"
    if field.type_code == _BIT:
        return f"CAST({name} AS SIGNED) AS {name}"
    if field.type_code == _GEOMETRY:
        return f"ST_AsText({name}) AS {name}"
    if field.type_code in _MOMENTS:
        # The date of zeros, which is MySQL's for none.
        return f"IF(MONTH({name}) > 0 AND DAYOFMONTH({name}) > 0, {name}, NULL) AS {name}"
    return name


def given(field: Any) -> pa.Field:
    """Give a column as Parquet would have it."""
    code, unsigned = field.type_code, field.flags & _UNSIGNED
    if code in _INTEGERS:
        return pa.field(field.name, f"{'u' if unsigned else ''}int{_INTEGERS[code]}")
    if code in _DECIMALS:
        digits = field.length - (not unsigned) - (field.scale > 0)
        fits = digits <= 38
        return pa.field(field.name, pa.decimal128(digits, field.scale) if fits else pa.float64())
    if code in _PLAIN:
        return pa.field(field.name, _PLAIN[code])
    text = field.charsetnr != _BYTES or code in (_TIME, _JSON, _GEOMETRY)
    return pa.field(field.name, pa.string() if text else pa.binary())
