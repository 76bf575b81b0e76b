"""CSV and TSV: text without types. Every column is text; the kinds read it.

So no type is guessed half-way through a file, and one row reads like a million. An empty field
without quotes is null. A row with too few or too many fields is set aside with its line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, final

import pyarrow as pa
import pyarrow.csv as pacsv

from thalweg.core.errors import SourceError
from thalweg.sources.base import Reject
from thalweg.sources.files import Format, open_bytes, unreadable

BLOCK: Final = 4 << 20
LARGEST: Final = 256 << 20
DELIMITERS: Final = ",;\t|"
KEPT: Final = 10_000


@final
class Csv(Format):
    """Reads CSV with any of the delimiters ``, ; tab |``, and TSV."""

    suffixes = (".csv", ".tsv", ".tab")
    name = "CSV"

    def schema(self, path: Path) -> pa.Schema:
        """Read the header; every column is text."""
        header, _ = _header(path)
        return pa.schema([pa.field(name, pa.string()) for name in header])

    def read(
        self, path: Path, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[tuple[pa.RecordBatch, int, Sequence[Reject]]]:
        """Read rows in order, setting ragged ones aside."""
        header, delimiter = _header(path)
        rejects: list[Reject] = []

        def set_aside(row: pacsv.InvalidRow) -> str:
            rejects.append(
                Reject(
                    str(path),
                    (row.number or 0),
                    f"expected {row.expected_columns} fields, found {row.actual_columns}",
                    (row.text or "")[:KEPT],
                )
            )
            return "skip"

        left = skip
        for block in _blocks(path, header, delimiter, columns, set_aside):
            found, rejects[:] = list(rejects), []
            told = min(left, len(found))
            left -= told
            rows = block.slice(min(left, block.num_rows))
            left -= block.num_rows - rows.num_rows
            fresh = found[told:]
            if not rows.num_rows and fresh:
                yield rows, len(fresh), fresh
            for start in range(0, rows.num_rows, size):
                piece = rows.slice(start, size)
                yield piece, piece.num_rows + len(fresh), fresh
                fresh = []
        if rejects[left:]:
            empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(n) for n in columns]))
            yield empty, len(rejects[left:]), rejects[left:]

    def length(self, path: Path) -> int | None:  # noqa: ARG002 - only reading tells
        """Tell nothing: only reading counts the rows of a text."""
        return None


def _blocks(
    path: Path, header: Sequence[str], delimiter: str, columns: Sequence[str], set_aside: object
) -> Iterator[pa.RecordBatch]:
    """Parse a file block by block; a cell that is wider than a block widens the blocks."""
    size, done = BLOCK, 0
    while True:
        try:
            reader = pacsv.open_csv(
                open_bytes(path),
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=size, column_names=list(header), skip_rows=0,
                    skip_rows_after_names=1,
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=set_aside,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.string()),
                    include_columns=list(columns),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                ),
            )
            seen = 0
            for block in reader:
                seen += 1
                if seen > done:
                    done = seen
                    yield block
            return
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            if "straddling" in str(error) and size < LARGEST and done == 0:
                size *= 8
                continue
            raise _explained(path, error) from None


def _explained(path: Path, error: Exception) -> SourceError:
    text = str(error)
    if "UTF8" in text or "UTF-8" in text:
        return SourceError(
            f"{path} is not UTF-8 text ({' '.join(text.split())[:120]})",
            "UTF-8",
            f"Convert it first: iconv -f latin1 -t utf8 {path.name}.",
        )
    return unreadable(path, error)


def _header(path: Path) -> tuple[list[str], str]:
    """Read the names of the columns and find the delimiter.

    Raises
    ------
    SourceError
        Where the file is empty or two columns share a name.
    """
    try:
        with open_bytes(path) as file:
            line = file.readline(1 << 20)
    except (OSError, EOFError) as error:
        raise unreadable(path, error) from None
    try:
        text = line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise _explained(path, error) from None
    if not text.strip():
        raise SourceError(f"{path} is empty", "a header and rows below it", "Is it the right file?")
    if "\0" in text:
        raise unreadable(path, ValueError("binary data, not text"))
    tabbed = path.name.lower().split(".")[-1 if path.suffix.lower()[1:] in ("tsv", "tab") else -2 :]
    delimiter = "\t" if {"tsv", "tab"} & set(tabbed) else max(DELIMITERS, key=text.count)
    names = next(csv.reader([text], delimiter=delimiter))
    header = [name.strip() or f"column_{index}" for index, name in enumerate(names, 1)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SourceError(
            f"{path} has two columns named {twice[0]!r}", "names that differ", "Rename one of them."
        )
    return header, delimiter


def open_writer(path: Path, schema: pa.Schema, building: Path) -> pacsv.CSVWriter:
    """Open a writer of CSV, or of TSV where the path's name ends so."""
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    options = pacsv.WriteOptions(delimiter=delimiter)
    return pacsv.CSVWriter(str(building), schema, write_options=options)
