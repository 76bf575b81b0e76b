from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError, ColumnError
from thalweg.monitor.pending import Early, Found, Pending, keys_of

LIMIT = 100


def rows_of(values: list[float]) -> pa.RecordBatch:
    numbers = [float(value) for value in values]
    return pa.record_batch(
        {"x": pa.array(numbers), "word": pa.array([f"w{value:g}" for value in numbers])}
    )


def said_of(values: list[float], experts: int, width: int) -> np.ndarray:
    base = np.array(values, dtype=np.float64)[:, None, None]
    return base + np.arange(experts * width, dtype=np.float64).reshape(experts, width) / 100


class Simple:
    """The same with a dictionary and loops."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: dict[str, tuple[int, float, int, int]] = {}
        self.answered: dict[str, list[int]] = {}
        self.labels: dict[str, tuple[str, int]] = {}

    def put(
        self, ids: list[str | None], times: list[int], values: list[float], e: int, w: int
    ) -> list[tuple[int, str, int]]:
        last = {name: place for place, name in enumerate(ids) if name is not None}
        early = []
        for place in sorted(last.values()):
            name = str(ids[place])
            if name in self.labels:
                self.waiting.pop(name, None)
                self.answered.setdefault(name, []).append(times[place])
                early.append((place, *self.labels.pop(name)))
            else:
                self.waiting[name] = (times[place], values[place], e, w)
        return early

    def take(self, ids: list[str | None]) -> tuple[list[Any], list[int], list[int]]:
        hits: list[Any] = []
        missed, repeated, now = [], [], set()
        for place, name in enumerate(ids):
            if name is None:
                continue
            if name in self.waiting and name not in now:
                hits.append((place, *self.waiting[name]))
                now.add(name)
            elif name in now or name in self.answered:
                repeated.append(place)
            else:
                missed.append(place)
        for name in now:
            self.answered.setdefault(name, []).append(self.waiting.pop(name)[0])
        return hits, missed, repeated

    def put_label(self, ids: list[str], cells: list[str], times: list[int]) -> None:
        for name, cell, moment in zip(ids, cells, times, strict=True):
            self.labels.setdefault(name, (cell, moment))

    def expire(self, now: int) -> int:
        before = len(self.waiting)
        old = now - self.limit
        self.waiting = {k: v for k, v in self.waiting.items() if v[0] >= old}
        kept = {k: [t for t in times if t >= old] for k, times in self.answered.items()}
        self.answered = {k: times for k, times in kept.items() if times}
        self.labels = {k: v for k, v in self.labels.items() if v[1] >= old}
        return before - len(self.waiting)


def same_hits(found: Found, hits: list[Any]) -> None:
    assert found.places.tolist() == [hit[0] for hit in hits]
    assert found.times.tolist() == [hit[1] for hit in hits]
    if not hits:
        assert found.rows.num_rows == 0
        return
    assert found.rows.equals(rows_of([hit[2] for hit in hits]))
    e, w = max(hit[3] for hit in hits), max(hit[4] for hit in hits)
    said, answers = np.full((len(hits), e, w), np.nan), np.zeros((len(hits), w))
    for place, (_, _, value, own, width) in enumerate(hits):
        said[place, :own] = 0
        said[place, :own, :width] = said_of([value], own, width)
        answers[place, :width] = value
    np.testing.assert_array_equal(found.said, said)
    np.testing.assert_array_equal(found.answers, answers)


def same_early(early: Early, expected: list[tuple[int, str, int]]) -> None:
    assert early.places.tolist() == [one[0] for one in expected]
    assert early.cells.to_pylist() == [one[1] for one in expected]
    assert early.times.tolist() == [one[2] for one in expected]


def again(pending: Pending, folder: Path, most: int) -> Pending:
    facts, tables = pending.state()
    made = Pending(LIMIT, folder, most)
    made.restore(json.loads(json.dumps(facts, allow_nan=False)), tables)
    return made


names = st.lists(st.one_of(st.none(), st.integers(0, 25).map(lambda n: f"id {n}")), max_size=12)
acts = st.lists(
    st.tuples(
        st.sampled_from(["put", "take", "take", "expire", "restore"]),
        names,
        st.integers(0, 60),
        st.integers(1, 3),
        st.integers(1, 3),
    ),
    max_size=30,
)


@pytest.mark.parametrize("most", [0, 2000, 1 << 20])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=acts)
def test_as_a_dictionary(
    script: list[Any], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pending")
    pending, simple = Pending(LIMIT, folder, most), Simple(LIMIT)
    now, value = 0, 0.0
    for act, ids, step, e, w in script:
        if act == "put":
            times = [now + place for place in range(len(ids))]
            values = [value + place for place in range(len(ids))]
            value += len(ids)
            array = pa.array(ids, pa.string())
            answers = np.repeat(np.array(values, dtype=np.float64)[:, None], w, 1)
            early = pending.put(
                array, np.array(times, np.int64), rows_of(values), said_of(values, e, w), answers
            )
            same_early(early, simple.put(ids, times, values, e, w))
        elif act == "take":
            array = pa.array(ids, pa.string())
            found = pending.take(array)
            hits, missed, repeated = simple.take(ids)
            same_hits(found, hits)
            assert found.missed.tolist() == missed
            assert found.repeated.tolist() == repeated
            late = [ids[place] for place in missed]
            cells = [f"label of {name}" for name in late]
            moments = [now + place for place in range(len(late))]
            pending.put_label(
                pa.array(late, pa.string()), pa.array(cells), np.array(moments, np.int64)
            )
            simple.put_label(late, cells, moments)
        elif act == "expire":
            now += step
            assert pending.expire(now) == simple.expire(now)
        else:
            pending = again(pending, folder, most)
        assert pending.waiting == len(simple.waiting)
        assert pending.early_labels == len(simple.labels)


def numbered(first: int, count: int) -> tuple[Any, ...]:
    values = np.arange(first, first + count, dtype=np.float64)
    ids = pa.array([f"event {n}" for n in range(first, first + count)])
    said = np.repeat(values[:, None, None], 2, 2)
    return ids, values.astype(np.int64), rows_of(values.tolist()), said, said[:, 0]


def told(found: Found) -> tuple[Any, ...]:
    return (
        found.places.tolist(),
        found.rows.to_pydict(),
        found.said.tolist(),
        found.answers.tolist(),
        found.missed.tolist(),
    )


def test_after_a_crash_the_same_files_are_written_again(tmp_path: Path) -> None:
    def go_on(pending: Pending, first: int) -> list[Any]:
        heard = []
        for start in range(first, first + 4000, 400):
            pending.put(*numbered(start, 400))
            ids = pa.array([f"event {n}" for n in range(start - 300, start, 3)])
            heard.append(told(pending.take(ids)))
            pending.expire(start)
        return heard

    pending = Pending(3000, tmp_path, 30_000)
    go_on(pending, 0)
    facts, tables = pending.state()
    kept = json.dumps(facts)
    heard, later = go_on(pending, 4000), pending.state()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(files) > 3
    assert pending.nbytes < 30_000 + 400 * 100 + 3 * 4096 * 40
    again = Pending(3000, tmp_path, 30_000)
    again.restore(json.loads(kept), tables)
    assert go_on(again, 4000) == heard
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    same = again.state()
    assert same[0] == later[0]
    assert all(same[1][name].equals(table) for name, table in later[1].items())
    inside = Pending(3000, tmp_path / "unused", 1 << 30)
    go_on(inside, 0)
    assert go_on(inside, 4000) == heard
    assert not (tmp_path / "unused").exists()


def test_files_go_when_no_checkpoint_can_need_them(tmp_path: Path) -> None:
    pending = Pending(10**9, tmp_path, 0)
    pending.put(*numbered(0, 100))
    held = pending.state()
    assert len(list(tmp_path.iterdir())) == 1
    found = pending.take(numbered(0, 100)[0])
    assert len(found.places) == 100
    for _ in range(3):  # so many checkpoints are kept, and this is the third without the file
        pending.state()
        older = Pending(10**9, tmp_path, 0)
        older.restore(*held)
        assert told(older.take(numbered(0, 100)[0])) == told(found)
    for _ in range(4):
        pending.state()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_what_it_was_is_told(tmp_path: Path) -> None:
    pending = Pending(LIMIT, tmp_path, 0)
    pending.put(*numbered(0, 10))
    facts, tables = pending.state()
    path = next(tmp_path.iterdir())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactError, match="differs from its digest"):
        Pending(LIMIT, tmp_path, 0).restore(facts, tables)
    path.unlink()
    with pytest.raises(ArtifactError, match="is not there"):
        Pending(LIMIT, tmp_path, 0).restore(facts, tables)
    with pytest.raises(ArtifactError, match="format 99"):
        Pending(LIMIT, tmp_path, 0).restore({"format": 99}, tables)


def test_everything_is_counted(tmp_path: Path) -> None:
    pending = Pending(LIMIT, tmp_path)
    pending.put_label(pa.array(["early", None, "early"]), pa.array([1, 2, 3]), np.array([1, 1, 1]))
    ids = pa.array(["a", "b", "a", None, "early", "c"])
    early = pending.put(ids, np.arange(6), *numbered(0, 6)[2:])
    assert (early.places.tolist(), early.cells.to_pylist()) == ([4], [1])
    pending.put(pa.array(["c"]), np.array([50]), *numbered(9, 1)[2:])
    found = pending.take(pa.array(["c", "c", "early", "zzz", None]))
    assert (found.places.tolist(), found.missed.tolist()) == ([0], [3])
    assert found.repeated.tolist() == [1, 2]
    assert found.rows.column("x").to_pylist() == [9.0]  # the newest prediction is scored
    pending.put_label(pa.array(["zzz"]), pa.array([0]), np.array([0]))
    assert pending.expire(LIMIT + 10) == 2
    assert pending.take(pa.array(["early"])).missed.tolist() == [0]  # nothing is known of it now
    assert dict(pending.counts) == {
        "events": 5,
        "labels": 2,
        "replaced": 2,
        "repeated": 3,
        "expired": 2,
        "lone": 1,
        "nameless": 3,
    }
    assert pending.waiting == pending.early_labels == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([7, 2**53 + 1]), pa.array(["7.0", str(2**53 + 1)])),
        (pa.array([b"\x00\xff", b"a"]), pa.array([b"\x00\xff", b"a"], pa.large_binary())),
        (pa.array(["x", "yy"]).dictionary_encode(), pa.array([" x", "yy "])),
        (pa.array([1.5, 2.0]), pa.array([1.5, 2])),
        (pa.array([True, False]), pa.array(["true", "false"])),
        (pa.array([0, 10**6], pa.timestamp("us")), pa.array(["1970-01-01", "1970-01-01T00:00:01"])),
        (pa.array([b"0123", b"4567"], pa.binary(4)), pa.array([b"0123", b"4567"])),
    ],
)
def test_ids_of_any_type_that_say_the_same_are_equal(one: pa.Array, other: pa.Array) -> None:
    assert keys_of(one).equals(keys_of(other))
    assert keys_of(one).null_count == 0
    assert keys_of(one)[0] != keys_of(one)[1]


def test_large_decimals_are_told_apart_and_lists_refused() -> None:
    from decimal import Decimal

    ids = pa.array([Decimal(10**30), Decimal(10**30 + 1)], pa.decimal128(38, 0))
    assert len(set(keys_of(ids).to_pylist())) == 2
    with pytest.raises(ColumnError, match="list"):
        keys_of(pa.array([[1], [2]]))


def test_a_million_events_wait_in_little_memory(tmp_path: Path) -> None:
    pending = Pending(10**12, tmp_path, 4 << 20)
    begun = time.process_time()
    size = 50_000
    for start in range(0, 1_000_000, size):
        numbers = np.arange(start, start + size)
        values = numbers.astype(np.float64)
        rows = pa.record_batch({"x": values, "y": values * 2})
        said = np.repeat(values, 6).reshape(size, 3, 2)
        pending.put(pa.array(numbers), numbers, rows, said, said[:, 0])
        assert pending.nbytes < (4 << 20) + 60 * (start + size) + (4 << 20)
    assert pending.waiting == 1_000_000
    random = np.random.default_rng(0)
    asked = random.integers(0, 2_000_000, 4000)
    found = pending.take(pa.array(asked))
    assert (asked[found.places] == found.rows.column("x").to_numpy()).all()
    assert (asked[found.missed] >= 1_000_000).all()
    assert len(found.places) + len(found.missed) + len(found.repeated) == 4000
    assert pending.expire(10**12 + 500_000) == 500_000 - (asked[found.places] < 500_000).sum()
    assert time.process_time() - begun < 20


def test_ids_with_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "thalweg.monitor.waiting.hash_text", lambda keys: np.full(len(keys), 7, np.uint64)
    )
    pending = Pending(LIMIT, tmp_path)
    pending.put(*numbered(0, 5))
    found = pending.take(pa.array(["event 9", "event 3", "event 1", "event 3"]))
    assert found.places.tolist() == [1, 2]
    assert found.rows.column("x").to_pylist() == [3.0, 1.0]
    assert (found.missed.tolist(), found.repeated.tolist()) == ([0], [3])
