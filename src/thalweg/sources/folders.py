"""A source whose cells name files of another folder than its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.base import Batch, Position, Source


@final
class InFolder(Source):
    """The same rows, with another folder of files.

    Parameters
    ----------
    rows
        The source.
    folder
        Where its cells' paths are meant from.

    Raises
    ------
    SourceError
        Where that is no folder.
    """

    def __init__(self, rows: Source, folder: Path) -> None:
        if not folder.is_dir():
            raise SourceError(
                f"the folder of files is {str(folder)!r}",
                "a folder that is there",
                "Name the folder that the paths in the table are meant from.",
            )
        self._rows = rows
        self._folder = folder

    @property
    def uri(self) -> str:
        """What the rows were opened with."""
        return self._rows.uri

    @property
    def folder(self) -> Path | None:
        """The folder of files."""
        return self._folder

    @property
    def repeatable(self) -> bool:
        """Whether the rows are; see `Source.repeatable`."""
        return self._rows.repeatable

    def schema(self) -> pa.Schema:
        """Give the columns."""
        return self._rows.schema()

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        """Read rows; see `Source.batches`."""
        return self._rows.batches(columns, size, start)

    def length(self) -> int | None:
        """How many rows there are, where that is known."""
        return self._rows.length()

    def fingerprint(self) -> str:
        """Give the rows' fingerprint: whether the files change is not watched."""
        return f"{self._rows.fingerprint()} in {self._folder.resolve()}"
