from __future__ import annotations

import pyarrow as pa
import pytest

from thalweg.core.errors import OptionError
from thalweg.data.truth import Truth


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind", Truth("kind")),
        ("kind=fraud", Truth("kind", "fraud")),
        ("a=b", Truth("a=b")),
        ("a=b=c", Truth("a=b", "c")),
    ],
)
def test_columns_and_values_are_told_apart(text: str, wanted: Truth) -> None:
    assert Truth.parse(text, ["kind", "a=b"]) == wanted


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match="kind"):
        Truth.parse("kimd=fraud", ["kind"])


@pytest.mark.parametrize(
    ("cells", "value", "wanted"),
    [
        ([1, 0, 0, None], None, [1, 0, 0, -1]),
        (["no", "yes", "no", "?"], None, [0, 1, 0, -1]),
        ([True, False, False, False], None, [1, 0, 0, 0]),
        ([1.0, 2.0, 3.0, 2.0], "2", [0, 1, 0, 1]),
        (["a", "b", "c", "a"], "c", [0, 0, 1, 0]),
    ],
)
def test_odd_rows_are_found(cells: list[object], value: str | None, wanted: list[int]) -> None:
    assert Truth("kind", value).read(pa.chunked_array([pa.array(cells)])).tolist() == wanted


def test_what_cannot_be_decided_is_asked_for() -> None:
    with pytest.raises(OptionError, match="--truth kind=VALUE"):
        Truth("kind").read(pa.array(["a", "b", "c"]))
    with pytest.raises(OptionError, match="no row has 'd'"):
        Truth("kind", "d").read(pa.array(["a", "b", "c"]))
