"""The conformance suites over the streams, publishers and outlets that need no server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.sources.streams.base import Records
from thalweg.sources.streams.check import (
    OutletTrial,
    PublisherTrial,
    StreamTrial,
    check_outlet,
    check_publisher,
    check_stream,
)
from thalweg.sources.streams.log import Log, LogPublisher, LogStream
from thalweg.sources.streams.parts import PartsOutlet, part_files
from thalweg.sources.streams.stdin import StandardInput
from thalweg.sources.streams.stdout import StandardOutput
from thalweg.sources.streams.tail import FollowedFile, FollowedFolder


@pytest.fixture
def place(tmp_path: Path) -> Callable[[], Path]:
    numbers = count(1)

    def make() -> Path:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return make


def log_trial(folder: Path, partitions: int) -> StreamTrial:
    uri = f"log://{folder}/log?partitions={partitions}"

    def append(payloads: Sequence[bytes]) -> None:
        with Log(folder / "log", partitions) as log:
            log.append(payloads)

    return StreamTrial(lambda: LogStream(uri), append)


@pytest.mark.parametrize("partitions", [1, 3])
def test_logs_are_streams(place: Callable[[], Path], partitions: int) -> None:
    check_stream(lambda: log_trial(place(), partitions))


def read_log(folder: Path) -> list[list[bytes]]:
    with Log(folder) as log:
        found = [log.read(name) for name in log.partitions]
        return [[] if one is None else one.payloads.to_pylist() for one in found]


@pytest.mark.parametrize("partitions", [1, 3])
def test_logs_take_each_batch_once(place: Callable[[], Path], partitions: int) -> None:
    def make() -> PublisherTrial:
        folder = place() / "log"
        uri = f"log://{folder}?partitions={partitions}"
        return PublisherTrial(lambda writer: LogPublisher(uri, writer), lambda: read_log(folder))

    check_publisher(make)


def file_trial(path: Path, head: bytes) -> StreamTrial:
    path.write_bytes(head)

    def append(payloads: Sequence[bytes]) -> None:
        with path.open("ab") as file:
            file.write(b"".join(one + b"\n" for one in payloads))

    return StreamTrial(lambda: FollowedFile(path), append)


@pytest.mark.parametrize(("name", "head"), [("rows.ndjson", b""), ("rows.csv", b"a,b\n")])
def test_growing_files_are_streams(place: Callable[[], Path], name: str, head: bytes) -> None:
    check_stream(lambda: file_trial(place() / name, head))


def folder_trial(folder: Path) -> StreamTrial:
    numbers = count(1)

    def append(payloads: Sequence[bytes]) -> None:
        name = f"{next(numbers):06d}.parquet"
        pq.write_table(pa.table({"raw": pa.array(payloads, pa.binary())}), folder / f".{name}")
        (folder / f".{name}").rename(folder / name)

    def unpack(records: Records) -> list[bytes]:
        found = []
        for payload in records.payloads.to_pylist():
            found += pa.ipc.open_stream(payload).read_all().column("raw").to_pylist()
        return found

    return StreamTrial(lambda: FollowedFolder(folder), append, unpack)


def test_growing_folders_are_streams(place: Callable[[], Path]) -> None:
    check_stream(lambda: folder_trial(place()))


def test_standard_input_is_a_stream(place: Callable[[], Path]) -> None:
    handles: list[int] = []

    def make() -> StreamTrial:
        folder = place()

        def append(payloads: Sequence[bytes]) -> None:
            with Log(folder, 1) as log:
                log.append(payloads)

        def opened() -> StandardInput:
            handles.extend(os.pipe())
            return StandardInput(folder, handles[-2])

        return StreamTrial(opened, append)

    try:
        check_stream(make)
    finally:
        for handle in handles:
            os.close(handle)


def read_parts(folder: Path) -> list[int]:
    found: list[int] = []
    for path in part_files(folder):
        found += pq.read_table(path).column("n").to_pylist()
    return found


def test_folders_of_parts_take_each_batch_once(place: Callable[[], Path]) -> None:
    def make() -> OutletTrial:
        folder = place()
        return OutletTrial(lambda writer: PartsOutlet(folder, writer), lambda: read_parts(folder))

    check_outlet(make)


def test_standard_output_takes_rows(
    place: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []

    def read() -> list[int]:
        written.append(capsys.readouterr().out)
        return [json.loads(line)["n"] for line in "".join(written).splitlines()]

    def make() -> OutletTrial:
        read()
        written.clear()
        return OutletTrial(lambda _: StandardOutput(), read, exact=False, fences=False)

    check_outlet(make)
