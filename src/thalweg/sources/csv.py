"""CSV and TSV: text without types. Every column is text; the kinds read it.

So no type is guessed half-way through a file, and one row reads like a million. An empty field
without quotes is null. A row with too few or too many fields is set aside with its number, which
counts the header but neither blank lines nor line breaks within quotes. Blank lines are passed
over, except in a file of one column, where they are nulls.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import pyarrow as pa
import pyarrow.csv as pacsv

from thalweg.core.errors import SourceError
from thalweg.sources.base import Reject
from thalweg.sources.files import DAMAGE, Format, Piece, deal, open_bytes, unreadable

BLOCK: Final = 4 << 20
LARGEST: Final = 1 << 30
HEAD: Final = 1 << 20
SNIFFED: Final = 50
DELIMITERS: Final = ",;\t|"
KEPT: Final = 10_000


@final
class Csv(Format):
    """Reads CSV with any of the delimiters ``, ; tab |``, and TSV."""

    suffixes = (".csv", ".tsv", ".tab")
    name = "CSV"

    def schema(self, path: Path) -> pa.Schema:
        """Read the header; every column is text."""
        return pa.schema([pa.field(name, pa.string()) for name in _header(path).names])

    def read(
        self, path: Path, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[Piece]:
        """Read rows in order, setting ragged ones aside."""
        header = _header(path)
        first = 0
        for rows, ragged in _blocks(path, header, columns):
            places, rejects = _rejects(path, header, ragged)
            yield from deal(rows, first, places, rejects, size, skip)
            first += rows.num_rows + len(rejects)


@final
@dataclass(frozen=True, slots=True)
class _Header:
    """The names, the delimiter, the lines to pass over, and whether nothing comes after them."""

    names: Sequence[str]
    delimiter: str
    lines: int
    alone: bool


Block = tuple[pa.RecordBatch, list[pacsv.InvalidRow]]


def _rejects(
    path: Path, header: _Header, ragged: Sequence[pacsv.InvalidRow]
) -> tuple[list[int], list[Reject]]:
    """Give the ragged rows' places among all rows, from 0, and what to say of them."""
    rejects = [
        Reject(
            str(path),
            row.number,
            f"expected {row.expected_columns} fields, found {row.actual_columns}",
            row.text[:KEPT],
        )
        for row in ragged
    ]
    return [row.number - header.lines - 1 for row in ragged], rejects


def _blocks(path: Path, header: _Header, columns: Sequence[str]) -> Iterator[Block]:
    """Parse a file block by block; where a row is wider than a block, again with wider blocks."""
    size, rows_done, ragged_done = BLOCK, 0, 0
    while not header.alone:
        try:
            rows_left, ragged_left = rows_done, ragged_done
            for rows, ragged in _parse(path, header, columns, size):
                fresh = rows.slice(min(rows_left, rows.num_rows)), ragged[ragged_left:]
                rows_left = max(0, rows_left - rows.num_rows)
                ragged_left = max(0, ragged_left - len(ragged))
                rows_done += fresh[0].num_rows
                ragged_done += len(fresh[1])
                yield fresh
        except (pa.ArrowInvalid, *DAMAGE) as error:
            if "straddling" not in str(error):
                raise _explained(path, error) from None
            if size >= LARGEST:
                raise SourceError(
                    f"{path} has a row of more than {LARGEST >> 20} MB, or a quote that never ends",
                    "rows that fit in memory",
                    'Look for a lone " in it.',
                ) from None
            size *= 8
        else:
            return


def _parse(path: Path, header: _Header, columns: Sequence[str], size: int) -> Iterator[Block]:
    """Parse a file in blocks of a size in bytes; give each with the ragged rows before its end."""
    pending: list[pacsv.InvalidRow] = []

    def set_aside(row: pacsv.InvalidRow) -> str:
        pending.append(row)
        return "skip"

    with open_bytes(path) as file:
        try:
            reader = _reader(file, header, columns, size, set_aside)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            raise
        with reader:
            # Arrow numbers rows from 1, the header's lines included.
            done = header.lines
            for rows in reader:
                done += rows.num_rows
                ragged: list[pacsv.InvalidRow] = []
                # The reader may be a block ahead: a ragged row belongs to the block that it is in.
                while pending and pending[0].number <= done + 1:
                    ragged.append(pending.pop(0))
                    done += 1
                yield rows, ragged
            if pending:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema), pending


def _reader(
    file: io.BufferedIOBase,
    header: _Header,
    columns: Sequence[str],
    size: int,
    set_aside: Callable[[pacsv.InvalidRow], str],
) -> pacsv.CSVStreamingReader:
    """Open Arrow's reader: one thread, so that rows have numbers; nothing is guessed."""
    return pacsv.open_csv(
        file,
        read_options=pacsv.ReadOptions(
            use_threads=False,
            block_size=size,
            column_names=list(header.names),
            skip_rows_after_names=header.lines,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=header.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=len(header.names) > 1,
            invalid_row_handler=set_aside,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(header.names, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def _explained(path: Path, error: Exception) -> SourceError:
    """Say in one line what is wrong with a text, and for a foreign encoding how to mend it."""
    text = " ".join(str(error).split())
    if "UTF8" in text or "utf-8" in text:
        # The byte that is refused first tells of the byte order mark of UTF-16.
        found = "utf-16" if "position 0" in text and "0xf" in text else "latin1"
        return SourceError(
            f"{path} is not UTF-8 text ({text[:120]})",
            "UTF-8",
            f"Convert it, for example: iconv -f {found} -t utf8 {path.name} > utf8.csv.",
        )
    return unreadable(path, error)


def _header(path: Path) -> _Header:
    """Read the names of the columns and find the delimiter.

    Raises
    ------
    SourceError
        Where the file is empty or no text, or two columns share a name.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=len(head) < HEAD)
    except (UnicodeDecodeError, *DAMAGE) as error:
        raise _explained(path, error) from None
    if not text.strip():
        raise SourceError(f"{path} is empty", "a header and rows below it", "Is it the right file?")
    if path.suffixes and {".tsv", ".tab"} & {suffix.lower() for suffix in path.suffixes[-2:]}:
        delimiter = "\t"
    else:
        delimiter = _delimiter(text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        blank, first = next((index, row) for index, row in enumerate(lines) if row)
    except csv.Error as error:
        raise unreadable(path, error) from None
    if any("\0" in name for name in first):
        raise unreadable(path, ValueError("binary data, not text"))
    names = [name.strip() or f"column_{index}" for index, name in enumerate(first, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"{path} has two columns named {twice[0]!r}", "names that differ", "Rename one of them."
        )
    return _Header(
        names, delimiter, blank + 1, len(head) < HEAD and not _more(text, lines.line_num)
    )


def _more(text: str, lines: int) -> bool:
    """Say whether anything but line ends comes after some lines."""
    rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n", lines)[lines:]
    return bool(rest and rest[0])


def _delimiter(text: str) -> str:
    r"""Find the delimiter by which the most of the first rows are as wide as the header.

    Examples
    --------
    >>> _delimiter('name;"a,b,c";city, or town\n1;2;3\n')
    ';'
    """

    def score(delimiter: str) -> tuple[bool, float, int]:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        widths: list[int] = []
        # Before a field beyond the module's limit comes what must do.
        with contextlib.suppress(csv.Error):
            widths.extend(len(row) for row in itertools.islice(rows, SNIFFED) if row)
        if not widths:
            return False, 0.0, 0
        return widths[0] > 1, widths.count(widths[0]) / len(widths), widths[0]

    return max(DELIMITERS, key=score)


def open_writer(path: Path, schema: pa.Schema, building: Path) -> pacsv.CSVWriter:
    """Open a writer of CSV, or of TSV where the path's name ends so.

    Raises
    ------
    SourceError
        Where a column is nested, for which CSV has no form.
    """
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    options = pacsv.WriteOptions(delimiter=delimiter)
    nested = [field.name for field in schema if pa.types.is_nested(field.type)]
    if nested:
        raise SourceError(
            f"column {nested[0]!r} holds lists or structs, for which {path} has no form",
            "plain columns",
            "Write Parquet or NDJSON instead.",
        )
    return pacsv.CSVWriter(str(building), schema, write_options=options)
