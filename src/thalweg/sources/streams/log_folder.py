"""The folder of an embedded log: what is in it, and how it is appended to and read."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Self, cast, final, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import SourceError, near
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.sources.streams.appender import SEGMENT, Appender, Share
from thalweg.sources.streams.base import Format, LostRecordsError, Records
from thalweg.sources.streams.segments import VERSION, SegmentReader, Tail

_FILE: Final = "log.json"
_TRIMMED: Final = 1.0  # seconds between two looks at what may be removed


@final
class Log:
    """A log in a folder. Used by one thread at a time, and by any number of processes.

    Parameters
    ----------
    folder
        Where it is.
    partitions
        How many it has; 1 by default where it is made now.
    format
        How its payloads are written; json by default where it is made now.
    make
        Whether to make it where it is not there.
    keep
        How many seconds a segment stays at least; None for ever.
    segment
        About how many bytes a segment may have.

    Raises
    ------
    SourceError
        Where it is not there, or is another than was asked for.

    Examples
    --------
    >>> with Log(Path("events")) as log:
    ...     log.append([b'{"a": 1}', b'{"a": 2}'])
    ...     log.read("0", after=0).payloads.to_pylist()
    [b'{"a": 2}']
    """

    def __init__(
        self,
        folder: Path,
        partitions: int | None = None,
        format: Format | None = None,  # noqa: A002 - the contract's name
        *,
        make: bool = True,
        keep: float | None = None,
        segment: int = SEGMENT,
    ) -> None:
        self.folder = folder
        self._keep = keep
        self._segment = segment
        if not (folder / _FILE).exists():
            if not make:
                raise SourceError(
                    f"there is no log in {folder}",
                    "a folder that a log was made in",
                    "Check its name, append to it first, or say how many ?partitions=1 to make it.",
                )
            _make(folder, partitions or 1, format or "json")
        found, self.format = _settings(folder)
        for name, given, there in (
            ("partitions", partitions, found),
            ("format", format, self.format),
        ):
            if given is not None and given != there:
                raise SourceError(
                    f"{name}={given} of the log in {folder}",
                    f"{name}={there}, which it was made with",
                    f"Leave {name} out of the URI, or make another log.",
                )
        self.partitions: Sequence[str] = tuple(str(number) for number in range(found))
        self._readers: dict[str, SegmentReader] = {}
        self._tails: dict[str, Tail] = {}
        self._appenders: dict[str, Appender] = {}
        self._turn = 0
        self._trimmed = 0.0

    def append(
        self,
        payloads: pa.LargeBinaryArray | Sequence[bytes],
        keys: pa.LargeStringArray | Sequence[str | None] | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """Append records.

        Parameters
        ----------
        payloads
            The records [N].
        keys
            Records of equal keys go to the same partition; without keys all go to one, each time
            to the next one.
        durable
            Whether to return only when they are on the disk; otherwise they are lost when the
            machine fails, though not when the process does.
        """
        if not isinstance(payloads, pa.Array):
            payloads = pa.array(payloads, pa.large_binary())
        if not len(payloads):
            return
        if keys is not None and not isinstance(keys, pa.Array):
            keys = pa.array(keys, pa.large_string())
        for partition, part in self.parted(payloads, keys, self._turn):
            self.appender(partition).append([Share(part)], durable=durable)
        self._turn += 1
        self.tidy()

    def parted(
        self, payloads: pa.LargeBinaryArray, keys: pa.LargeStringArray | None, turn: int
    ) -> Iterator[tuple[str, pa.LargeBinaryArray]]:
        """Share records out to the partitions: by keys, or all to the one whose turn it is."""
        count = len(self.partitions)
        if keys is None or count == 1:
            yield self.partitions[turn % count], payloads
            return
        homes = hash_keys(keys) % np.uint64(count)
        order = np.argsort(homes, kind="stable")
        bounds = np.searchsorted(homes[order], np.arange(count + 1))
        for number, partition in enumerate(self.partitions):
            rows = order[bounds[number] : bounds[number + 1]]
            if len(rows):
                yield partition, payloads.take(pa.array(rows))

    def read(
        self,
        partition: str,
        after: int | None = None,
        most: int = 65_536,
        until: int | None = None,
    ) -> Records | None:
        """Read records; see `Stream.fetch`."""
        reader = self._reader(partition)
        end = self.end(partition)
        if after is not None and after >= end:
            raise LostRecordsError(
                f"record {after} of {self.folder}/{partition} was read, and only {end} are there",
                "the log that was read before",
                "If the log was made anew, begin anew as well.",
            )
        first = reader.first() if after is None else after + 1
        stop = end if until is None else min(end, until + 1)
        if first >= stop:
            return None
        payloads, offsets, times = reader.read(first, stop, most)
        return Records(partition, payloads, pa.array(offsets), times)

    def end(self, partition: str) -> int:
        """Give the offset behind the last record."""
        tail = self._tails.get(partition)
        return self._open(partition).end if tail is None else tail.end

    def first(self, partition: str) -> int:
        """Give the offset of the first record that is there."""
        return self._reader(partition).first()

    def _reader(self, partition: str) -> SegmentReader:
        """Open a partition to be read, once."""
        if partition not in self._readers:
            self.end(partition)  # which opens it
            self._readers[partition] = SegmentReader(self.folder / partition)
        return self._readers[partition]

    def _open(self, partition: str) -> Tail:
        """Open a partition; what a killed process left is cut off, where that is allowed."""
        if partition not in self.partitions:
            raise SourceError(
                f"the log in {self.folder} has no partition {partition!r}",
                "one that it has",
                near(partition, self.partitions),
            )
        try:
            self.appender(partition).recover()
        except OSError as error:  # who may only read sees what whoever writes has told
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                raise
        tail = self._tails[partition] = Tail(self.folder / partition, write=False)
        return tail

    def appender(self, partition: str) -> Appender:
        """Open a partition to be appended to, once."""
        if partition not in self._appenders:
            self._appenders[partition] = Appender(self.folder / partition, self._segment)
        return self._appenders[partition]

    def commit(self, group: str, positions: Mapping[str, int]) -> None:
        """Write down that a group is done with all up to these positions."""
        folder = self.folder / "groups"
        path = folder / f"{group}.json"
        with clear_of_disk(path), _only_one(folder):
            said = {**committed(path), **positions}
            building = path.with_name(f".{group}.partial")
            building.write_text(json.dumps({"version": VERSION, "positions": said}) + "\n")
            building.replace(path)
        self.tidy()

    def tidy(self, *, now: bool = False) -> None:
        """Remove segments that are older than is kept and that every group is done with."""
        if self._keep is None or not (now or time.monotonic() - self._trimmed > _TRIMMED):
            return
        self._trimmed = time.monotonic()
        groups = [committed(path) for path in (self.folder / "groups").glob("[!.]*.json")]
        older = time.time() - self._keep
        for partition in self.partitions:
            ends = [said.get(partition, -1) + 1 for said in groups]
            self.appender(partition).trim(min(ends, default=self.end(partition)), older)

    def close(self) -> None:
        """Let go of all files."""
        for reader in self._readers.values():
            reader.close()
        for tail in self._tails.values():
            tail.close()
        for appender in self._appenders.values():
            appender.close()
        self._readers, self._tails, self._appenders = {}, {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hash_keys(keys: pa.LargeStringArray) -> NDArray[np.uint64]:
    """Hash the bytes of keys [N], never otherwise: a polynomial of them, scattered; null is empty.

    Examples
    --------
    >>> (hash_keys(pa.array(["a", "b", None], pa.large_string())) % np.uint64(4)).tolist()
    [2, 3, 0]
    """
    raw = keys.fill_null("").cast(pa.large_binary())
    count = len(raw)
    offsets = np.frombuffer(raw.buffers()[1], np.int64, count + 1, 8 * raw.offset)
    lengths = np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(raw.buffers()[2] or b"", np.uint8)[first:last].astype(np.uint64)
    powers = np.full(int(lengths.max(initial=0)), 0x0000_0100_0000_01B3, dtype=np.uint64)
    np.cumprod(powers, out=powers)
    places = np.arange(last - first) - np.repeat(offsets[:-1] - first, lengths)
    sums = np.zeros(last - first + 1, dtype=np.uint64)
    np.cumsum((data + np.uint64(1)) * powers[places], out=sums[1:])  # wraps, as the difference
    mixed: NDArray[np.uint64] = sums[offsets[1:] - first] - sums[offsets[:-1] - first]
    for shift, factor in ((30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def committed(path: Path) -> dict[str, int]:
    """Read what a group has committed."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(one) for name, one in said["positions"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(
            f"{path} is damaged", "what a group has committed", "Remove it: it begins anew."
        ) from None


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep others from doing the same in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make(folder: Path, partitions: int, form: Format) -> None:
    """Make a log; its description comes last, and says that it is there."""
    with clear_of_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            if (folder / _FILE).exists():
                return
            strange = [one for one in sorted(folder.iterdir()) if not _ours(one.name)]
            if strange:
                raise SourceError(
                    f"{folder} holds other things, such as {strange[0].name}",
                    "an empty folder, or a new one, to make a log in",
                    "Name another folder.",
                )
            for name in map(str, range(partitions)):
                (folder / name).mkdir(exist_ok=True)
                (folder / name / "tail").touch()
                os.truncate(folder / name / "tail", 4096)
            (folder / "groups").mkdir(exist_ok=True)
            with atomic_file(folder / _FILE) as building:
                said = {"version": VERSION, "partitions": partitions, "format": form}
                building.write_text(json.dumps(said) + "\n", encoding="utf-8")


def _ours(name: str) -> bool:
    return name.isdigit() or name == "groups" or name.startswith(".")


def _settings(folder: Path) -> tuple[int, Format]:
    """Read how a log was made."""
    path = folder / _FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version, partitions, form = said["version"], int(said["partitions"]), said["format"]
    except (ValueError, KeyError, TypeError):
        raise SourceError(
            f"{path} is damaged", "the description of a log", "Restore it from a copy."
        ) from None
    if version != VERSION or form not in get_args(Format):
        raise SourceError(
            f"{path} is of the format {version}, with payloads of {form}",
            f"format {VERSION}",
            "Read it with the version of Thalweg that made it.",
        )
    return partitions, cast("Literal['json', 'csv', 'arrow']", form)
