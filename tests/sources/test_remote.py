"""Object stores: an S3 server on this machine, fsspec's memory, and what cannot be reached."""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from thalweg.core.errors import SourceError
from thalweg.sources import Position, open_sink, open_source, remote
from thalweg.sources import check as suite
from thalweg.sources.paths import shown
from thalweg.sources.places import BLOCK, Place

ROWS = pa.record_batch({"a": [1, 2, 3], "b": ["x", None, "z y"]})
SECRET = "a-very-secret-key"  # noqa: S105 - of nothing


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TMPDIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    post(f"{server}/moto-api/reset")
    store().create_dir("rows")
    yield "s3://rows"
    assert not list(tmp_path.glob("*.partial"))


def post(url: str, body: bytes = b"") -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.request("POST", parts.path, body, {"Content-Type": "text/plain"})
    assert connection.getresponse().status == 200
    connection.close()


def store() -> fs.S3FileSystem:
    return fs.FileSystem.from_uri("s3://rows/?allow_bucket_creation=true")[0]


def write(uri: str, *batches: pa.RecordBatch) -> str:
    with open_sink(uri) as sink:
        for rows in batches or (ROWS,):
            sink.write(rows)
    return uri


def read(given: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    batches = open_source(given).batches(columns)
    return [row for batch in batches for row in batch.rows.to_pylist()]


def refused(given: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(given)
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv.gz", ".ndjson.zst", ".tsv.bz2"])
def test_every_format_keeps_the_contract(bucket: str, suffix: str) -> None:
    for name, rows in (("a", ROWS), ("b", ROWS.slice(1))):
        write(f"{bucket}/folder/year=20{ord(name)}/{name}{suffix}", rows)
    source = open_source(f"{bucket}/folder")
    assert source.uri == "s3://rows/folder"
    years = [row["year"] for row in read(f"{bucket}/folder", ["year"])]
    assert years == [2097] * 3 + [2098] * 2
    suite.check_source(source)
    before = source.fingerprint()
    write(f"{bucket}/folder/year=2097/a{suffix}", ROWS, ROWS)
    assert source.fingerprint() != before


def test_patterns(bucket: str) -> None:
    for name in ("b.csv", "a.csv", "_c.csv", "deep/d.csv", "deep/er/e.csv", "../u/f.txt"):
        with store().open_output_stream(f"rows/t/{name}".replace("t/../", "")) as file:
            file.write(f"a\n{name}\n".encode())

    def found(given: str) -> list[str]:
        return [row["a"] for row in read(f"{bucket}/{given}")]

    assert found("t") == found("t/") == ["a.csv", "b.csv", "deep/d.csv", "deep/er/e.csv"]
    assert found("t/[ab].csv") == found("t/?.csv") == ["a.csv", "b.csv"]
    assert found("t/**/[a-e].csv") == ["a.csv", "b.csv", "deep/d.csv", "deep/er/e.csv"]
    assert found("t/*/d.csv") == found("t/d*p/*.csv") == ["deep/d.csv"]
    assert found("t/de*") == ["deep/d.csv", "deep/er/e.csv"]
    assert found("t/a.csv") == ["a.csv"]
    assert "no file matches" in refused(f"{bucket}/t/*.parquet")
    assert "holds no file" in refused(f"{bucket}/u")
    assert "Did you mean 'a.csv'" in refused(f"{bucket}/t/a.cvs")


def test_what_is_not_there_or_not_allowed(bucket: str, server: str) -> None:
    assert "no bucket 'nowhere'" in refused("s3://nowhere/a.csv")
    assert "a bucket that exists" in refused("s3://nowhere/*.csv")
    with pytest.raises(SourceError, match="no bucket 'nowhere'"):
        open_sink("s3://nowhere/a.csv")
    write(f"{bucket}/a.csv")
    source = open_source(f"{bucket}/a.csv")
    store().delete_file("rows/a.csv")
    with pytest.raises(SourceError, match="does not exist"):
        list(source.batches())
    with pytest.raises(SourceError, match="does not exist"):
        source.fingerprint()
    write(f"{bucket}/a.csv")

    def ask_rights_from(count: int) -> None:
        post(f"{server}/moto-api/reset-auth", str(count).encode())

    ask_rights_from(0)
    try:
        assert "Check your credentials" in refused(f"{bucket}/a.csv")
        assert "Check your credentials" in refused(f"{bucket}/*.csv")
    finally:
        ask_rights_from(10**9)


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://me:{SECRET}@rows/a.csv",
        f"s3://rows/a.csv?secret_key={SECRET}",
        f"s3://rows/*.csv?access_key={SECRET}&region=x",
        f"http://127.0.0.1:9/a.csv?token={SECRET}",
        f"memory://x/a.csv?sig={SECRET}",
        f"az://me:{SECRET}@box/a.csv",
    ],
)
def test_secrets_are_not_told(bucket: str, uri: str) -> None:
    assert SECRET not in shown(uri)
    refused(uri)
    with pytest.raises(SourceError) as caught:
        open_sink(uri.replace("*.csv", "a.foo").replace("a.csv", "a.foo"))
    assert SECRET not in str(caught.value)


def test_secrets_in_the_words_of_a_library_are_hidden() -> None:
    for uri in (f"s3://me:{SECRET}@rows/a.csv", f"http://host/a.csv?sig={SECRET}&region=here"):
        error = remote.refusal(uri, OSError(f"GET {uri} failed, {SECRET} is wrong"))
        assert SECRET not in str(error)
        assert "failed" in str(error)


@pytest.mark.parametrize("base", ["s3://rows", "memory://rows"])
def test_fingerprints_tell_content_of_equal_size(bucket: str, base: str) -> None:
    source = open_source(write(f"{base}/same.csv", ROWS))
    before = source.fingerprint()
    assert source.fingerprint() == before
    write(f"{base}/same.csv", ROWS.take(pa.array([1, 0, 2])))
    assert source.fingerprint() != before


def test_user_and_password_in_the_uri_are_used_and_not_told(bucket: str) -> None:
    write(f"{bucket}/a.csv")
    source = open_source(f"s3://me:{SECRET}@rows/a.csv?region=us-east-1")
    assert source.uri == "s3://rows/a.csv"
    assert [batch.rows.num_rows for batch in source.batches()] == [3]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hdfs://node:8020/a.csv", "Hadoop client"),
        ("az://box/a.csv", "adlfs"),
        ("oci://box/a.csv", "ocifs"),
        ("memry://a.csv", "Did you mean 'memory'"),
        ("s3://", "bucket"),
    ],
)
def test_what_is_missing_is_named(uri: str, said: str) -> None:
    assert said in refused(uri)


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert "pip install 'thalweg[cloud]'" in refused("memory://x/a.csv")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".ndjson"])
def test_sinks_appear_whole_or_not_at_all(bucket: str, suffix: str) -> None:
    for base in (bucket, "memory://rows"):
        uri = f"{base}/new/out{suffix}"
        write(uri)
        assert [str(row["a"]) for row in read(uri)] == ["1", "2", "3"]
        sink = open_sink(uri)
        sink.write(ROWS.slice(1))
        sink.abort()
        assert len(read(uri)) == 3
        write(uri, ROWS.slice(1))
        assert len(read(uri)) == 2
        assert [one.shown for one in remote.find(f"{base}/new", [suffix])] == [uri]
        remote.remove(uri)
        assert "does not exist" in refused(uri)


def test_an_upload_that_fails_leaves_the_old(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(f"{bucket}/out.csv")
    sink = open_sink(uri)
    sink.write(ROWS.slice(1))

    def fail(*given: Any, **named: Any) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION during UploadPart operation")

    monkeypatch.setattr("pyarrow.fs.copy_files", fail)
    with pytest.raises(SourceError, match="can be reached"):
        sink.commit()
    assert len(read(uri)) == 3


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that are read of remote files."""
    counts: list[int] = []

    class Counting:
        def __init__(self, file: pa.NativeFile) -> None:
            self._file = file
            self.closed = False

        def read(self, size: int = -1) -> bytes:
            return bytes(self.read_buffer(size))

        def read_buffer(self, size: int = -1) -> pa.Buffer:
            found = self._file.read_buffer(size)
            counts.append(found.size)
            return found

        def close(self) -> None:
            self.closed = True

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    native = Place.native
    monkeypatch.setattr(
        Place, "native", lambda self: pa.PythonFile(Counting(native(self)), mode="r")
    )
    return counts


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_only_wanted_columns_and_row_groups_are_read(
    bucket: str, suffix: str, counted: list[int]
) -> None:
    random = np.random.default_rng(0)
    table = pa.table({name: random.normal(size=60_000) for name in "abcd"})
    sink = open_sink(f"{bucket}/wide{suffix}")
    for rows in table.to_batches(max_chunksize=10_000):
        sink.write(rows)
    sink.commit()
    source = open_source(f"{bucket}/wide{suffix}")
    source.schema()
    counted.clear()
    assert sum(batch.rows.num_rows for batch in source.batches(["c"])) == 60_000
    assert 60_000 * 8 * 0.9 < sum(counted) < 60_000 * 8 * 1.6
    if suffix == ".parquet":
        counted.clear()
        rest = source.batches(["c"], start=Position(0, 49_999))
        assert sum(batch.rows.num_rows for batch in rest) == 10_001
        assert sum(counted) < 20_000 * 8 * 1.6


def test_memory_does_not_grow_with_row_groups(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.sources.parquet.REMOTE", 1 << 20)
    random = np.random.default_rng(0)

    def peak(groups: int) -> int:
        rows = pa.record_batch({"a": random.normal(size=50_000)})
        uri = write(f"{bucket}/{groups}.parquet", *[rows] * groups)
        before = pa.total_allocated_bytes()
        found = open_source(uri).batches(size=10_000)
        return max(pa.total_allocated_bytes() - before for _ in found)

    assert peak(30) < 2 * peak(6) + (1 << 20)


def test_a_damaged_row_group_is_named(bucket: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"a": range(1_000)}),
        sink,
        row_group_size=100,
        use_dictionary=False,
        compression="zstd",
    )
    content = bytearray(sink.getvalue())
    start = pq.ParquetFile(pa.BufferReader(bytes(content))).metadata.row_group(7).column(0)
    content[start.data_page_offset : start.data_page_offset + 60] = b"\xff" * 60
    with store().open_output_stream("rows/a.parquet") as file:
        file.write(bytes(content))
    assert "row group 7 of s3://rows/a.parquet cannot be read" in refused(f"{bucket}/a.parquet")


def test_texts_are_read_ahead(bucket: str) -> None:
    lines = b"".join(b"%d,some much longer text\n" % number for number in range(300_000))
    assert len(lines) > 2 * BLOCK
    with store().open_output_stream("rows/a.csv") as file:
        file.write(b"a,b\n" + lines)
    batches = open_source(f"{bucket}/a.csv").batches()
    assert next(batches).rows.column("a")[0].as_py() == "0"
    batches.close()
    found = [value for batch in open_source(f"{bucket}/a.csv").batches() for value in batch.rows[0]]
    assert [value.as_py() for value in found] == list(map(str, range(300_000)))


def test_a_path_that_was_folded_is_a_uri_still(bucket: str) -> None:
    write(f"{bucket}/a.csv")
    assert open_source(Path("s3://rows/a.csv")).uri == "s3://rows/a.csv"
    write(f"file://{os.environ['TMPDIR']}/a.csv")
    assert len(read(f"file://{os.environ['TMPDIR']}/a.csv")) == 3
