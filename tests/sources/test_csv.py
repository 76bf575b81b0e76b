"""CSV as it comes: ragged, quoted, packed, cut off, in other encodings."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.sources import Reject, open_source
from thalweg.sources.check import check_source
from thalweg.sources.csv import BLOCK

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(content: str | bytes, name: str = "rows.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path) -> list[dict[str, str | None]]:
    return [row for batch in open_source(path).batches() for row in batch.rows.to_pylist()]


def rejects(path: Path) -> list[Reject]:
    return [reject for batch in open_source(path).batches() for reject in batch.rejects]


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said
    assert path.name in said
    return said


def test_every_column_is_text_and_an_empty_field_is_null(make: Make) -> None:
    path = make('a,b,c\n1,,""\n007,1.50,true\n')
    assert read(path) == [{"a": "1", "b": None, "c": ""}, {"a": "007", "b": "1.50", "c": "true"}]
    assert set(open_source(path).schema().types) == {pa.string()}


def test_ragged_rows_are_set_aside_and_reading_goes_on(make: Make) -> None:
    path = make("a,b,c,d,e\n1,2,3,4,5\n1,2,3,4,5,6,7\n1\n6,7,8,9,10\n")
    assert [row["a"] for row in read(path)] == ["1", "6"]
    assert rejects(path) == [
        Reject(str(path), 3, "expected 5 fields, found 7", "1,2,3,4,5,6,7"),
        Reject(str(path), 4, "expected 5 fields, found 1", "1"),
    ]


def test_a_long_ragged_row_is_cut(make: Make) -> None:
    assert len(rejects(make("a,b\n" + "x" * 30_000 + "\n"))[0].content) == 10_000


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_marks(make: Make, end: str, last: bool, mark: str) -> None:
    text = mark + f'"a ",b{end}1,"x{end}y"{end}{end}2,"say ""hi"", you"' + end * last
    assert read(make(text)) == [{"a": "1", "b": f"x{end}y"}, {"a": "2", "b": 'say "hi", you'}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(make: Make, delimiter: str) -> None:
    text = delimiter.join(['"x,y;z|1,,,,;;;;||||"', "b"]) + "\n" + delimiter.join("12") + "\n"
    assert list(read(make(text))[0].values()) == ["1", "2"]


def test_a_delimiter_within_a_name_does_not_mislead(make: Make) -> None:
    assert read(make("a;city, or town, or not;c\n1;2,5;3\n"))[0]["city, or town, or not"] == "2,5"


def test_tsv_takes_tabs_whatever_its_header_holds(make: Make) -> None:
    assert read(make("a,b,c\td\n1\t2\n", "rows.tsv")) == [{"a,b,c": "1", "d": "2"}]


def test_one_column_keeps_its_nulls(make: Make) -> None:
    assert read(make("a\n1\n\n2\n")) == [{"a": "1"}, {"a": None}, {"a": "2"}]


def test_names(make: Make) -> None:
    assert open_source(make("a,, b \n1,2,3\n")).schema().names == ["a", "column_2", "b"]
    assert open_source(make('"a\nx",b\n1,2\n')).schema().names == ["a\nx", "b"]
    assert read(make("\n\na,b\n1,2\n")) == [{"a": "1", "b": "2"}]
    assert "named 'a'" in refused(make("a,b,a\n1,2,3\n"))


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "a,b\r\n", "a,b\n\n", '\ufeff"a","b"'])
def test_a_header_alone_has_no_rows(make: Make, text: str) -> None:
    path = make(text)
    assert read(path) == []
    assert open_source(path).schema().names == ["a", "b"]


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_an_empty_file_is_refused(make: Make, text: str) -> None:
    assert "is empty" in refused(make(text))


def test_a_header_of_another_encoding_is_refused_with_a_mend(make: Make) -> None:
    assert "iconv -f latin1" in refused(make("é,b\n1,2\n".encode("latin1")))
    assert "iconv -f utf-16" in refused(make("a,b\n1,2\n".encode("utf-16")))


@pytest.mark.parametrize("before", [0, BLOCK // 5])
def test_rows_that_are_not_utf8_are_set_aside_for_any_projection(make: Make, before: int) -> None:
    tail = b'9\n2,caf\xe9\n"3\n","\xff"\n4,\xed\xa0\x80\n5,6\n1,2,\xe9\n7,caf\xc3\xa9\n8,\xc3'
    path = make(b"a,b\n" + b"10,20\n" * before + tail)
    source = open_source(path)
    said = [(reject.line - before, reject.content) for reject in rejects(path)]
    assert said == [
        (2, "9"),
        (3, r"2,caf\xe9"),
        (4, "3\n,\\xff"),
        (5, r"4,\xed\xa0\x80"),
        (7, r"1,2,\xe9"),
        (9, r"8,\xc3"),
    ]
    assert "UTF-8" in rejects(path)[1].reason
    for columns in (["a"], ["b"], ["b", "a"]):
        batches = list(source.batches(columns))
        assert [one for batch in batches for one in batch.rejects] == rejects(path)
        table = pa.Table.from_batches([batch.rows for batch in batches])
        assert table.slice(before).to_pylist() == [
            {name: row[name] for name in columns} for row in read(path)[before:]
        ]
    assert read(path)[before:] == [{"a": "5", "b": "6"}, {"a": "7", "b": "café"}]


def test_going_on_amid_rows_that_are_not_utf8(make: Make) -> None:
    check_source(open_source(make(b"a,b\n1,2\n3\n\xe9,4\n5,\xe9\n6,7\n\n8,\xc3\xa9\n\xff,\xfe")))


def test_characters_that_blocks_cut_in_two(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": "é" * n, "b": "漢🌊" * (40 - n)} for n in range(1, 40)]
    text = "a,b\n" + "".join(f"{row['a']},{row['b']}\n" for row in rows)
    for size in (300, 301, 302, 303):
        monkeypatch.setattr("thalweg.sources.csv.BLOCK", size)
        assert read(make(text)) == rows


def test_many_bad_rows_come_in_many_batches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.csv.BLOCK", 1 << 12)
    path = make("a,b\n1,2\n" + "1\n" * 40_000 + "3,4\n")
    most = total = 0
    for batch in open_source(path).batches():
        most = max(most, len(batch.rejects))
        total += len(batch.rejects)
    assert total == 40_000
    assert most <= 1 << 12


BINARY = {
    "Parquet": b"PAR1\x15\x04",
    "a zip archive": b"PK\x03\x04\x14\x00",
    "gzip": gzip.compress(b"a,b\n1,2\n"),
    "zstandard": b"\x28\xb5\x2f\xfd\x04",
    "Arrow IPC": b"ARROW1\0\0",
    "binary": b"\x01\x02\x03\x04",
}


@pytest.mark.parametrize("found", BINARY)
@pytest.mark.parametrize("name", ["rows.csv", "rows.ndjson", "rows.csv.gz"])
def test_binary_files_with_the_name_of_a_text(make: Make, found: str, name: str) -> None:
    content = gzip.compress(BINARY[found]) if name.endswith("gz") else BINARY[found]
    if found != "binary" or "csv" in name:
        assert found in refused(make(content, name))


def test_nul_bytes(make: Make) -> None:
    assert read(make("a,b\n1,x\0y\n")) == [{"a": "1", "b": "x\0y"}]
    refused(make(b"\0\1\2\0,\0\n\0\0"))


@pytest.mark.parametrize("rows_before", [0, 400_000])
def test_a_cell_wider_than_a_block(make: Make, rows_before: int) -> None:
    cell = "x" * 10_000_000
    path = make("a,b\n" + "12345678,2\n" * rows_before + f'1\n3,"{cell}"\n4\n5,6\n')
    source = open_source(path)
    batches = list(source.batches())
    assert sum(batch.rows.num_rows for batch in batches) == rows_before + 2
    found = [reject.line for batch in batches for reject in batch.rejects]
    assert found == [rows_before + 2, rows_before + 4]
    for batch in batches[:-1]:
        rest = list(source.batches(start=batch.position))
        assert rest[-1].position == batches[-1].position
        assert rest[-1].rows.column("a")[-1].as_py() == "5"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_packed_files(make: Make, suffix: str) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(60_000))
    packed = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".zst": lambda raw: pa.compress(raw, "zstd", asbytes=True),
    }[suffix](content)
    assert len(read(make(packed, f"rows.csv{suffix}"))) == 60_000
    refused(make(packed[: len(packed) * 2 // 3], f"cut.csv{suffix}"))
    refused(make(packed[:5], f"short.csv{suffix}"))
    refused(make(content, f"plain.csv{suffix}"))
    middle = len(packed) // 2
    harmed = packed[:middle] + bytes(40) + packed[middle + 40 :]
    refused(make(harmed, f"harmed.csv{suffix}"))


def test_memory_does_not_grow_with_rows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.csv.BLOCK", 1 << 17)

    def peak(rows: int) -> tuple[int, int]:
        path = make("a,b\n" + "12345678,hello\n" * rows)
        tracemalloc.start()
        arrow = max(pa.total_allocated_bytes() for _ in open_source(path).batches())
        python = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return arrow, python

    small, large = peak(150_000), peak(3_000_000)
    assert large[0] < small[0] * 2 + (1 << 20)
    assert large[1] < small[1] * 2 + (1 << 20)
