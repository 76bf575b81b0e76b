"""Which files a path, a folder or a pattern names, and what their first bytes say they are."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import pyarrow as pa

from thalweg.core.errors import SourceError, near

COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""The ending of a compressed text -> its codec."""

DAMAGE: Final = (OSError, EOFError, zlib.error)
"""What Python's decompressors raise where a file is cut off or damaged."""

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


def find(uri: str, suffixes: Sequence[str]) -> list[Path]:
    """Find the files that a path, a folder or a pattern with ``*`` names.

    Raises
    ------
    SourceError
        Where there are none, with near names.
    """
    try:
        return _find(uri, suffixes)
    except OSError as error:
        raise unreadable(Path(uri), error) from None


def _find(uri: str, suffixes: Sequence[str]) -> list[Path]:
    path = Path(uri)
    if path.is_file():
        return [path]
    if path.is_dir():
        # What begins with . or _ is hidden or, from Spark, a mark or a part not yet whole.
        found = sorted(
            one
            for one in path.rglob("*")
            if suffix_of(one) in suffixes
            and one.is_file()
            and not any(name.startswith((".", "_")) for name in one.relative_to(path).parts)
        )
        if not found:
            raise SourceError(
                f"the folder {uri} holds no file that can be read",
                "files ending in " + " ".join(suffixes),
            )
        return found
    if glob.has_magic(uri):
        matched = sorted(Path(name) for name in glob.iglob(uri, recursive=True))  # noqa: PTH207 - Path.glob knows no absolute pattern
        files = [one for one in matched if one.is_file()]
        if not files:
            raise SourceError(f"no file matches {uri}", "at least one", "Check the pattern.")
        return files
    parent = path.parent
    names = [one.name for one in parent.iterdir()] if parent.is_dir() else []
    mend = near(path.name, names) if parent.is_dir() else f"The folder {parent} does not exist."
    raise SourceError(f"{uri} does not exist", "a file, a folder or a pattern", mend)


def suffix_of(path: Path) -> str:
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


def open_bytes(path: Path) -> io.BufferedIOBase:
    """Open a text file, unpacking gzip, zstandard and bzip2 on the way.

    Raises
    ------
    SourceError
        Where it cannot be read, or its first bytes say that it is no text.
    """
    try:
        file = _unpacked(path)
        head = file.read(_SIGNED)
        file.close()
    except DAMAGE as error:
        raise unreadable(path, error) from None
    if found := _signed(head):
        raise _mistaken(path, found)
    return _unpacked(path)


def _unpacked(path: Path) -> io.BufferedIOBase:
    """Open a file by the compression that its name ends in."""
    match path.suffix.lower():
        case ".gz":
            return cast("io.BufferedIOBase", gzip.open(path, "rb"))
        case ".bz2":
            return cast("io.BufferedIOBase", bz2.open(path, "rb"))
        case ".zst":
            packed = pa.CompressedInputStream(str(path), "zstd")
            return cast("io.BufferedIOBase", io.BufferedReader(packed, 1 << 20))
        case _:
            return path.open("rb")


def unreadable(path: Path, error: Exception) -> SourceError:
    """Say that a file cannot be read, and why, in one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        return SourceError(
            f"{path} cannot be read ({reason})", "a file that you may read", "Ask its owner."
        )
    found = looks_like(path)
    return SourceError(
        f"{path} cannot be read ({' '.join(reason.split())[:200].rstrip('. ')})",
        "a whole file of the format that its name ends in",
        f"It looks like {found}: fetch or export it again, or mend its name."
        if found
        else "It may be cut off, damaged or of another format: fetch or export it again.",
    )


def _mistaken(path: Path, found: str) -> SourceError:
    """Say that a text file is none."""
    return SourceError(
        f"{path} is no text: it looks like {found}",
        f"what its name says ({''.join(path.suffixes[-2:])})",
        "Give it the ending of what it is, unpack it, or export it again.",
    )


def looks_like(path: Path) -> str:
    """Name what a file's first bytes speak of; an empty text where they do not, or cannot be read.

    Examples
    --------
    >>> _ = Path("rows.csv").write_bytes(b"PAR1...")
    >>> looks_like(Path("rows.csv"))
    'Parquet'
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SIGNED)
    except OSError:
        return ""
    plain = bool(head) and head.isascii() and min(head) >= ord("\t")
    return _signed(head) or ("text" if plain else "")


def _signed(head: bytes) -> str:
    """Name the format that first bytes are the mark of; an empty text for text."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
