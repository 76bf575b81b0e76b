"""Where rows come from and go to, one file each.

To add a format: write its file and add it to `FORMATS` and `WRITERS`. Databases have a room of
their own (`thalweg.sources.databases`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from thalweg.core.errors import SourceError, near
from thalweg.sources import csv, ipc, ndjson, parquet
from thalweg.sources.base import Batch, Position, Reject, Sink, Source
from thalweg.sources.databases import DATABASES
from thalweg.sources.databases.address import (
    database_of,
    name_of,
    parse,
    with_query,
    without_secrets,
)
from thalweg.sources.databases.sql import SqlSink, SqlSource
from thalweg.sources.files import FileSource
from thalweg.sources.folders import InFolder
from thalweg.sources.memory import MemorySource
from thalweg.sources.paths import COMPRESSIONS, find, shown, suffix_of, uri_of
from thalweg.sources.places import Place
from thalweg.sources.rejects import write_rejects
from thalweg.sources.sinks import FileSink

FORMATS: Final = (csv.Csv(), ndjson.NdJson(), parquet.Parquet(), ipc.Ipc())

WRITERS: Final = {
    ".csv": csv.open_writer,
    ".tsv": csv.open_writer,
    ".tab": csv.open_writer,
    ".ndjson": ndjson.open_writer,
    ".jsonl": ndjson.open_writer,
    ".parquet": parquet.open_writer,
    ".pq": parquet.open_writer,
    ".arrow": ipc.open_writer,
    ".feather": ipc.open_writer,
    ".ipc": ipc.open_writer,
    ".arrows": ipc.open_writer,
}


def open_source(
    given: Any, query: str | None = None, files: str | os.PathLike[str] | None = None
) -> Source:
    """Open whatever rows can come from.

    Parameters
    ----------
    given
        A path, a folder, a pattern (``data/*.csv.gz``), a URI of any of these
        (``s3://bucket/data/*.parquet``), a table of pandas, Polars or Arrow, a dictionary of
        columns, a list of dictionaries, the URI of a database's table
        (``postgresql://host/shop?table=orders``), or a `Source`, which is given back.
    query
        Asked of the database that the URI names, instead of a table.
    files
        The folder that paths in the cells (of pictures, of sounds) are meant from and may lead
        into; by default the folder of the rows' own files.

    Raises
    ------
    SourceError
        Where it does not exist or is of no known format.

    Examples
    --------
    >>> open_source({"a": [1, 2]}).schema().names
    ['a']
    """
    found = _open(given, query)
    return found if files is None else InFolder(found, Path(files))


def _open(given: Any, query: str | None) -> Source:
    """See `open_source`."""
    if isinstance(given, Source):
        return given
    if not isinstance(given, str | os.PathLike):
        return MemorySource(given)
    if query is not None or database_of(os.fspath(given)):
        address = parse(with_query(os.fspath(given), query))
        return SqlSource(address.shown, DATABASES[address.scheme](address))
    uri = uri_of(given)
    told = shown(uri)
    known = [suffix for one in FORMATS for suffix in one.suffixes]
    paths = find(uri, known)
    found = {suffix_of(path) for path in paths}
    formats = {one.name: one for one in FORMATS if found & set(one.suffixes)}
    strange = sorted(found - set(known))
    if strange:
        raise SourceError(
            f"{told} ends in {strange[0] or 'nothing'!r}",
            "one of " + " ".join(known) + ", or with .gz, .zst or .bz2 behind",
            near(strange[0], known) if strange[0] else "",
        )
    if len(formats) > 1:
        raise SourceError(
            f"{told} holds files of several formats: {', '.join(formats)}",
            "files of one format",
            "Name one of them with a pattern such as folder/*.csv.",
        )
    for path in paths:
        _require_unpacked(path)
    return FileSource(told, paths, next(iter(formats.values())))


def open_sink(given: str | os.PathLike[str]) -> Sink:
    """Open a file or a table to write rows to; it appears whole at the end or not at all.

    Parameters
    ----------
    given
        A path or URI that ends in one of `WRITERS`; a text may be packed (``.csv.gz``). Or the URI
        of a database with the ``table`` to make; with ``&if_exists=append`` or ``replace`` it may
        be there already.

    Raises
    ------
    SourceError
        Where the format is unknown or the place cannot be written.
    """
    if database_of(os.fspath(given)):
        address = parse(os.fspath(given))
        return SqlSink(address.shown, DATABASES[address.scheme](address))
    uri = uri_of(given)
    path = Place.local(shown(uri))
    suffix = suffix_of(path)
    if suffix not in WRITERS:
        raise SourceError(
            f"{path} ends in {suffix or 'nothing'!r}",
            "one of " + " ".join(WRITERS),
            near(suffix, WRITERS) if suffix else "",
        )
    _require_unpacked(path)
    return FileSink(uri, WRITERS[suffix])


def _require_unpacked(path: Place) -> None:
    """Check that only texts are packed as a whole: the other formats pack their columns."""
    suffix = suffix_of(path)
    texts = [suffix for one in FORMATS if one.packed for suffix in one.suffixes]
    if path.suffix.lower() in COMPRESSIONS and suffix not in texts:
        raise SourceError(
            f"{path} ends in {path.suffix!r}",
            f"{suffix} alone, which is packed in itself",
            "Unpack the file, or leave the ending away.",
        )


__all__ = [
    "DATABASES",
    "FORMATS",
    "WRITERS",
    "Batch",
    "Position",
    "Reject",
    "Sink",
    "Source",
    "database_of",
    "name_of",
    "open_sink",
    "open_source",
    "with_query",
    "without_secrets",
    "write_rejects",
]
