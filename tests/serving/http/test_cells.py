from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from thalweg.serving.http.cells import plain_column
from thalweg.serving.http.refusal import BodyError


def plain(cells: pa.Array) -> pa.ChunkedArray:
    return plain_column("size", pa.chunked_array([cells]))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([Decimal("1.5"), None], pa.decimal32(5, 2)), pa.decimal128(5, 2)),
        (pa.array([Decimal("1.5"), None], pa.decimal64(12, 2)), pa.decimal128(12, 2)),
        (pa.array([[Decimal("1.5")]], pa.list_(pa.decimal32(5, 2))), pa.list_(pa.decimal128(5, 2))),
        (pa.array([np.float16(1.5)]), pa.float32()),
        (pa.array([[1.5]], pa.list_(pa.float16(), 1)), pa.list_(pa.float32(), 1)),
        (pa.array([[[1.5]]], pa.large_list(pa.list_(pa.float16()))), None),
        (pa.array([[None, None], []]), pa.list_(pa.null())),
        (pa.array([[["a"]], []]), pa.list_(pa.list_(pa.string()))),
        (pa.array([3], pa.time64("ns")), pa.time64("ns")),
        (pa.array([3], pa.duration("s")), pa.duration("s")),
    ],
)
def test_narrow_types_are_widened_and_nothing_changes(cells: pa.Array, kind: pa.DataType) -> None:
    found = plain(cells)
    assert found.type == (kind or pa.large_list(pa.list_(pa.float32())))
    assert found.to_pylist() == cells.to_pylist()


def test_a_dictionary_of_narrow_values_is_decoded() -> None:
    values = pa.array([Decimal("1.5")], pa.decimal64(5, 2))
    found = plain(pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), values))
    assert found.type == pa.decimal128(5, 2)
    assert found.to_pylist() == [Decimal("1.50"), None, Decimal("1.50")]


@pytest.mark.parametrize("chunks", [0, 2])
@pytest.mark.parametrize(
    "kind",
    [
        pa.bool8(),
        pa.json_(),
        pa.json_(pa.large_string()),
        pa.uuid(),
        pa.opaque(pa.int8(), "a", "b"),
    ],
)
def test_an_extension_is_what_it_is_stored_as(kind: pa.BaseExtensionType, chunks: int) -> None:
    cells = pa.ExtensionArray.from_storage(kind, pa.nulls(2, kind.storage_type))
    found = plain_column("size", pa.chunked_array([cells] * chunks, kind))
    assert found.type == kind.storage_type
    assert len(found) == 2 * chunks


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([[b"a"]]),
        pa.array([[[b"a"]]], pa.list_(pa.list_(pa.large_binary()))),
        pa.array([[b"a"]], pa.list_(pa.binary_view())),
        pa.array([b"a"], pa.binary_view()),
        pa.array([{"a": 1}]),
        pa.array([None], pa.month_day_nano_interval()),
        pa.array([[[[[1]]]]]),
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["a"]).dictionary_encode()),
    ],
)
def test_what_encoding_does_not_know_is_refused_in_one_line(cells: pa.Array) -> None:
    with pytest.raises(BodyError, match="column 'size' holds") as caught:
        plain(cells)
    assert caught.value.status == 422
    assert "\n" not in str(caught.value)
