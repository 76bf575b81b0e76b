"""Text that is always UTF-8: a byte that is not becomes a character that its row is found by.

Parsers can go on so; whoever parses looks for these characters and sets the rows aside. They are
128 private ones (U+10FF80 and on), and only meant where a stream says that it is ``strange``.
"""

from __future__ import annotations

import codecs
import io
import re
from types import TracebackType
from typing import Final, Self, final

import pyarrow as pa

from thalweg.sources.paths import open_bytes
from thalweg.sources.places import Place

STRANGE: Final = r"[\x{10FF80}-\x{10FFFF}]"
"""The regular expression (RE2) of a byte that was not UTF-8."""

NOT_UTF8: Final = "holds bytes that are not UTF-8 (to convert the file: iconv -f latin1 -t utf8)"

KEPT: Final = 10_000
"""The most characters of a rejected row that are kept."""

_ODD: Final = re.compile(r"[\udc80-\udcff]+")
_HIDDEN: Final = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_SHOWN: Final = {0x10FF00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}


@final
class Utf8:
    r"""Reads bytes that are always UTF-8 from ones that may not be.

    Parameters
    ----------
    file
        What is read, from its beginning.

    Attributes
    ----------
    strange
        Whether a byte that was read so far was not UTF-8.

    Examples
    --------
    >>> stream = Utf8(io.BytesIO(b"caf\xe9 au lait"))
    >>> shown(stream.read(20).decode()), stream.strange
    ('caf\\xe9 au lait', True)
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.strange = False
        self._file = file
        self._rest = b""  # The beginning of a character that the last block cut in two.

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file.closed

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """Read about ``size`` bytes, up to the end of a character; none at the end of the file."""
        while True:
            fresh = self._file.read(size)
            if not self._rest and fresh.isascii():
                return fresh
            block = self._whole(self._rest + fresh, end=not fresh)
            if block or not fresh:
                return block

    def _whole(self, block: bytes, *, end: bool) -> bytes:
        """Give the block's whole characters and keep the rest."""
        try:
            _, used = codecs.utf_8_decode(block, "strict", end)
            found = block[:used]
        except UnicodeDecodeError:
            self.strange = True
            text, used = codecs.utf_8_decode(block, "surrogateescape", end)
            # Not translate: it would look at every character, of which next to all are good.
            found = _ODD.sub(lambda odd: odd[0].translate(_HIDDEN), text).encode()
        self._rest = block[used:]
        return found


def open_text(path: Place) -> Utf8:
    """Open a text file, packed or not.

    Raises
    ------
    SourceError
        Where it cannot be read, or its first bytes say that it is no text.
    """
    return Utf8(open_bytes(path))


def shown(text: str) -> str:
    r"""Write bytes that were not UTF-8 as ``\xe9``, and cut what is too long to keep."""
    return text[:KEPT].translate(_SHOWN)[:KEPT]


def mended(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Make texts UTF-8 that are not, though their column's type says so.

    A file that holds columns apart cannot set a row aside: who reads another column must find as
    many rows. So a byte that is not UTF-8 becomes a `STRANGE` character, which a kind can find.
    """
    given = rows.columns
    columns = [_mended(column) for column in given]
    if all(one is other for one, other in zip(columns, given, strict=True)):
        return rows
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _mended(column: pa.Array) -> pa.Array:
    """Mend a column: itself, where there is nothing to mend."""
    types = pa.types
    if types.is_dictionary(column.type):
        values = _mended(column.dictionary)
        if values is column.dictionary:
            return column
        return pa.DictionaryArray.from_arrays(column.indices, values)
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        return column
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.large_binary()).to_pylist()
        texts = [None if one is None else _hidden(one) for one in raw]
        return pa.array(texts, column.type)
    return column


def _hidden(raw: bytes) -> str:
    """Read bytes; those that are not UTF-8 become `STRANGE` characters."""
    text = raw.decode("utf-8", "surrogateescape")
    return _ODD.sub(lambda odd: odd[0].translate(_HIDDEN), text)
