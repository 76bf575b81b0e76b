"""The embedded log: what is there after kills, damage and removal, and who may do what."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import UNCOVERED
from thalweg.core.errors import SourceError
from thalweg.sources.streams.appender import Appender, Share
from thalweg.sources.streams.base import FencedError, LostRecordsError, Writer
from thalweg.sources.streams.log import Log, LogPublisher, LogStream
from thalweg.sources.streams.log_folder import hash_keys
from thalweg.sources.streams.segments import HEADER, Mark, packed, segments_of

HASHES = [
    0,
    11825466261762436790,
    118033737330462506,
    16445488871673618486,
    0,
    15568175912514054203,
]

PRODUCER = """
import sys
import pyarrow as pa
from thalweg.sources.streams.base import Writer
from thalweg.sources.streams.log import LogPublisher
uri, name, fence = sys.argv[1], sys.argv[2], int(sys.argv[3])
publisher = LogPublisher(uri, Writer("work", name))
batch = publisher.resume(fence)
print(batch, flush=True)
while True:
    for _ in range(1 + batch % 3):
        batch += 1
        rows = range(batch * 7, batch * 7 + batch % 8)
        texts = [f"{name}:{batch}:{row}" for row in rows]
        keys = pa.array([str(row % 5) for row in rows], pa.large_string())
        publisher.send(batch, pa.array([t.encode() for t in texts], pa.large_binary()), keys)
    publisher.flush({})
"""


def everything(folder: Path) -> list[list[bytes]]:
    with Log(folder) as log:
        found = []
        for name in log.partitions:
            part: list[bytes] = []
            after = None
            while (records := log.read(name, after, 999)) is not None:
                part += records.payloads.to_pylist()
                after = int(records.last)
            found.append(part)
        return found


def binary(values: Sequence[bytes]) -> pa.LargeBinaryArray:
    return pa.array(values, pa.large_binary())


def test_killed_writers_leave_each_record_once(tmp_path: Path) -> None:
    uri = f"log://{tmp_path}/log?partitions=3"
    chance = random.Random(5)
    for fence in range(1, 4):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", PRODUCER, uri, name, str(fence)],
                env=UNCOVERED,
                stdout=subprocess.PIPE,
            )
            for name in ("a", "b")
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline().strip().isdigit()
        time.sleep(chance.uniform(0.0, 0.1))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
    parts = [[one.decode().split(":") for one in part] for part in everything(tmp_path / "log")]
    for name in ("a", "b"):
        found = [[(int(b), int(r)) for n, b, r in part if n == name] for part in parts]
        assert all(part == sorted(set(part)) for part in found)
        publisher = LogPublisher(uri, Writer("work", name))
        last = publisher.resume(9)
        publisher.close()
        assert last > 0
        expected = {(b, r) for b in range(1, last + 1) for r in range(b * 7, b * 7 + b % 8)}
        there = {one for part in found for one in part}
        # Of batches behind the last whole one, some partitions may have their part.
        assert expected <= there
        assert all(r in range(b * 7, b * 7 + b % 8) for b, r in there)


def test_batches_that_some_partitions_have_are_not_doubled(tmp_path: Path) -> None:
    uri = f"log://{tmp_path}/log?partitions=3"
    publisher = LogPublisher(uri, Writer("work", "0"))
    assert publisher.resume(1) == 0
    sent = [b"%d" % number for number in range(60)]
    keys = pa.array([str(number) for number in range(60)], pa.large_string())

    def send() -> None:
        publisher.send(1, binary(sent[:30]), keys[:30])
        publisher.send(2, binary(sent[30:]), keys[30:])

    send()
    shares = publisher._shares
    home = publisher._home
    other = next(name for name in shares if name != home)
    publisher._log.appender(other).append(shares[other])  # and here it is killed
    assert publisher.resume(2) == 0
    send()
    publisher.flush({})
    assert publisher.resume(2) == 2
    publisher.close()
    assert sorted(one for part in everything(tmp_path / "log") for one in part) == sorted(sent)


def test_a_torn_tail_is_cut_off_and_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"one", b"two"])
    path = next((folder / "0").glob("*.segment"))
    whole = path.read_bytes()
    with Log(folder) as reader:
        for cut in (1, 40, len(whole) - 1):
            path.write_bytes(whole + whole[:cut])
            assert reader.read("0", 1) is None
            assert everything(folder) == [[b"one", b"two"]]
            assert path.read_bytes() == whole
        with Log(folder) as log:
            path.write_bytes(whole + b"x" * 100)
            log.append([b"three"])
        records = reader.read("0", 1)
        assert records is not None
        assert records.payloads.to_pylist() == [b"three"]


def test_what_was_cut_off_is_not_read_from_memory(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log, Log(folder) as reader:
        log.append([b"one"])
        assert reader.end("0") == 1
        path = next((folder / "0").glob("*.segment"))
        # A whole block of a write that was killed before its last one.
        block = b"".join(packed(binary([b"two"]), 1, 0, Mark(), ends=False))
        with path.open("ab") as file:
            file.write(block)
        assert reader.read("0").payloads.to_pylist() == [b"one"]  # type: ignore[union-attr]
        log.append([b"new"])
        assert reader.read("0", 0).payloads.to_pylist() == [b"new"]  # type: ignore[union-attr]


def test_a_part_of_a_write_is_no_write(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"one"])
        size = next((folder / "0").glob("*.segment")).stat().st_size
        large = b"x" * (5 << 20)
        log.append([large, b"two", large])  # blocks that are written at once
    path = next((folder / "0").glob("*.segment"))
    written = path.read_bytes()
    tail = (folder / "0" / "tail").read_bytes()
    for lacking in (1, 1000, 6 << 20, len(written) - size - 1):
        path.write_bytes(written[:-lacking])
        # As if it was killed before it said that more is there.
        (folder / "0" / "tail").write_bytes(bytes(len(tail)))
        assert everything(folder) == [[b"one"]]
        assert path.stat().st_size == size


def test_what_a_power_cut_forgot_of_the_tail_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"one"])
        old = (folder / "0" / "tail").read_bytes()
        log.append([b"two"])
    (folder / "0" / "tail").write_bytes(old)
    assert everything(folder) == [[b"one", b"two"]]


@pytest.mark.parametrize("place", [3, 19, HEADER.size + 20])
def test_damage_is_named(tmp_path: Path, place: int) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"one"])
        first = next((folder / "0").glob("*.segment")).stat().st_size
        log.append([b"two"])
        log.append([b"three"])
    path = next((folder / "0").glob("*.segment"))
    content = bytearray(path.read_bytes())
    content[first + place] ^= 1
    path.write_bytes(content)
    with Log(folder) as log:
        with pytest.raises(SourceError, match=rf"{path.name} is damaged at byte {first} "):
            log.read("0")
        assert log.read("0", most=1).payloads.to_pylist() == [b"one"]  # type: ignore[union-attr]
    (folder / "0" / "tail").write_bytes(bytes(4096))
    with pytest.raises(SourceError, match=f"damaged at byte {first} "), Log(folder) as log:
        log.append([b"four"])
    assert len(path.read_bytes()) == len(content)


def test_segments_follow_one_another(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    sent = [b"%d" % number * 100 for number in range(200)]
    with Log(folder, segment=4096) as log:
        for start in range(0, 200, 3):
            log.append(sent[start : start + 3], durable=False)
        assert len(segments_of(folder / "0")) > 5
    assert everything(folder) == [sent]
    with Log(folder) as log:
        for after in (150, 3, 77, 198):
            records = log.read("0", after, most=5)
            assert records is not None
            assert records.payloads.to_pylist() == sent[after + 1 : after + 6]
            assert records.positions.to_pylist() == list(range(after + 1, 200))[:5]


def test_a_writer_is_known_when_its_segments_are_gone(tmp_path: Path) -> None:
    uri = f"log://{tmp_path}/log?keep=0"
    folder = tmp_path / "log"
    publisher = LogPublisher(uri, Writer("work", "0"))
    publisher.resume(4)
    publisher.send(1, binary([b"x"]))
    publisher.flush({})
    publisher.close()
    with Log(folder, segment=4096, keep=0) as log:
        log.commit("slow", {"0": 5})
        for _ in range(20):
            log.append([b"y" * 1000])
        assert segments_of(folder / "0")[0] == 0
        log.commit("slow", {"0": 18})
        log.tidy(now=True)
        first = segments_of(folder / "0")[0]
        assert 5 < first <= 19
        with pytest.raises(LostRecordsError, match="keep"):
            log.read("0", 3)
        assert log.read("0").positions[0].as_py() == first  # type: ignore[union-attr]
    publisher = LogPublisher(uri, Writer("work", "0"))
    with pytest.raises(FencedError, match="fence 4"):
        publisher.resume(3)
    assert publisher.resume(5) == 1
    publisher.close()


def test_records_that_were_never_there_are_missed(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        log.append([b"x"])
        with pytest.raises(LostRecordsError, match="only 1"):
            log.read("0", 1)


def test_flushed_records_that_are_gone_are_damage(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"x"])
        size = next((folder / "0").glob("*.segment")).stat().st_size
        log.append([b"y"])
    os.truncate(next((folder / "0").glob("*.segment")), size)
    with pytest.raises(SourceError, match="damaged"):
        everything(folder)


def test_offsets_of_lost_records_are_not_given_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"x"])
        size = next((folder / "0").glob("*.segment")).stat().st_size
        log.append([b"y", b"y"], durable=False)
    os.truncate(next((folder / "0").glob("*.segment")), size)  # the machine failed
    with Log(folder) as log:
        log.append([b"z"])
        records = log.read("0")
        assert records is not None
        assert records.positions.to_pylist() == [0, 3]
        assert log.read("0", 2).payloads.to_pylist() == [b"z"]  # type: ignore[union-attr]


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "log"
    with Log(folder) as log:
        log.append([b"one"])
        path = next((folder / "0").glob("*.segment"))
        size = path.stat().st_size
        real = os.pwrite

        def full(handle: int, data: memoryview, place: int) -> int:
            if place > size:
                raise OSError(28, os.strerror(28))
            return real(handle, data[:10], place)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(SourceError, match="No space left"):
            log.append([b"two"])
        monkeypatch.undo()
        assert path.stat().st_size == size
        log.append([b"three"])
    assert everything(folder) == [[b"one", b"three"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("partitions=4", "partitions=2"),
        ("format=csv", "format=json"),
        ("format=xml", "json, csv or arrow"),
        ("partitions=0", "from 1 to"),
        ("keep=long", "7d"),
        ("group=../x", "letters"),
        ("partition=2", "Did you mean 'partitions'"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: str, said: str) -> None:
    Log(tmp_path / "log", 2).close()
    with pytest.raises(SourceError, match=said.replace("?", r"\?")):
        LogStream(f"log://{tmp_path}/log?{options}")


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no log"):
        LogStream(f"log://{tmp_path}/log")
    (tmp_path / "rows.csv").write_text("a\n")
    with pytest.raises(SourceError, match=r"such as rows\.csv"):
        LogStream(f"log://{tmp_path}?partitions=2")


def test_groups_commit_for_themselves(tmp_path: Path) -> None:
    Log(tmp_path / "log", 2).close()
    for group, said in (("one", {"0": 3}), ("one", {"1": 4}), ("two", {"0": 1})):
        with LogStream(f"log://{tmp_path}/log?group={group}") as stream:
            stream.commit(said)
    text = (tmp_path / "log" / "groups" / "one.json").read_text()
    assert '"positions": {"0": 3, "1": 4}' in text


def test_several_appenders_know_of_each_other(tmp_path: Path) -> None:
    Log(tmp_path / "log").close()
    one, two = (Appender(tmp_path / "log" / "0", segment=2000) for _ in range(2))
    for number in range(1, 40):
        appender = (one, two)[number % 3 == 0]
        assert appender.append([Share(binary([b"x" * 50]), Mark(7, number, 1))]) == number
        assert appender.append([Share(binary([b"x" * 50]), Mark(7, number, 1))]) == number
    with pytest.raises(FencedError):
        one.append([Share(binary([b"x"]), Mark(7, 99, 0))])
    one.close()
    two.close()
    assert len(everything(tmp_path / "log")[0]) == 39


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.binary(max_size=20), max_size=5), max_size=8),
    st.integers(1, 9),
    st.integers(200, 2000),
)
def test_any_records_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    appended: list[list[bytes]],
    most: int,
    segment: int,
) -> None:
    folder = tmp_path_factory.mktemp("any") / "log"
    with Log(folder, segment=segment) as log:
        for payloads in appended:
            whole = binary([b"cut off", *payloads, b"cut off"])
            log.append(whole.slice(1, len(payloads)), durable=False)
        sent = [one for payloads in appended for one in payloads]
        found: list[bytes] = []
        after = None
        while (records := log.read("0", after, most)) is not None:
            assert len(records) <= most
            found += records.payloads.to_pylist()
            after = int(records.last)
        assert found == sent


def test_keys_hash_as_ever() -> None:
    keys = pa.array(["", "a", "card 17", "Zürich", None, "x" * 100], pa.large_string())
    assert hash_keys(keys).tolist() == HASHES
    assert hash_keys(keys.slice(2, 2)).tolist() == HASHES[2:4]
