"""Every format keeps the contract, found by itself in the lists of formats; and the suite bites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from thalweg.sources import FORMATS, WRITERS, Batch, Position, Sink, Source, open_sink, open_source
from thalweg.sources import check as suite

ROWS = pa.record_batch(
    {
        "name": ["a", None, 'with "quotes", comma', "two\nlines", "ü;|", "x y"],
        "count": pa.array([1, 2, None, -4, 5, 2**53 + 1]),
        "share": [0.5, None, -1.25, 3.5, 1e-7, 2.25],
        "empty": pa.array(["", "b", "", "c", "d", None]),
    }
)
SUFFIXES = sorted(WRITERS)
RAGGED = {
    ".csv": "a,b\n1\n2,x\n3,y,z\n4,w\n\n5,v\n6,u\n7,t\n8\n9\n",
    ".ndjson": '{"a":1,"b":"x"}\n\nnot json\n{"a":2}\n[1]\n{"a":3,"b":[1]}\n{"b":"q"}\n5\n7\n',
}


def test_every_format_has_a_writer() -> None:
    readable = {suffix for one in FORMATS for suffix in one.suffixes}
    assert set(WRITERS) <= readable
    assert all(set(one.suffixes) & set(WRITERS) for one in FORMATS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sinks(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    suite.check_sink(lambda: open_sink(path), lambda: open_source(str(path)), path, ROWS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sources(suffix: str, tmp_path: Path) -> None:
    for name, rows in (("a", ROWS), ("b", ROWS.slice(1, 3)), ("c", ROWS.slice(2))):
        with open_sink(tmp_path / f"{name}{suffix}") as sink:
            for start in range(0, rows.num_rows, 2):
                sink.write(rows.slice(start, 2))
    suite.check_source(open_source(tmp_path / f"a{suffix}"))
    suite.check_source(open_source(tmp_path))
    suite.fingerprint_changes_with_content(
        open_source(tmp_path / f"a{suffix}"), open_source(tmp_path / f"b{suffix}")
    )


@pytest.mark.parametrize("suffix", RAGGED)
@pytest.mark.parametrize("block", [8, 1 << 20])
def test_sources_with_rejects(
    suffix: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"thalweg.sources.{suffix[1:]}.BLOCK", block)
    for name in "ab":
        (tmp_path / f"{name}{suffix}").write_text(RAGGED[suffix])
    source = open_source(tmp_path)
    suite.check_source(source)
    assert sum(len(batch.rejects) for batch in source.batches()) == 8


def test_memory() -> None:
    suite.check_source(open_source(pa.table(ROWS)))
    suite.fingerprint_changes_with_content(open_source(ROWS), open_source(ROWS.slice(1)))


class Broken(Source):
    """Keeps the contract but for what a test replaces."""

    def __init__(self, **faults: Callable[..., Any]) -> None:
        self._good = open_source({"aa": list(range(9)), "bb": list("abcdefghi")})
        self._faults = faults
        self.reads = 0

    def _ask(self, name: str, *arguments: Any) -> Any:
        good = getattr(self._good, name)
        return (
            self._faults[name](self, good, *arguments) if name in self._faults else good(*arguments)
        )

    @property
    def uri(self) -> str:
        return "broken"

    def schema(self) -> pa.Schema:
        return self._ask("schema")

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        self.reads += 1
        return iter(self._ask("batches", columns, size, start))

    def length(self) -> int | None:
        return self._ask("length")

    def fingerprint(self) -> str:
        return self._ask("fingerprint")


def known(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else [name for name in columns if name in ("aa", "bb")]


FAULTS: dict[str, tuple[Callable[[Any], None], dict[str, Callable[..., Any]]]] = {
    "schema": (
        suite.batches_have_the_schema,
        {"schema": lambda self, good: good().remove(0)},
    ),
    "larger batches": (
        suite.size_changes_nothing,
        {"batches": lambda self, good, columns, size, start: good(columns, size + 1, start)},
    ),
    "lost last batch": (
        suite.size_changes_nothing,
        {
            "batches": lambda self, good, c, size, start: list(good(c, size, start))[
                : 9 // size or 1
            ]
        },
    ),
    "another order each time": (
        suite.reading_is_deterministic,
        {"batches": lambda self, good, c, size, s: list(good(c, size, s))[:: (-1) ** self.reads]},
    ),
    "own order of columns": (
        suite.projection_keeps_the_order_asked_for,
        {"batches": lambda self, good, c, size, s: good(sorted(c) if c else None, size, s)},
    ),
    "resumes a row late": (
        suite.resuming_gives_the_rest,
        {
            "batches": lambda self, good, c, size, start: good(
                c, size, start and Position(0, start.row + (start.row > 0))
            )
        },
    ),
    "missing column ignored": (
        suite.a_missing_column_has_near_names,
        {"batches": lambda self, good, c, size, s: good(known(c), size, s)},
    ),
    "length": (suite.length_is_the_number_of_rows, {"length": lambda self, good: good() + 1}),
    "fingerprint": (
        suite.fingerprint_stays,
        {"fingerprint": lambda self, good: f"{good()}{self.reads}"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_catches(fault: str) -> None:
    check, faults = FAULTS[fault]
    check(Broken())
    with pytest.raises(suite.NonconformityError):
        check(Broken(**faults))


class Careless(Sink):
    """Writes to its place at once, and removes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def uri(self) -> str:
        return str(self._path)

    def write(self, rows: pa.RecordBatch) -> None:
        self._path.write_text("name\n")

    def commit(self) -> None:
        self._path.write_text("name\n")

    def abort(self) -> None:
        pass


def test_the_suite_catches_a_careless_sink(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with pytest.raises(suite.NonconformityError, match="leaves"):
        suite.abort_leaves_nothing(lambda: Careless(path), path, ROWS)
    with pytest.raises(suite.NonconformityError, match="other"):
        suite.what_was_written_is_read(lambda: Careless(path), lambda: open_source(path), ROWS)
    path.write_text("old\n")
    with pytest.raises(suite.NonconformityError, match="old file"):
        suite.abort_leaves_the_old(lambda: Careless(path), path, ROWS)
    path.write_text("old\n")
    with pytest.raises(suite.NonconformityError, match="before the commit"):
        suite.commit_replaces_at_once(lambda: Careless(path), lambda: open_source(path), path, ROWS)
