"""Text that is always UTF-8, whatever the bytes and wherever blocks cut them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.sources.text import STRANGE, Utf8, mended, shown


def read(content: bytes, size: int) -> tuple[str, bool]:
    stream = Utf8(io.BytesIO(content))
    return b"".join(iter(lambda: stream.read(size), b"")).decode(), stream.strange


@settings(max_examples=200)
@given(st.one_of(st.binary(), st.text().map(str.encode)), st.integers(1, 9))
def test_any_bytes_become_text_and_what_is_text_stays(content: bytes, size: int) -> None:
    text, strange = read(content, size)
    try:
        expected = content.decode()
    except UnicodeDecodeError:
        assert strange
        assert shown(text) == content.decode("utf-8", "backslashreplace")
    else:
        assert (text, strange) == (expected, False)


def column(cells: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """Make texts of bytes that nobody looks at."""
    raw = pa.array(cells, pa.binary() if kind == pa.string() else pa.large_binary())
    return pa.Array.from_buffers(kind, len(raw), raw.buffers(), raw.null_count)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_bytes_that_are_no_text_become_strange_characters(kind: pa.DataType) -> None:
    cells = [b"caf\xe9", None, "café".encode(), b"\xff" * 3]
    rows = pa.record_batch({"text": column(cells, kind), "row": pa.array([1, 2, 3, 4])})
    found = mended(rows)
    found.validate(full=True)
    assert found.schema == rows.schema
    texts = found.column("text")
    assert pc.match_substring_regex(texts, STRANGE).to_pylist() == [True, None, False, True]
    assert [None if text is None else shown(text) for text in texts.to_pylist()] == [
        *("caf\\xe9", None, "café", "\\xff" * 3)
    ]


def test_a_dictionary_of_texts_is_mended_by_its_values() -> None:
    values = column([b"\xff", b"fine"], pa.string())
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None], pa.int32()), values)
    found = mended(pa.RecordBatch.from_arrays([coded], ["text"])).column(0)
    assert [one and shown(one) for one in found.to_pylist()] == ["\\xff", "fine", "\\xff", None]


def test_rows_with_nothing_to_mend_are_given_back_as_they_are() -> None:
    rows = pa.record_batch({"text": ["ü", None], "bytes": [b"\xff", None], "number": [1, 2]})
    assert mended(rows) is rows
