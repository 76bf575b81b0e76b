"""Where rows come from and go to, one file each.

To add a format: write its file and add it to `FORMATS` and `WRITERS`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from thalweg.core.errors import SourceError, near
from thalweg.sources import csv, ipc, ndjson, parquet
from thalweg.sources.base import Batch, Position, Reject, Sink, Source
from thalweg.sources.files import FileSink, FileSource
from thalweg.sources.memory import MemorySource
from thalweg.sources.paths import COMPRESSIONS, find, suffix_of
from thalweg.sources.rejects import write_rejects

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


def open_source(given: Any) -> Source:
    """Open whatever rows can come from.

    Parameters
    ----------
    given
        A path, a folder, a pattern (``data/*.csv.gz``), a table of pandas, Polars or Arrow, a
        dictionary of columns, a list of dictionaries, or a `Source`, which is given back.

    Raises
    ------
    SourceError
        Where it does not exist or is of no known format.

    Examples
    --------
    >>> open_source({"a": [1, 2]}).schema().names
    ['a']
    """
    if isinstance(given, Source):
        return given
    if not isinstance(given, str | os.PathLike):
        return MemorySource(given)
    uri = os.fspath(given)
    known = [suffix for one in FORMATS for suffix in one.suffixes]
    paths = find(uri, known)
    found = {suffix_of(path) for path in paths}
    formats = {one.name: one for one in FORMATS if found & set(one.suffixes)}
    strange = sorted(found - set(known))
    if strange:
        raise SourceError(
            f"{uri} ends in {strange[0] or 'nothing'!r}",
            "one of " + " ".join(known) + ", or with .gz, .zst or .bz2 behind",
            near(strange[0], known) if strange[0] else "",
        )
    if len(formats) > 1:
        raise SourceError(
            f"{uri} holds files of several formats: {', '.join(formats)}",
            "files of one format",
            "Name one of them with a pattern such as folder/*.csv.",
        )
    for path in paths:
        _require_unpacked(path)
    return FileSource(uri, paths, next(iter(formats.values())))


def open_sink(given: str | os.PathLike[str]) -> Sink:
    """Open a file to write rows to; it appears whole at the end or not at all.

    Parameters
    ----------
    given
        A path that ends in one of `WRITERS`; a text may be packed (``.csv.gz``).

    Raises
    ------
    SourceError
        Where the format is unknown or the place cannot be written.
    """
    path = Path(given)
    suffix = suffix_of(path)
    if suffix not in WRITERS:
        raise SourceError(
            f"{path} ends in {suffix or 'nothing'!r}",
            "one of " + " ".join(WRITERS),
            near(suffix, WRITERS) if suffix else "",
        )
    _require_unpacked(path)
    return FileSink(path, WRITERS[suffix])


def _require_unpacked(path: Path) -> None:
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
    "FORMATS",
    "WRITERS",
    "Batch",
    "Position",
    "Reject",
    "Sink",
    "Source",
    "open_sink",
    "open_source",
    "write_rejects",
]
