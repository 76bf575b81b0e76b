"""Parquet: typed columns in row groups; what is not wanted is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.parquet as pq

from thalweg.core.errors import SourceError
from thalweg.sources.files import Format, Piece
from thalweg.sources.partitions import CODED
from thalweg.sources.paths import unreadable
from thalweg.sources.places import Place

BUFFER: Final = 1 << 18
"""How many bytes of a column are read at once from a disk."""
REMOTE: Final = 32 << 20
"""How many packed bytes are asked for at once from a remote file, and are in memory twice."""
BATCH: Final = 64 << 20
"""About how many unpacked bytes a batch may have; where rows are wide it has fewer rows."""
_FEW: Final = 4.0
"""Up to how many bytes a value, dictionary and all, a column of texts is taken as coded."""
_LOOKED: Final = 16
"""How many row groups are looked at for that."""
_TRIED: Final = 64
"""How many row groups are read again to find the damaged one."""


@final
class Parquet(Format):
    """Reads Parquet.

    Texts of which a row group holds few distinct ones come as dictionaries (`CODED`), so that
    whoever reads them looks at each once a batch.
    """

    suffixes = (".parquet", ".pq")
    name = "Parquet"

    def schema(self, path: Place) -> pa.Schema:
        """Read the footer."""
        try:
            with _open(path) as file:
                coded = _coded(file.metadata)
                fields = []
                for field in file.schema_arrow:
                    kind = _plain(field.type)
                    is_coded = pa.types.is_string(kind) or pa.types.is_large_string(kind)
                    is_coded = is_coded and (field.name in coded or kind is not field.type)
                    fields.append(pa.field(field.name, CODED if is_coded else kind))
                return pa.schema(fields)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def read(
        self,
        path: Place,
        schema: pa.Schema,
        columns: Sequence[str],
        size: int,
        skip: int,
    ) -> Iterator[Piece]:
        """Read row groups; those before ``skip`` are passed over."""
        coded = [name for name in columns if schema.field(name).type.equals(CODED)]
        try:
            opened = _open(path, coded)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None
        with opened as file:
            groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            first = 0
            while first < len(groups) and skip >= groups[first]:
                skip -= groups[first]
                first += 1
            rest = list(range(first, len(groups)))
            size = _size(file.metadata, rest, columns, size)
            begun, done = first, 0  # where reading is: rows of the groups from the first on
            try:
                for rows in _rows(path, file, rest, columns, size, coded):
                    done += rows.num_rows
                    kept = rows.slice(min(skip, rows.num_rows)).select(list(columns))
                    skip -= rows.num_rows - kept.num_rows
                    if kept.num_rows:
                        yield kept.replace_schema_metadata(None), kept.num_rows, ()
            except (pa.ArrowException, OSError) as error:
                while begun < len(groups) - 1 and done >= groups[begun]:
                    done -= groups[begun]
                    begun += 1
                raise _broken(
                    path, file, range(len(groups))[begun:][:_TRIED], columns, error
                ) from None

    def length(self, path: Place) -> int | None:
        """Read the footer."""
        try:
            with _open(path) as file:
                return int(file.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from None

    def part(self, path: Place, row: int) -> str:
        """Name the row group that holds a row."""
        with _open(path) as file:
            group = 0
            while (
                group < file.num_row_groups - 1 and row >= file.metadata.row_group(group).num_rows
            ):
                row -= file.metadata.row_group(group).num_rows
                group += 1
            return f"row group {group}"


def _open(
    path: Place, coded: Sequence[str] = (), metadata: Any = None, file: pa.NativeFile | None = None
) -> pq.ParquetFile:
    """Open a file: a local one to be read page by page, a remote one by whole column chunks."""
    return pq.ParquetFile(
        file or (path.path if path.files is None else path.native()),
        metadata=metadata,
        read_dictionary=list(coded),
        # Reading ahead holds all that it was told of: only some row groups at once, then.
        pre_buffer=path.files is not None,
        buffer_size=BUFFER if path.files is None else 0,
    )


def _rows(
    path: Place,
    file: pq.ParquetFile,
    groups: Sequence[int],
    columns: Sequence[str],
    size: int,
    coded: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    """Read row groups: of a remote file some of them while those before are used."""
    if path.files is None:
        yield from file.iter_batches(size, row_groups=list(groups), columns=list(columns))
        return
    source = path.native()

    def begin(run: list[int]) -> tuple[pa.RecordBatch | None, Iterator[pa.RecordBatch]]:
        opened = _open(path, coded, file.metadata, source)
        batches = opened.iter_batches(size, row_groups=run, columns=list(columns))
        return next(batches, None), batches

    runs = list(_runs(file.metadata, groups, columns))
    with source, ThreadPoolExecutor(1, "thalweg-parquet") as pool:
        coming = pool.submit(begin, runs[0]) if runs else None
        for after in [*runs[1:], None]:
            if coming is None:
                return
            first, batches = coming.result()
            coming = None if after is None else pool.submit(begin, after)
            if first is not None:
                yield first
            del first
            yield from batches


def _runs(metadata: Any, groups: Sequence[int], columns: Sequence[str]) -> Iterator[list[int]]:
    """Part row groups into runs of about `REMOTE` packed bytes of the columns, one at least."""
    places = _places(metadata, columns)
    run: list[int] = []
    held = 0
    for group in groups:
        facts = metadata.row_group(group)
        packed = sum(facts.column(place).total_compressed_size for place in places)
        if run and held + packed > REMOTE:
            yield run
            run, held = [], 0
        run.append(group)
        held += packed
    if run:
        yield run


def _places(metadata: Any, columns: Sequence[str]) -> list[int]:
    """Find the columns as Parquet counts them: a struct's fields each."""
    wanted = set(columns)
    paths = (metadata.schema.column(place).path for place in range(metadata.num_columns))
    return [
        place
        for place, path in enumerate(paths)
        if path in wanted or path.partition(".")[0] in wanted
    ]


def _size(metadata: Any, groups: Sequence[int], columns: Sequence[str], size: int) -> int:
    """Give how many rows to read at once, so that a batch has about `BATCH` bytes at most."""
    rows = {group: metadata.row_group(group) for group in groups}
    widest = max(
        (one.total_byte_size / one.num_rows for one in rows.values() if one.num_rows), default=0
    )
    if widest * size <= BATCH:
        return size
    places = _places(metadata, columns)
    widest = max(
        (
            sum(one.column(place).total_uncompressed_size for place in places) / one.num_rows
            for one in rows.values()
            if one.num_rows
        ),
        default=0,
    )
    return max(1, min(size, int(BATCH / max(widest, 1))))


def _coded(metadata: Any) -> set[str]:
    """Find the columns that take few bytes a value, though written with a dictionary.

    A writer gives its dictionary up where a column has many distinct texts, and writes them one
    by one, which takes five bytes a text at least.
    """
    step = max(1, metadata.num_row_groups // _LOOKED)
    groups = [metadata.row_group(g) for g in range(0, metadata.num_row_groups, step)]
    found = set()
    for place in range(metadata.num_columns):
        column = metadata.schema.column(place)
        if column.physical_type != "BYTE_ARRAY" or not groups:
            continue
        chunks = [group.column(place) for group in groups]
        size = sum(chunk.total_uncompressed_size for chunk in chunks)
        values = sum(chunk.num_values for chunk in chunks)
        has = any("DICTIONARY" in encoding for encoding in chunks[0].encodings)
        if has and size <= _FEW * values:
            found.add(column.path)
    return found


def _plain(kind: pa.DataType) -> pa.DataType:
    """Give the type of texts as such, whatever they were held as when they were written."""
    if pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type):
        inner = _plain(kind.value_type)
        is_text = pa.types.is_string(inner) or pa.types.is_large_string(inner)
        return inner if is_text else kind
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _broken(
    path: Place,
    file: pq.ParquetFile,
    groups: Sequence[int],
    columns: Sequence[str],
    error: Exception,
) -> SourceError:
    """Find the row group that cannot be read, from the one on that was read when it failed."""
    group = groups[0]
    for group in groups:
        try:
            for _ in file.iter_batches(row_groups=[group], columns=list(columns)):
                pass
        except (pa.ArrowException, OSError) as again:
            error = again
            break
    return unreadable(path, error, f"row group {group}")


def open_writer(path: Place, schema: pa.Schema, file: pa.NativeFile) -> pq.ParquetWriter:  # noqa: ARG001
    """Open a writer of Parquet, compressed with zstandard."""
    return pq.ParquetWriter(file, schema, compression="zstd")
