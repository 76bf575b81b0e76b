"""Cells that name files: read from the folder of files, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ColumnError, SourceError
from thalweg.data import attach as module
from thalweg.data.attach import ABSENT, NO_FOLDER, OUTSIDE, TOO_LARGE, UNREAD, attach, attached
from thalweg.sources import open_source
from thalweg.stats import ColumnSummary


def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "files"
    (inner / "deep").mkdir(parents=True)
    (inner / "one.png").write_bytes(b"one")
    (inner / "deep" / "two.png").write_bytes(b"two")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return inner


def test_paths_become_the_files_bytes(tmp_path: Path) -> None:
    cells, refused = attach(pa.array(["one.png", None, "deep/two.png"]), folder(tmp_path))
    assert cells.to_pylist() == [b"one", None, b"two"]
    assert refused == {}


def test_a_path_among_files_in_base64_leaves_these_as_they_are(tmp_path: Path) -> None:
    cells, refused = attach(pa.array(["one.png", "b25l", None, "gone.png"]), folder(tmp_path))
    assert cells.to_pylist() == ["b25l", "b25l", None, None]
    assert {why: mask.tolist() for why, mask in refused.items()} == {ABSENT: [False] * 3 + [True]}


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), "utf8")])
def test_text_is_text_however_it_is_stored(tmp_path: Path, text: pa.DataType) -> None:
    cells, _ = attach(pa.array(["one.png", None]).cast(text), folder(tmp_path))
    assert cells.to_pylist() == [b"one", None]


def test_an_absolute_path_within_the_folder_is_read(tmp_path: Path) -> None:
    root = folder(tmp_path)
    assert attach(pa.array([str(root / "one.png")]), root)[0].to_pylist() == [b"one"]


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    outside = ["../secret.png", str(tmp_path / "secret.png"), "link.png", "up/secret.png"]
    cells, refused = attach(pa.array([*outside, "deep/../one.png"]), root)
    assert cells.to_pylist() == [None, None, None, None, b"one"]
    assert {why: mask.tolist() for why, mask in refused.items()} == {OUTSIDE: [True] * 4 + [False]}


def test_without_a_folder_no_file_is_read() -> None:
    cells, refused = attach(pa.array(["/etc/host.conf"]), None)
    assert cells.null_count == 1
    assert refused[NO_FOLDER].tolist() == [True]


def test_files_that_cannot_be_read_are_refused_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path)
    monkeypatch.setattr(module, "MOST_BYTES", 2)
    (root / "tiny.png").write_bytes(b"x")
    (root / "folder.png").mkdir()
    paths = ["tiny.png", "one.png", "absent.png", "folder.png", "x" * 300 + ".png"]
    cells, refused = attach(pa.array(paths), root)
    assert cells.to_pylist() == [b"x", None, None, None, None]
    assert np.flatnonzero(refused[TOO_LARGE]).tolist() == [1]
    assert np.flatnonzero(refused[ABSENT]).tolist() == [2, 3]
    assert np.flatnonzero(refused[UNREAD]).tolist() == [4]


@pytest.mark.parametrize(
    "cells", [["iVBORw0KGgo=", None], ["data:image/png;base64,AAAA"], ["", "NA", "a\nb.png"]]
)
def test_other_texts_stay_as_they_are(tmp_path: Path, cells: list[str | None]) -> None:
    array = pa.array(cells)
    assert attach(array, folder(tmp_path)) == (array, {})


def test_bytes_and_lists_stay_as_they_are(tmp_path: Path) -> None:
    for array in (pa.array([b"x.png"]), pa.array([["a.png"]]), pa.nulls(2)):
        assert attach(array, tmp_path) == (array, {})


def test_a_column_is_fitted_on_the_files_it_names(tmp_path: Path) -> None:
    column = ColumnSummary()
    column.update(pa.array(["one.png", "deep/two.png", "../secret.png"]))
    files = attached("picture", column, folder(tmp_path))
    assert sorted(files.cells().to_pylist()) == [b"one", b"two"]


def test_a_column_of_absent_files_says_where_they_were_looked_for(tmp_path: Path) -> None:
    column = ColumnSummary()
    column.update(pa.array(["cat.png", "dog.png"]))
    with pytest.raises(ColumnError, match=r"'picture' names files, .* no such file; .*--files"):
        attached("picture", column, tmp_path)


def test_a_table_of_files_has_their_folder_and_may_be_given_another(tmp_path: Path) -> None:
    root = folder(tmp_path)
    for name in ("a.csv", "b.csv"):
        (root / name).write_text("picture\none.png\n")
    assert open_source(root / "a.csv").folder == root
    assert open_source(str(root / "*.csv")).folder == root
    assert open_source({"a": [1]}).folder == Path.cwd()
    other = open_source(root / "a.csv", files=tmp_path)
    assert other.folder == tmp_path
    assert [batch.rows.num_rows for batch in other.batches()] == [1]
    assert (other.length(), other.repeatable, other.schema().names) == (None, True, ["picture"])
    assert other.fingerprint() != open_source(root / "a.csv").fingerprint()
    assert other.uri == open_source(root / "a.csv").uri
    with pytest.raises(SourceError, match=r"the folder of files is .*absent"):
        open_source(root / "a.csv", files=tmp_path / "absent")
