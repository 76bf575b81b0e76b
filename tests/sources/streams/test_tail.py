"""Files and folders that grow: lines and files that are added, cut, replaced or late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import SourceError
from thalweg.sources.streams.base import LostRecordsError, Position
from thalweg.sources.streams.tail import FollowedFile, FollowedFolder


def lines(stream: FollowedFile, after: Position | None = None, most: int = 65_536) -> list[bytes]:
    found: list[bytes] = []
    while (records := stream.fetch("0", after, most)) is not None:
        found += records.payloads.to_pylist()
        after = records.last
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(max_size=8), st.sampled_from([b"\n", b"\r\n"])), min_size=1, max_size=30
    ),
    st.integers(1, 5),
)
def test_any_lines_come_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[bytes, bytes]], most: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.ndjson"
    kept = [(text.translate(None, b"\r\n\xef"), feed) for text, feed in written]
    path.write_bytes(b"".join(text + feed for text, feed in kept) + b"unfinished")
    with FollowedFile(path) as stream:
        assert lines(stream, most=most) == [text for text, _ in kept]
        assert stream.newest("0") == path.stat().st_size - len("unfinished")


def test_an_unfinished_line_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    with FollowedFile(path) as stream:
        assert stream.fetch("0", None) is None
        path.write_bytes(b'{"a":')
        assert stream.fetch("0", None) is None
        stream.wait({"0": None}, 0.01)  # and does not turn round and round
        with path.open("ab") as file:
            file.write(b'1}\n{"a"')
        assert lines(stream) == [b'{"a":1}']
        assert stream.fetch("0", 8) is None
        assert stream.lag({"0": 8}) == 0
        with path.open("ab") as file:
            file.write(b":2}\n")
        assert lines(stream, 8) == [b'{"a":2}']


def test_the_header_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfa,"b, c"')
    with FollowedFile(path) as stream:
        assert stream.columns is None
        with path.open("ab") as file:
            file.write(b"\r\n1,2\r\n")
        assert stream.columns == ["a", "b, c"]
        assert lines(stream) == [b"1,2"]
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"a\tb\n1\t2\n")
    with FollowedFile(path) as stream:
        assert (stream.columns, stream.separator, lines(stream)) == (["a", "b"], "\t", [b"1\t2"])


def test_a_mark_at_the_beginning_is_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\xef\xbb\xbf1\n2\n")
    with FollowedFile(path) as stream:
        assert lines(stream) == [b"1", b"2"]


def test_a_cut_or_replaced_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"1\n2\n")
    with FollowedFile(path) as stream:
        assert lines(stream) == [b"1", b"2"]
        path.write_bytes(b"1\n")
        with pytest.raises(LostRecordsError, match="has 2"):
            stream.fetch("0", 4)
        path.write_bytes(b"10000\n")
        with pytest.raises(LostRecordsError, match="where no line ends"):
            stream.fetch("0", 4)
        path.write_bytes(b"1\n2\n")
        (tmp_path / "new").write_bytes(b"1\n2\n3\n")
        (tmp_path / "new").rename(path)
        with pytest.raises(LostRecordsError, match="another file"):
            stream.fetch("0", 4)


def test_lines_that_are_longer_than_a_window(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    written = [b"a" * 10, b"b" * (9 << 20), b"c"]
    path.write_bytes(b"\n".join([*written, b""]))
    with FollowedFile(path) as stream:
        assert lines(stream) == written


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv.gz", "rows"])
def test_files_that_cannot_be_followed(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="text file that grows"):
        FollowedFile(tmp_path / name)


def rows(stream: FollowedFolder, after: Position | None = None, most: int = 65_536) -> list[object]:
    found: list[object] = []
    while (records := stream.fetch("0", after, most)) is not None:
        found += unpacked(records.payloads.to_pylist())
        after = records.last
    return found


def unpacked(payloads: Sequence[bytes]) -> list[object]:
    found: list[object] = []
    for one in payloads:
        try:
            found += pa.ipc.open_stream(one).read_all().column("a").to_pylist()
        except pa.ArrowInvalid:
            found.append(one)
    return found


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "2.csv").write_text("a\n3\n4\n")
    (tmp_path / "1.ndjson").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / ".3.csv").write_text("a\n5\n")
    (tmp_path / "_4.csv").write_text("a\n5\n")
    (tmp_path / "5.txt").write_text("a\n5\n")
    with FollowedFolder(tmp_path) as stream:
        assert rows(stream) == rows(stream, most=1) == [1, 2, "3", "4"]
        last = stream.newest("0")
        assert last == "2.csv\t2\t2"
        (tmp_path / ".3.csv").rename(tmp_path / "3.csv")
        assert rows(stream, last) == ["5"]


@pytest.mark.parametrize("again", [False, True])
def test_a_late_file_is_refused(tmp_path: Path, again: bool) -> None:
    (tmp_path / "2.csv").write_text("a\n3\n")
    stream = FollowedFolder(tmp_path)
    records = stream.fetch("0", None)
    assert records is not None
    assert stream.fetch("0", records.last) is None
    if again:
        stream = FollowedFolder(tmp_path)
    (tmp_path / "1.csv").write_text("a\n3\n")
    with pytest.raises(SourceError, match=r"1\.csv came after 2\.csv"):
        stream.fetch("0", records.last)


def test_a_late_file_is_refused_though_another_one_went(tmp_path: Path) -> None:
    for name in ("1.csv", "3.csv"):
        (tmp_path / name).write_text("a\n3\n")
    with FollowedFolder(tmp_path) as stream:
        after: Position | None = None
        while (records := stream.fetch("0", after)) is not None:
            after = records.last
        (tmp_path / "1.csv").unlink()
        assert stream.fetch("0", after) is None
        (tmp_path / "2.csv").write_text("a\n3\n")
        with pytest.raises(SourceError, match=r"2\.csv came after 3\.csv"):
            stream.fetch("0", after)


def test_a_file_that_is_gone_before_its_end_is_missed(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a\n1\n2\n")
    (tmp_path / "2.csv").write_text("a\n3\n")
    with FollowedFolder(tmp_path) as stream:
        records = stream.fetch("0", None, 1)
        assert records is not None
        (tmp_path / "1.csv").unlink()
    with FollowedFolder(tmp_path) as stream, pytest.raises(LostRecordsError, match=r"1\.csv"):
        stream.fetch("0", records.last)


def test_rows_that_cannot_be_read_come_as_they_were_found(tmp_path: Path) -> None:
    bad = [3, 4, 11, 17, 18, 19]
    text = "".join(f"{n},{n},{n}\n" if n in bad else f"{n},{n}\n" for n in range(20))
    (tmp_path / "1.csv").write_text("a,b\n" + text)
    with FollowedFolder(tmp_path) as stream:
        whole = rows(stream)
        assert len(whole) == 20
        set_aside = [one for one in whole if isinstance(one, bytes)]
        assert [one.decode().split(",")[0] for one in set_aside] == list(map(str, bad))
        everything = sorted(map(str, whole))
        for most in (1, 3, 7, 100):
            done: list[object] = []
            after = None
            while (records := stream.fetch("0", after, most)) is not None:
                done += unpacked(records.payloads.to_pylist())
                after = records.last
                with FollowedFolder(tmp_path) as other:
                    for size in (2, 100):
                        rest = rows(other, after, size)
                        assert sorted(map(str, done + rest)) == everything
                        upto: list[object] = []
                        at: Position | None = None
                        while (some := other.fetch("0", at, size, after)) is not None:
                            upto += unpacked(some.payloads.to_pylist())
                            at = some.last
                        assert sorted(map(str, upto)) == sorted(map(str, done))
