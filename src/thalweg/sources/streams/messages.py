"""Rows sent as messages, whatever broker or log takes the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.core.errors import ColumnError, near
from thalweg.sources.streams.base import Outlet, Position, Publisher
from thalweg.sources.streams.payloads import payloads_of


@final
class MessageOutlet(Outlet):
    """Writes rows as payloads of a publisher.

    Parameters
    ----------
    publisher
        Sends them.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    @property
    def uri(self) -> str:
        """The publisher's."""
        return self._publisher.uri

    @property
    def guarantee(self) -> str:
        """The publisher's."""
        return self._publisher.guarantee

    @property
    def interval(self) -> float:
        """The publisher's."""
        return self._publisher.interval

    def resume(self, fence: int) -> int:
        """Begin, or go on."""
        return self._publisher.resume(fence)

    def write(self, batch: int, rows: pa.RecordBatch) -> None:
        """Send rows; those of equal keys to the same partition.

        Raises
        ------
        ColumnError
            Where the rows have no column of the key's name.
        """
        key = self._publisher.key
        form = self._publisher.format
        if key and key not in rows.schema.names:
            raise ColumnError(
                f"{self.uri} is to be parted by {key!r}, which the rows have not",
                "a column that they have",
                near(key, rows.schema.names),
            )
        if not key:
            self._publisher.send(batch, payloads_of(rows, form))
            return
        keys = rows.column(key).cast(pa.large_string())
        if form == "arrow":  # one payload holds many rows: those of one key each
            codes = keys.dictionary_encode(null_encoding="encode")
            each = range(len(codes.dictionary))
            parts = [rows.filter(pc.equal(codes.indices, code)) for code in each]
            payloads = pa.concat_arrays([payloads_of(part, form) for part in parts])
            self._publisher.send(batch, payloads, codes.dictionary)
            return
        self._publisher.send(batch, payloads_of(rows, form), keys)

    def flush(self, positions: Mapping[str, Position]) -> None:
        """Make what was sent be there for good."""
        self._publisher.flush(positions)

    def close(self) -> None:
        """Let go of whatever is open."""
        self._publisher.close()
