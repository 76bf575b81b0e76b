"""Which files a path, a folder or a pattern names, and what their first bytes say they are."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from thalweg.core.errors import SourceError, near
from thalweg.sources.partitions import keys_of
from thalweg.sources.places import Place

COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""The ending of a compressed text -> its codec."""

DAMAGE: Final = (OSError, EOFError, zlib.error)
"""What Python's decompressors raise where a file is cut off or damaged."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SIGNED: Final = 64
_MARKS: Final = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow IPC",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"SQLite format": "an SQLite database",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "a 7z archive",
    b"Obj\x01": "Avro",
    b"ORC\x03": "ORC",
    b"ORC\n": "ORC",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a Python pickle",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}


def uri_of(given: str | os.PathLike[str]) -> str:
    """Give a path or URI as text; one that pathlib has folded gets its second slash back.

    Examples
    --------
    >>> uri_of(Path("s3://bucket/rows.csv")), uri_of("file:///tmp/rows.csv")
    ('s3://bucket/rows.csv', '/tmp/rows.csv')
    """
    uri = os.fspath(given)
    if isinstance(given, PurePath):
        uri = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])", r"\1://", uri)
    return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri


def is_remote(uri: str) -> bool:
    """Say whether a text begins as a URI does.

    Examples
    --------
    >>> is_remote("s3://bucket/rows.csv"), is_remote("data/rows.csv")
    (True, False)
    """
    return bool(scheme_of(uri))


def scheme_of(uri: str) -> str:
    """Give a URI's scheme in small letters; an empty text for a path.

    Examples
    --------
    >>> scheme_of("s3://bucket/rows.csv"), scheme_of("rows.csv")
    ('s3', '')
    """
    found = _SCHEME.match(uri)
    return found[1].lower() if found else ""


def shown(uri: str) -> str:
    """Give a URI without what may be secret: user, password, query and fragment; a path as it is.

    Examples
    --------
    >>> shown("s3://key:secret@bucket/a/*.csv?endpoint_override=localhost:9000")
    's3://bucket/a/*.csv'
    """
    if not is_remote(uri):
        return uri
    scheme, _, rest = uri.partition("://")
    place = parted(rest)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def parted(rest: str) -> tuple[str, str]:
    """Part what comes after a URI's scheme into the place and the query.

    Examples
    --------
    >>> parted("bucket/a?.csv?region=x")
    ('bucket/a?.csv', 'region=x')
    """
    # A ? that no name=value follows is a pattern's.
    found = re.search(r"\?(?=[^/=?*\[]+=)|#", rest)
    return (rest[: found.start()], rest[found.end() :]) if found else (rest, "")


def find(uri: str, suffixes: Sequence[str]) -> list[Place]:
    """Find the files that a path, a URI, a folder or a pattern with ``*`` names.

    Raises
    ------
    SourceError
        Where there are none, with near names.
    """
    if is_remote(uri):
        from thalweg.sources import remote

        return remote.find(uri, suffixes)
    try:
        return [Place.local(path, keys_of(path.parts[:-1])) for path in _find(uri, suffixes)]
    except OSError as error:
        raise unreadable(Place.local(uri), error) from None


def _find(uri: str, suffixes: Sequence[str]) -> list[Path]:
    path = Path(uri)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = _within(path, suffixes)
        if not found:
            raise SourceError(
                f"the folder {uri} holds no file that can be read",
                "files ending in " + " ".join(suffixes),
            )
        return found
    if glob.has_magic(uri):
        matched = sorted(Path(name) for name in glob.iglob(uri, recursive=True))  # noqa: PTH207 - Path.glob knows no absolute pattern
        files = [one for one in matched if one.is_file()]
        files = files or sorted({one for folder in matched for one in _within(folder, suffixes)})
        if not files:
            raise SourceError(f"no file matches {uri}", "at least one", "Check the pattern.")
        return files
    parent = path.parent
    names = [one.name for one in parent.iterdir()] if parent.is_dir() else []
    mend = near(path.name, names) if parent.is_dir() else f"The folder {parent} does not exist."
    raise SourceError(f"{uri} does not exist", "a file, a folder or a pattern", mend)


def _within(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Find the files of a folder, and of the folders in it, that hold rows."""
    return sorted(
        one
        for one in folder.rglob("*")
        if suffix_of(one) in suffixes
        and one.is_file()
        and not is_hidden(one.relative_to(folder).parts)
    )


def is_hidden(parts: Sequence[str]) -> bool:
    """Say whether a path within a folder is hidden or, from Spark, a mark or not yet whole.

    Examples
    --------
    >>> is_hidden(["_temporary", "a.csv"]), is_hidden(["_part=1", "a.csv"])
    (True, False)
    """
    return any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in parts)


def suffix_of(path: PurePath | Place) -> str:
    """Give a file's suffix in small letters, without that of a compression.

    Examples
    --------
    >>> suffix_of(Path("a.CSV.gz"))
    '.csv'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Place) -> io.BufferedReader:
    """Open a text file, unpacking gzip, zstandard and bzip2 on the way.

    Raises
    ------
    SourceError
        Where it cannot be read, or its first bytes say that it is no text.
    """
    file = None
    try:
        file = _unpacked(path)
        head = file.peek(_SIGNED)[:_SIGNED]
    except DAMAGE as error:
        if file is not None:
            file.close()
        raise unreadable(path, error) from None
    if found := _signed(head):
        file.close()
        raise _mistaken(path, found)
    return file


def _unpacked(path: Place) -> io.BufferedReader:
    """Open a file by the compression that its name ends in."""
    # They close what they opened by its name, and leave another's file to its own end.
    local = path.files is None
    match path.suffix.lower():
        case ".gz":
            packed = gzip.GzipFile(path.path) if local else gzip.GzipFile(fileobj=path.open())
            return cast("io.BufferedReader", packed)
        case ".bz2":
            return cast("io.BufferedReader", bz2.BZ2File(path.path if local else path.open()))
        case ".zst":
            source = path.path if local else pa.PythonFile(path.open(), "r")
            packed = pa.CompressedInputStream(source, "zstd")
            return io.BufferedReader(packed, 1 << 20)
        case _:
            return path.open()


def unreadable(path: Place, error: Exception, part: str = "") -> SourceError:
    """Say in one line that a file, or a part of it such as a row group, cannot be read, and why."""
    if path.files is not None:
        from thalweg.sources.remote import is_refusal, refusal

        if is_refusal(error):
            return refusal(path.shown, error, path.path, part)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    given = f"{part} of {path}" if part else str(path)
    if isinstance(error, PermissionError):
        return SourceError(
            f"{given} cannot be read ({reason})", "a file that you may read", "Ask its owner."
        )
    found = looks_like(path)
    return SourceError(
        f"{given} cannot be read ({' '.join(reason.split())[:200].rstrip('. ')})",
        "a whole file of the format that its name ends in",
        f"It looks like {found}: fetch or export it again, or mend its name."
        if found and not part
        else "It may be cut off, damaged or of another format: fetch or export it again.",
    )


def _mistaken(path: Place, found: str) -> SourceError:
    """Say that a text file is none."""
    return SourceError(
        f"{path} is no text: it looks like {found}",
        f"what its name says ({''.join(path.suffixes[-2:])})",
        "Give it the ending of what it is, unpack it, or export it again.",
    )


def looks_like(path: Place) -> str:
    """Name what a file's first bytes speak of; an empty text where they do not, or cannot be read.

    Examples
    --------
    >>> _ = Path("rows.csv").write_bytes(b"PAR1...")
    >>> looks_like(Place.local("rows.csv"))
    'Parquet'
    """
    try:
        with path.open() as file:
            head = file.read(_SIGNED)
    except (OSError, pa.ArrowException):
        return ""
    plain = bool(head) and head.isascii() and min(head) >= ord("\t")
    return _signed(head) or ("text" if plain else "")


def _signed(head: bytes) -> str:
    """Name the format that first bytes are the mark of; an empty text for text."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
