"""What first bytes say of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.sources.paths import looks_like, suffix_of
from thalweg.sources.places import Place


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"PAR1", "Parquet"), (b"a,b\n1,2\n", "text"), (b"", ""), (b"\x00\x01", ""), (b"\xe9", "")],
)
def test_first_bytes(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    assert looks_like(Place.local(path)) == found
    assert looks_like(Place.local(tmp_path)) == ""


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.b.csv", ".csv"), ("a.CSV.GZ", ".csv"), ("a.gz", ""), ("a", ""), ("a.tsv.zst", ".tsv")],
)
def test_suffixes(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix
