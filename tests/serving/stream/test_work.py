"""What comes of a batch is told by its records, its clock and the past; every row is somewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import api
from thalweg.models.model import Model
from thalweg.serving.stream.decoding import Decoder
from thalweg.serving.stream.ledger import Batch
from thalweg.serving.stream.work import (
    DEAD,
    LATE,
    ROWS,
    WINDOWS,
    Clockwork,
    Output,
    Work,
)
from thalweg.sources.streams.base import Records
from thalweg.stats.windows.spec import WindowSpec

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
MINUTE = WindowSpec.tumbling(60 * SECOND)


def records(payloads: Sequence[bytes], first: int = 0, partition: str = "0") -> Records:
    positions = pa.array(np.arange(first, first + len(payloads)))
    times = NOW + np.arange(first, first + len(payloads))
    return Records(partition, pa.array(payloads, pa.large_binary()), positions, times)


def rows(times: Sequence[Any], first: int = 0) -> list[bytes]:
    return [json.dumps({"n": first + n, "at": at}).encode() for n, at in enumerate(times)]


def watching(spec: WindowSpec | None = MINUTE, **clockwork: Any) -> Work:
    decoder = Decoder({"n": "number", "at": "text"}, "json")
    return Work(decoder, Clockwork("at", **clockwork), None, spec, ["0"])


def do(work: Work, number: int, payloads: Sequence[bytes], first: int = 0, **said: Any) -> Output:
    batch = Batch(number, said.pop("clock", NOW + number * SECOND), (), number == 1, **said)
    taken = [work.take(records(payloads, first))] if payloads else []
    return work.process(batch, taken)


def numbers(output: Output, name: str) -> list[int]:
    table = output.tables.get(name)
    return [] if table is None else [int(one) for one in table.column("n").to_pylist()]


def counted(*outputs: Output) -> int:
    """How many rows windows gave."""
    tables = (one.tables.get(WINDOWS) for one in outputs)
    return sum(sum(one.column("rows").to_pylist()) for one in tables if one is not None)


def test_rows_without_a_time_are_dead() -> None:
    output = do(watching(), 1, rows(["2023-11-14T22:13:20Z", "soon", None, "1e300"]))
    letters = output.tables[DEAD]
    assert letters.column("position").to_pylist() == ["1", "2", "3"]
    assert set(letters.column("reason").to_pylist()) == {"column 'at' holds no time"}
    assert (output.rows, output.dead, output.late) == (1, 3, 0)


def test_rows_of_the_future_are_dead_and_move_nothing() -> None:
    hour = 3600
    at = 1_700_000_000
    work = watching()
    times = [at, at + hour - 10, at + hour + 30, "9999-12-31T23:59:59Z", at + 1]
    output = do(work, 1, rows(times), clock=NOW)
    assert output.tables[DEAD].column("position").to_pylist() == ["2", "3"]
    (reason,) = set(output.tables[DEAD].column("reason").to_pylist())
    assert reason == "its time is more than 1 hours ahead of the clock"
    assert output.rows == 3
    later = do(work, 2, rows([at + hour + 31]), first=5, clock=NOW + 60 * SECOND)
    assert (later.rows, later.dead) == (1, 0)


def test_rows_of_the_year_1_are_late_and_not_lost() -> None:
    work = watching()
    first = do(work, 1, rows(["0001-01-01T00:00:00Z"]))
    rest = do(work, 2, rows([1_700_000_000, "0001-01-01T00:00:00Z"], 1), first=1)
    end = do(work, 3, [], final=True)
    assert numbers(rest, LATE) == [2]
    assert counted(first, rest, end) == 2


def test_a_dead_letter_holds_what_came() -> None:
    payloads = [b'{"n": 1, "at": 0}', b'\xff\x00 "', b"", b'{"n": 2, "at": "soon"}']
    letters = do(watching(), 1, payloads, first=40).tables[DEAD].to_pylist()
    assert [(one["partition"], one["position"]) for one in letters] == [
        ("0", "41"),
        ("0", "42"),
        ("0", "43"),
    ]
    assert [one["payload"] for one in letters] == payloads[1:]
    assert [int(one["time"].timestamp() * 1e6) for one in letters] == [NOW + 41, NOW + 42, NOW + 43]
    assert [one["reason"] for one in letters] == [
        "no text: not UTF-8",
        "empty",
        "column 'at' holds no time",
    ]


def test_positions_that_are_no_numbers(tmp_path: Path) -> None:
    work = watching()
    one = Records(
        "eins",
        pa.array([b"?", b"{"], pa.large_binary()),
        pa.array(["1-0", "1-1"]),
        np.array([NOW, NOW]),
    )
    letters = work.process(Batch(1, NOW, ()), [work.take(one)]).tables[DEAD].to_pylist()
    assert [(one["partition"], one["position"]) for one in letters] == [
        ("eins", "1-0"),
        ("eins", "1-1"),
    ]


def lateness(times: Sequence[float], cuts: Sequence[int], clocks: Sequence[int]) -> tuple[Any, ...]:
    """Give the late rows and the windows' rows of events that are cut into batches somewhere."""
    work = watching(lateness=3 * SECOND, ahead=10**15, idle=10**15)
    bounds = sorted({0, len(times), *(cut for cut in cuts if 0 < cut < len(times))})
    payloads = rows(times)
    late: list[int] = []
    closed: list[Any] = []
    number = 0
    for start, stop in pairwise(bounds):
        number += 1
        clock = NOW + clocks[number % len(clocks)]
        output = do(work, number, payloads[start:stop], first=start, clock=clock)
        late += numbers(output, LATE)
        if WINDOWS in output.tables:
            closed += output.tables[WINDOWS].to_pylist()
    output = do(work, number + 1, [], final=True)
    if WINDOWS in output.tables:
        closed += output.tables[WINDOWS].to_pylist()
    return late, sorted(closed, key=lambda one: one["window_start"])


@given(
    st.lists(st.integers(-20, 200), min_size=1, max_size=30),
    st.lists(st.integers(1, 29), max_size=10),
    st.lists(st.integers(-5 * SECOND, 50 * SECOND), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=60)
def test_cuts_and_clocks_do_not_say_what_is_late(
    offsets: list[int], cuts: list[int], clocks: list[int]
) -> None:
    times = [1_700_000_000 + offset for offset in offsets]
    whole = lateness(times, [], [0])
    assert lateness(times, cuts, clocks) == whole
    late, closed = whole
    newest = -(10**9)
    wanted = []
    for number, time in enumerate(times):
        if time < newest - 3:
            wanted.append(number)
        newest = max(newest, time)
    assert late == wanted
    assert sum(one["rows"] for one in closed) == len(times) - len(wanted)


def test_every_row_is_in_one_place() -> None:
    random = np.random.default_rng(4)
    payloads = rows((1_700_000_000 + np.sort(random.uniform(0, 900, 2000))).round(2).tolist())
    order = np.argsort(np.arange(2000) + random.normal(0, 60, 2000))
    payloads = [payloads[place] for place in order]
    for place in range(0, 2000, 9):
        payloads[place] = b"?"
    work = watching(lateness=2 * SECOND)
    outputs = [
        do(work, n, payloads[start : start + 100], first=start, clock=NOW + start * SECOND)
        for n, start in enumerate(range(0, 2000, 100), 1)
    ]
    outputs.append(do(work, 21, [], final=True))
    late, dead = sum(one.late for one in outputs), sum(one.dead for one in outputs)
    assert late > 20
    assert dead == len(range(0, 2000, 9))
    assert counted(*outputs) + late + dead == 2000
    assert sum(one.rows for one in outputs) + dead == 2000
    aside = [number for one in outputs for number in numbers(one, LATE)]
    assert len(aside) == len(set(aside)) == late


def test_windows_close_by_the_wall_clock_when_nothing_comes() -> None:
    work = watching(idle=5 * SECOND)
    assert counted(do(work, 1, rows([1_700_000_000, 1_700_000_001]), clock=NOW)) == 0
    assert work.open == 1
    found = [do(work, 2 + n, [], clock=NOW + n * SECOND) for n in range(1, 120)]
    closing = [n for n, one in enumerate(found, 1) if counted(one)]
    assert counted(*found) == 2
    assert len(closing) == 1
    # 22:13:21 is 21 s into its minute.
    assert 39 <= closing[0] <= 46
    assert work.open == 0


def test_a_reader_that_was_away_does_not_take_its_absence_for_silence() -> None:
    work = watching(idle=5 * SECOND)
    do(work, 1, rows([1_700_000_000]), clock=NOW)
    woken = work.process(Batch(2, NOW + 3600 * SECOND, (), woken=True), [])
    assert counted(woken) == 0
    assert work.open == 1


def test_a_clock_that_runs_backwards_loses_nothing() -> None:
    work = watching(lateness=2 * SECOND)
    outputs = []
    for number in range(1, 60):
        back = 86_400 * SECOND if number % 7 == 0 else 0
        clock = NOW + number * SECOND - back
        payload = rows([1_700_000_000 + number], number)
        outputs.append(do(work, number, payload, first=number, clock=clock))
    outputs.append(do(work, 60, [], clock=NOW - 365 * 86_400 * SECOND, final=True))
    assert (
        sum(one.dead for one in outputs) + counted(*outputs) + sum(one.late for one in outputs)
        == 59
    )
    assert sum(one.late for one in outputs) == 0
    assert sum(one.dead for one in outputs) == 0


def test_state_goes_on_where_it_was() -> None:
    payloads = rows([1_700_000_000 + 7 * n - 40 * (n % 5 == 0) for n in range(40)])
    whole, parted = watching(lateness=SECOND), watching(lateness=SECOND)
    for number, start in enumerate(range(0, 40, 4), 1):
        batch = payloads[start : start + 4]
        wanted = do(whole, number, batch, first=start)
        found = do(parted, number, batch, first=start)
        assert {k: v.to_pylist() for k, v in found.tables.items()} == {
            k: v.to_pylist() for k, v in wanted.tables.items()
        }
        facts, tables = parted.state()
        parted = watching(lateness=SECOND)
        parted.restore(json.loads(json.dumps(facts)), tables)
    assert (
        do(whole, 11, [], final=True)
        .tables[WINDOWS]
        .equals(do(parted, 11, [], final=True).tables[WINDOWS])
    )


@pytest.fixture(scope="module")
def model(little: Path) -> Model:
    return Model.load(little)


def predicting(model: Model, *, keep: bool = True) -> Work:
    decoder = Decoder({"event": "whole", "city": "text", "amount": "number"}, "json")
    return Work(decoder, Clockwork(), model, None, ["0"], keep=keep)


PAYLOADS = [
    b'{"event": 0, "city": "Ulm", "amount": 30.5}',
    b'{"event": 1}',
    b'{"event": "x", "city": "Ulm"}',
    b'{"event": 3, "city": "nowhere", "amount": "many"}',
    b'{"other": 4}',
    b'{"event": 5, "amount": 1e308}',
    b"{}",
]


def test_rows_without_any_of_the_models_columns_are_dead(model: Model) -> None:
    output = do(predicting(model), 1, PAYLOADS)
    reasons = {one["position"]: one["reason"] for one in output.tables[DEAD].to_pylist()}
    nowhere = "none of the model's columns is there"
    assert reasons["1"] == reasons["4"] == reasons["6"] == nowhere
    assert "column 'event' holds 'x'" in reasons["2"]
    assert output.unreadable["amount"] == 1
    events = output.tables[ROWS].column("event").to_pylist()
    assert events[:2] == [0, 3]
    assert output.rows == len(events)
    assert output.rows + output.dead == len(PAYLOADS)


def test_predictions_are_those_of_the_rows_alone(model: Model) -> None:
    output = do(predicting(model), 1, PAYLOADS)
    table = pa.Table.from_batches([output.tables[ROWS]])
    own = table.select(["event", "city", "amount"])
    wanted = api.predict(model, own, keep=False)
    assert table.column("prediction").to_pylist() == wanted.column("prediction").to_pylist()
    for name in wanted.column_names:
        if name.startswith("probability_"):
            np.testing.assert_allclose(table.column(name), wanted.column(name), atol=1e-5)


def test_without_the_rows_own_columns(model: Model) -> None:
    output = do(predicting(model, keep=False), 1, PAYLOADS)
    names = output.tables[ROWS].schema.names
    assert names[0] == "prediction"
    assert not {"event", "city", "amount"} & set(names)
