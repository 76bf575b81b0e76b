"""CSV and TSV: text without types. Every column is text; the kinds read it.

So no type is guessed half-way through a file, and one row reads like a million. An empty field
without quotes is null. A row with too few or too many fields, or with bytes that are not UTF-8, is
set aside with its number, which counts the header but neither blank lines nor line breaks within
quotes. Blank lines are passed
over, except in a file of one column, where they are nulls.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import itemgetter
from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from thalweg.core.errors import SourceError
from thalweg.sources.base import Reject
from thalweg.sources.files import Format, Piece, deal
from thalweg.sources.paths import DAMAGE, open_bytes, suffix_of, unreadable
from thalweg.sources.places import Place
from thalweg.sources.text import NOT_UTF8, STRANGE, Utf8, open_text, shown

BLOCK: Final = 1 << 20
"""How many bytes are parsed at once; more where a row is wider. Arrow reads up to 32 ahead."""
LARGEST: Final = 256 << 20
HEAD: Final = 1 << 20
SNIFFED: Final = 50
DELIMITERS: Final = ",;\t|"


@final
class Csv(Format):
    """Reads CSV with any of the delimiters ``, ; tab |``, and TSV."""

    suffixes = (".csv", ".tsv", ".tab")
    name = "CSV"
    packed = True

    def schema(self, path: Place) -> pa.Schema:
        """Read the header; every column is text."""
        return pa.schema([pa.field(name, pa.string()) for name in _header(path).names])

    def read(
        self, path: Place, schema: pa.Schema, columns: Sequence[str], size: int, skip: int
    ) -> Iterator[Piece]:
        """Read rows in order, setting aside those that are ragged or not UTF-8.

        Which rows there are must not depend on the columns asked for: from the first byte that is
        not UTF-8 on, all columns are read. And where a row is wider than a block, blocks widen.
        Either way the file is read again from its beginning, up to where it was left.
        """
        header, names, width, done = _header(path), list(columns), BLOCK, skip
        while not header.alone:
            try:
                with open_text(path) as text:
                    for first, rows, places, rejects in _parse(text, path, header, names, width):
                        if text.strange and names != header.names:
                            names = header.names
                            break
                        end = first + rows.num_rows + len(rejects)
                        if end > done:
                            kept = rows.select(list(columns))
                            yield from deal(kept, first, places, rejects, size, done)
                            done = end
                    else:
                        return
            except (pa.ArrowInvalid, *DAMAGE) as error:
                if "straddling" not in str(error):
                    raise unreadable(path, error) from None
                width = _wider(path, width)


@final
@dataclass(frozen=True, slots=True)
class _Header:
    """The names, the delimiter, the lines to pass over, and whether nothing comes after them."""

    names: list[str]
    delimiter: str
    lines: int
    alone: bool


Block = tuple[int, pa.RecordBatch, list[int], list[Reject]]
"""The rows of the file before the block, good or not; its good rows; its rejects' places."""


def _parse(
    text: Utf8, path: Place, header: _Header, names: Sequence[str], width: int
) -> Iterator[Block]:
    """Parse a file in blocks of a width in bytes; give each with the rejects before its end."""
    ragged: deque[tuple[int, Reject]] = deque()

    def set_aside(row: pacsv.InvalidRow) -> str:
        reason = f"expected {row.expected_columns} fields, found {row.actual_columns}"
        # Arrow numbers rows from 1, the header's lines included.
        place = row.number - header.lines - 1
        ragged.append((place, Reject(str(path), row.number, reason, shown(row.text))))
        return "skip"

    try:
        reader = _reader(text, header, names, width, set_aside)
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    with reader:
        first = 0
        # The reader may be a block ahead: a ragged row belongs to the block that it is in. A block
        # of nothing else comes as one of no rows, so that ragged rows never pile up.
        for rows in reader:
            end, aside = first + rows.num_rows, []
            while ragged and ragged[0][0] <= end:
                aside.append(ragged.popleft())
                end += 1
            yield _block(path, header, first, rows, aside, strange=text.strange)
            first = end
        if ragged:
            none = pa.RecordBatch.from_pylist([], schema=reader.schema)
            yield _block(path, header, first, none, list(ragged), strange=False)


def _block(
    path: Place,
    header: _Header,
    first: int,
    rows: pa.RecordBatch,
    aside: list[tuple[int, Reject]],
    *,
    strange: bool,
) -> Block:
    """Join a block's rows and rejects; set aside as well the rows with bytes that are not UTF-8."""
    if strange and rows.num_rows:
        marks = (pc.match_substring_regex(column, STRANGE) for column in rows.columns)
        marked = reduce(pc.or_, (mark.fill_null(False) for mark in marks))  # noqa: FBT003 - Arrow's own
        good = np.arange(first, first + rows.num_rows + len(aside))
        good = np.delete(good, [place - first for place, _ in aside])
        bad = good[marked.to_numpy(zero_copy_only=False)].tolist()
        for place, cells in zip(bad, rows.filter(marked).to_pylist(), strict=True):
            content = shown(header.delimiter.join(cell or "" for cell in cells.values()))
            line = place + header.lines + 1
            aside.append((place, Reject(str(path), line, NOT_UTF8, content)))
        rows = rows.filter(pc.invert(marked))
        aside.sort(key=itemgetter(0))
    return first, rows, [place for place, _ in aside], [reject for _, reject in aside]


def _wider(path: Place, width: int) -> int:
    """Give a width of blocks that a longer row may fit into.

    Raises
    ------
    SourceError
        Where no row should be as long.
    """
    if width >= LARGEST:
        raise SourceError(
            f"{path} has a row of more than {LARGEST >> 20} MB, or a quote that never ends",
            "rows that fit in memory",
            'Look for a lone " in it.',
        )
    return width * 4


def _reader(
    text: Utf8,
    header: _Header,
    columns: Sequence[str],
    width: int,
    set_aside: Callable[[pacsv.InvalidRow], str],
) -> pacsv.CSVStreamingReader:
    """Open Arrow's reader: one thread, so that rows have numbers; nothing is guessed."""
    return pacsv.open_csv(
        text,
        read_options=pacsv.ReadOptions(
            use_threads=False,
            block_size=width,
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
            check_utf8=False,  # The stream gives nothing else.
            column_types=dict.fromkeys(header.names, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def _foreign(path: Place, encoding: str) -> SourceError:
    """Say that a text is of another encoding, and how to convert it."""
    return SourceError(
        f"{path} is not UTF-8 text",
        "UTF-8",
        f"Convert it, for example: iconv -f {encoding} -t utf8 {path.name} > utf8.csv.",
    )


def _header(path: Place) -> _Header:
    """Read the names of the columns and find the delimiter.

    Raises
    ------
    SourceError
        Where the file is empty or no text, or two columns share a name.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
    except DAMAGE as error:
        raise unreadable(path, error) from None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _foreign(path, "utf-16")
    text = codecs.utf_8_decode(head.removeprefix(codecs.BOM_UTF8), "surrogateescape")[0]
    if not text.strip():
        raise SourceError(f"{path} is empty", "a header and rows below it", "Is it the right file?")
    delimiter = "\t" if suffix_of(path) in (".tsv", ".tab") else _delimiter(text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        blank, first = next((index, row) for index, row in enumerate(lines) if row)
    except csv.Error as error:
        raise unreadable(path, error) from None
    if any(re.search(r"[\x00-\x08]", name) for name in first):
        raise unreadable(path, ValueError("binary data, not text"))
    if any(re.search(r"[\udc80-\udcff]", name) for name in first):
        raise _foreign(path, "latin1")
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


def open_writer(path: Place, schema: pa.Schema, file: pa.NativeFile) -> pacsv.CSVWriter:
    """Open a writer of CSV, or of TSV where the path's name ends so.

    Raises
    ------
    SourceError
        Where a column is nested or bytes, for which CSV has no form.
    """
    delimiter = "\t" if suffix_of(path) in (".tsv", ".tab") else ","
    options = pacsv.WriteOptions(delimiter=delimiter)
    for field in schema:
        types = pa.types
        raw = types.is_binary(field.type) or types.is_large_binary(field.type)
        if types.is_nested(field.type) or raw:
            what = "bytes" if raw else "lists or structs"
            raise SourceError(
                f"column {field.name!r} holds {what}, for which {path} has no form",
                "plain columns",
                "Write Parquet instead, or leave the rows' own columns out with --no-keep.",
            )
    return pacsv.CSVWriter(file, schema, write_options=options)
