"""A file, wherever it lies: on a disk, in an object store, behind a protocol."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast, final

import pyarrow as pa

from thalweg.sources.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow.fs import FileSystem

BLOCK: Final = 4 << 20
"""How many bytes of a remote text are asked for at once."""
_FIRST: Final = (1 << 20) + (64 << 10)
"""The first request is smaller: often a header is all that is wanted."""

_VERSIONS: Final = ("etag", "md5", "mtime", "lastmodified", "last_modified", "updated", "created")
"""What file systems call a file's version, the surest first."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A file that can be read.

    Parameters
    ----------
    shown
        What people are told: its path or URI, free of secrets.
    path
        Where it is in its file system.
    files
        The file system; None for the local one, which Python reads itself.
    keys
        The columns that its folders speak of (``year=2024``): names and values as text.

    Examples
    --------
    >>> Place.local("data/rows.csv.gz").suffixes
    ['.csv', '.gz']
    """

    shown: str
    path: str
    files: FileSystem | None = field(default=None, compare=False)
    keys: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def local(cls, path: str | Path, keys: tuple[tuple[str, str | None], ...] = ()) -> Place:
        """Name a file of this machine."""
        return cls(str(path), str(path), None, keys)

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        """The name without its last ending."""
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        """The name's last ending."""
        return PurePosixPath(self.path).suffix

    @property
    def suffixes(self) -> list[str]:
        """All endings of the name."""
        return PurePosixPath(self.path).suffixes

    def open(self) -> io.BufferedReader:
        """Open it to be read from its beginning to its end."""
        if self.files is None:
            return Path(self.path).open("rb")
        stream = self.files.open_input_stream(self.path, compression=None)
        return io.BufferedReader(_Stream(stream), 1 << 20)

    def native(self) -> pa.NativeFile:
        """Open it to be read anywhere."""
        return pa.OSFile(self.path) if self.files is None else self.files.open_input_file(self.path)

    def facts(self) -> tuple[int, str]:
        """Give its size in bytes and its version as they are now: a tag or a time of change."""
        if self.files is None:
            found = Path(self.path).stat()
            return found.st_size, str(found.st_mtime_ns)
        info = self.files.get_file_info(self.path)
        if not info.is_file:
            raise FileNotFoundError(f"{self.shown} is gone")
        told: dict[str, Any] = {"mtime": info.mtime_ns}
        if self.files.type_name == "s3":  # whose times are whole seconds
            with self.files.open_input_stream(self.path, compression=None) as stream:
                told |= {name.lower(): value for name, value in (stream.metadata() or {}).items()}
        elif self.files.type_name.startswith("py::fsspec"):
            told |= {
                name.lower(): value for name, value in self.files.handler.fs.info(self.path).items()
            }
        return int(info.size or 0), str([told[name] for name in _VERSIONS if told.get(name)][:1])


@final
class _Stream(io.RawIOBase):
    """A remote file as a stream: blocks are asked for ahead of the reader, by a thread."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._blocks = self._read()
        self._rest = memoryview(b"")

    def _read(self) -> Iterator[bytes]:
        """Give the file's blocks; the first alone, so that who wants no more pays for no more."""
        first: bytes = self._file.read(_FIRST)
        yield first
        if len(first) == _FIRST:
            yield from ahead(iter(lambda: cast("bytes", self._file.read(BLOCK)), b""), 2)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed knows no plain buffer
        """Fill a buffer as far as one block reaches."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Stop reading and close the file."""
        if not self.closed:
            self._blocks.close()  # type: ignore[attr-defined]  # a generator
            self._file.close()
        super().close()
