"""Text that is always UTF-8, whatever the bytes and wherever blocks cut them."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.sources.text import Utf8, shown


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
