"""Whole pipelines over a real log: what goes in comes out, once, in exactly one place."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chaos
import mutations
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from thalweg import api
from thalweg.core.errors import ColumnError, OptionError, SourceError
from thalweg.core.progress import Silent
from thalweg.serving.stream.lane import Tally
from thalweg.sources.streams.log import Log

CITIES = ["Ulm", "Bonn", "Kiel", "Köln"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def append(payloads: Sequence[bytes], name: str = "events") -> None:
    with Log(Path(name)) as log:
        log.append(payloads)


def event(number: int) -> dict[str, Any]:
    at = 1_700_000_000 + number * 0.5
    return {"n": number, "city": CITIES[number % 4], "amount": float(number % 97), "at": at}


def events(numbers: Sequence[int]) -> list[bytes]:
    return [json.dumps(event(number)).encode() for number in numbers]


def rows(uri: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in chaos.payloads(uri)]


class Until(Silent):
    """Keeps what is said, and says when so many events are done."""

    def __init__(self, count: int | None) -> None:
        self.notes: list[str] = []
        self._count = count
        self._done = 0

    def advance(self, done: int = 1, figures: Any = None) -> None:
        self._done += done

    def note(self, text: str) -> None:
        self.notes.append(text)

    def reached(self) -> bool:
        return self._count is not None and self._done >= self._count


def watch(count: int | None = None, **said: Any) -> Tally:
    """Work through all that is there, or stop gently behind some events.

    Every event has a window of its own, where nothing else is said.
    """
    options = {"window": "1d", "by": ["n"], "to": "log://out", "state": "state"}
    work = api.pipeline("log://events", **{**options, "once": count is None, **said})
    until = Until(count)
    return api.stream(work, progress=until, stopping=until.reached)


def out(uri: str = "log://out") -> list[int]:
    """The events that came out, each as often as it came."""
    return sorted(int(one["n"]) for one in rows(uri) for _ in range(one["rows"]))


def test_predictions_are_those_of_the_table(little: Path) -> None:
    """Law 1: one row, a batch or a stream, the answer is the same."""
    random = np.random.default_rng(5)
    table = pa.table(
        {
            "n": np.arange(3000),
            "amount": random.gamma(2.0, 30.0, 3000).round(2),
            "city": random.choice([*CITIES, "elsewhere"], 3000),
        }
    )
    assert api.publish(table, "log://events") == 3000
    work = api.pipeline("log://events", model=str(little), to="log://out", once=True)
    tally = api.stream(work)
    assert (tally.records, tally.rows, tally.dead) == (3000, 3000, 0)
    found = pl.DataFrame(rows("log://out")).sort("n")
    wanted = pl.DataFrame(api.predict(str(little), table))
    assert sorted(found.columns) == sorted(wanted.columns)
    assert found.columns[:3] == ["n", "amount", "city"]
    own = ["n", "city", "amount", "prediction"]
    assert found.select(own).equals(wanted.select(own))
    for name in wanted.columns:
        if name.startswith("probability_"):
            apart = (found[name] - wanted[name]).abs().max()
            assert isinstance(apart, float)
            assert apart < 1e-5


def malformed(model: Path, count: int) -> None:
    sent = list(mutations.mutated(count, seed=9))
    for start in range(0, count, 5000):
        append(sent[start : start + 5000])
    work = api.pipeline(
        "log://events",
        model=str(model),
        to="log://out",
        windows_to="log://windows",
        window="1h",
        time="at",
        state="state",
        once=True,
    )
    tally = api.stream(work)
    assert tally.records == count
    made, late = list(chaos.payloads("log://out")), rows("log://state/late")
    letters = rows("log://state/dead")
    assert len(made) == tally.rows
    assert len(letters) == tally.dead
    assert len(made) + len(letters) == count
    assert sum(one["rows"] for one in rows("log://windows")) + len(late) == len(made)
    assert sorted(int(one["position"]) for one in letters) == sorted(
        {int(one["position"]) for one in letters}
    )
    for one in letters:
        assert base64.b64decode(one["payload"]) == sent[int(one["position"])]
        assert one["reason"]
    assert count * 0.3 < len(made) < count * 0.95


def test_malformed_input_ends_in_exactly_one_place(little: Path) -> None:
    malformed(little, 5000)


@pytest.mark.soak
def test_a_million_malformed_payloads(little: Path) -> None:
    malformed(little, 1_000_000)


def test_every_event_once() -> None:
    append(events(range(2000)))
    tally = watch()
    assert (tally.records, tally.windows) == (2000, 2000)
    assert out() == list(range(2000))


def test_run_again_it_goes_on() -> None:
    for start in range(0, 400, 100):
        append(events(range(start, start + 100)))
        assert watch(100).records == 100
    assert watch().windows == 400
    assert out() == list(range(400))


def test_windows_late_rows_and_dead_letters_add_up() -> None:
    sent = events(range(3000))
    random = np.random.default_rng(3)
    order = np.argsort(np.arange(3000) + random.normal(0, 8, 3000))
    sent = [sent[place][:-2] if place % 50 == 7 else sent[place] for place in order]
    append(sent)
    said = {"window": "10s", "by": ["city"], "measure": ["amount"], "time": "at"}
    tally = watch(**said, lateness="2s")
    assert tally.dead == 60
    assert tally.late > 50
    closed, late = rows("log://out"), rows("log://state/late")
    assert sum(one["rows"] for one in closed) + len(late) + tally.dead == 3000
    assert len(late) == tally.late
    assert len({one["n"] for one in late}) == len(late)
    counted = Counter(one["city"] for one in closed)
    assert set(counted) == set(CITIES)
    assert (
        len(closed) == tally.windows == len({(one["window_start"], one["city"]) for one in closed})
    )


def test_late_rows_and_dead_letters_go_where_they_are_wanted() -> None:
    append([*events([100, 0]), b"?"])
    watch(window="1s", time="at", late_to="log://late", dead_letters="log://dead")
    assert [one["n"] for one in rows("log://late")] == [0]
    assert [one["reason"][:7] for one in rows("log://dead")] == ["no JSON"]


def test_start_at_the_latest() -> None:
    append(events(range(50)))

    class Behind(Until):
        """Sends more as soon as the stream waits."""

        def start(self, what: str, total: int | None, unit: str) -> None:
            if what.startswith("wait"):
                append(events(range(50, 80)))

    work = api.pipeline(
        "log://events", window="1d", by=["n"], to="log://out", state="state", start="latest"
    )
    behind = Behind(30)
    assert api.stream(work, stopping=behind.reached, progress=behind).records == 30
    append(events(range(80, 90)))
    assert watch().records == 10
    assert out() == list(range(50, 90))


def test_without_the_events_own_columns(little: Path) -> None:
    append(events(range(20)))
    work = api.pipeline("log://events", model=str(little), to="log://out", keep=False, once=True)
    api.stream(work)
    found = rows("log://out")
    assert len(found) == 20
    assert next(iter(found[0])) == "prediction"
    assert not {"n", "city", "amount"} & set(found[0])


def test_an_event_with_a_prediction_of_its_own_is_refused(little: Path) -> None:
    append([b'{"city": "Ulm", "amount": 1, "prediction": "yes"}'])
    said: dict[str, Any] = {"model": str(little), "to": "log://out", "once": True}
    with pytest.raises(OptionError, match="no-keep"):
        api.stream(api.pipeline("log://events", **said))
    assert api.stream(api.pipeline("log://events", **said, keep=False)).rows == 1


CHANGED: list[tuple[str, dict[str, Any]]] = [
    ("windows", {"window": "2d"}),
    ("windows", {"by": ["city"]}),
    ("lateness", {"lateness": "7s"}),
    ("time", {"time": "at"}),
    ("lanes", {"lanes": 1}),
]


@pytest.mark.parametrize(("name", "said"), CHANGED)
def test_a_changed_option_is_refused(name: str, said: dict[str, Any]) -> None:
    append(events(range(10)))
    watch()
    with pytest.raises(OptionError, match=f"{name} is .* the same as before.* --state"):
        watch(**said)
    assert watch().records == 0
    assert out() == list(range(10))


def test_another_source_is_refused() -> None:
    append(events(range(10)))
    append(events(range(10)), "others")
    watch()
    with pytest.raises(OptionError, match="source is"):
        api.stream(
            api.pipeline("log://others", window="1d", by=["n"], to="log://out", state="state")
        )


def test_a_state_of_another_format_is_refused() -> None:
    append(events(range(10)))
    watch()
    path = Path("state", "pipeline.json")
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "format": 2}))
    with pytest.raises(OptionError, match="format 2"):
        watch()


def newest(state: str = "state") -> Path:
    return sorted(Path(state, "lanes", "0").glob("checkpoint-*"))[-1]


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_are_passed_over_and_nothing_is_doubled(damaged: int) -> None:
    said: dict[str, Any] = {"window": "1s", "time": "at"}  # so that some close in every run
    for start in range(0, 400, 100):
        append([*events(range(start, start + 100)), b"?"])
        watch(101, **said)
    assert 300 < len(out()) < 400
    for folder in sorted(Path("state", "lanes", "0").glob("checkpoint-*"))[-damaged:]:
        path = folder / "manifest.json"
        content = bytearray(path.read_bytes())
        content[20] ^= 1
        path.write_bytes(content)
    append(events(range(400, 500)))
    until = Until(100)
    options: dict[str, Any] = {"by": ["n"], "to": "log://out", "state": "state", **said}
    work = api.pipeline("log://events", **options)
    assert api.stream(work, progress=until, stopping=until.reached).records == 100
    assert len([note for note in until.notes if "passed over" in note]) == damaged
    append(events(range(500, 510)))
    watch(**said)
    assert out() == list(range(510))
    assert len(rows("log://state/dead")) == 4


def test_a_file_without_times_is_read_again_as_it_was() -> None:
    """Its lines have the time at which they were read, and are in the windows of that time."""
    said: dict[str, Any] = {"window": "200ms", "by": ["n"], "lateness": "1ms", "state": "state"}
    said["to"] = "out/"
    for start in range(0, 50, 10):
        with Path("events.ndjson").open("ab") as file:
            file.writelines(one + b"\n" for one in events(range(start, start + 10)))
        until = Until(10)
        work = api.pipeline("events.ndjson", **said)
        api.stream(work, progress=until, stopping=until.reached)
        time.sleep(0.25)
    for folder in sorted(Path("state", "lanes", "0").glob("checkpoint-*"))[1:]:
        shutil.rmtree(folder)
    api.stream(api.pipeline("events.ndjson", once=True, **said))
    found = pl.read_parquet("out/*.parquet")
    assert found["n"].sort().to_list() == list(range(50))


def test_a_damaged_ledger_is_refused() -> None:
    """What it said was perhaps written: other batches of the same numbers would be lost."""
    append(events(range(100)))
    watch()
    newest_one = newest()
    for path in newest_one.iterdir():
        path.unlink()
    newest_one.rmdir()
    ledgers = sorted(Path("state", "lanes", "0").glob("ledger-*"))
    content = bytearray(ledgers[0].read_bytes())
    assert content.count(b"\n") > 1
    content[20] ^= 4
    ledgers[0].write_bytes(content)
    with pytest.raises(SourceError, match="ledger"):
        watch()


def test_a_source_that_disappears() -> None:
    append(events(range(10)))
    watch()
    Path("events").rename("elsewhere")
    with pytest.raises(SourceError, match="no log in events"):
        watch()
    Path("elsewhere").rename("events")
    assert watch().records == 0


def test_a_source_that_was_made_anew() -> None:
    append(events(range(10)))
    watch()
    Path("events").rename("elsewhere")
    append(events(range(3)))
    with pytest.raises(SourceError, match="only 3 are there"):
        watch()
    assert out() == list(range(10))


def test_poison_alone_does_not_stop_a_stream(little: Path) -> None:
    """Not even where it is the first that comes."""
    append([b"?", b"", b"\xff"])
    said: dict[str, Any] = {"model": str(little), "to": "log://out", "state": "state"}
    tally = api.stream(api.pipeline("log://events", **said, once=True))
    assert (tally.records, tally.dead) == (3, 3)
    append(events(range(5)))
    assert api.stream(api.pipeline("log://events", **said, once=True)).rows == 5


def test_redrive_sends_each_letter_once() -> None:
    good = events(range(20))
    append([*good[:10], *(one[:-1] for one in good[10:15]), b"?", b"??"])
    watch()
    assert len(rows("log://state/dead")) == 7
    found = api.redrive("state", to="log://again")
    assert (found.sent, found.passed) == (7, 0)
    found = api.redrive("state", to="log://again")
    assert (found.sent, found.passed) == (0, 0)
    again = list(chaos.payloads("log://again"))
    assert sorted(again) == sorted([*(one[:-1] for one in good[10:15]), b"?", b"??"])
    append([b"???"])
    watch()
    found = api.redrive("log://state/dead", to="log://elsewhere")
    assert found.sent == 8


def test_redrive_goes_to_where_the_letters_came_from() -> None:
    append([*events(range(5)), b"?"])
    watch()
    assert api.redrive("state").sent == 1
    tally = watch()
    assert (tally.records, tally.dead) == (1, 1)
    assert api.redrive("state").sent == 1
    assert list(chaos.payloads("log://events"))[5:] == [b"?"] * 3


def test_redrive_by_reason() -> None:
    append([*events(range(5)), b"?", b"\xff", b"[]"])
    watch()
    found = api.redrive("state", to="log://again", reason="UTF-8")
    assert (found.sent, found.passed) == (1, 2)
    found = api.redrive("state", to="log://again", reason="UTF-8")
    assert (found.sent, found.passed) == (0, 0)
    found = api.redrive("state", to="log://again", reason="object")
    assert (found.sent, found.passed) == (1, 2)
    assert list(chaos.payloads("log://again")) == [b"\xff", b"[]"]


def test_redrive_stops_when_told(little: Path) -> None:
    append([*events(range(5)), b"?"])
    watch()
    assert api.redrive("state", to="log://again", stopping=lambda: True).sent == 0
    assert api.redrive("state", to="log://again").sent == 1


def test_publish_at_a_rate() -> None:
    table = {"a": list(range(60))}
    since = time.monotonic()
    assert api.publish(table, "log://slow", rate=100) == 60
    took = time.monotonic() - since
    assert 0.5 < took < 5
    assert [one["a"] for one in rows("log://slow")] == list(range(60))
    assert api.publish(table, "log://slow") == 60
    assert len(rows("log://slow")) == 120


def test_explain_says_a_guarantee_for_each_output(little: Path) -> None:
    append(events(range(5)))
    work = api.pipeline(
        "log://events",
        model=str(little),
        to="log://out",
        windows_to="windows/",
        window="1m",
        late_to="sqlite:///late.db?table=late",
    )
    said = api.explain_stream(work)
    assert set(said["outputs"]) == {"rows", "windows", "late", "dead"}
    for output in said["outputs"].values():
        assert "exactly once" in output["guarantee"]
    assert said["lanes"] == 1
    assert said["source"] == {"uri": "log://events", "format": "json", "partitions": 1}
    assert json.loads(json.dumps(said)) == said


def test_a_column_that_is_not_there() -> None:
    append(events(range(5)))
    with pytest.raises(ColumnError, match="Did you mean 'city'"):
        watch(by=["ciyt"])
    with pytest.raises(ColumnError, match="Did you mean 'amount'"):
        watch(measure=["amuont"])
    with pytest.raises(ColumnError, match="Did you mean 'at'"):
        watch(time="att")
    assert watch().records == 5


@pytest.mark.parametrize("lanes", [0, 2, 100])
def test_more_lanes_than_partitions(lanes: int) -> None:
    append(events(range(5)))
    with pytest.raises(OptionError, match="lanes for 1 partitions"):
        watch(lanes=lanes)


def test_lanes_share_partitions_out() -> None:
    with Log(Path("events"), 5) as log:
        for start in range(0, 500, 20):
            log.append(events(range(start, start + 20)))
    assert watch(lanes=3).records == 500
    assert len(list(Path("state", "lanes").iterdir())) == 3
    assert out() == list(range(500))


def test_a_state_s_name_may_be_anything() -> None:
    append([*events(range(5)), b"?"])
    for state in ("a b", "50%41", "what?now=1"):
        assert watch(state=state, to=f"log://out-{len(state)}").dead == 1
        assert api.redrive(state, to=f"log://again-{len(state)}").sent == 1
        assert {str(one) for one in Path().iterdir() if str(one).startswith(state[:2])} == {state}


def test_formats(little: Path) -> None:
    table = pl.DataFrame({"n": range(50), "amount": np.arange(50.0), "city": ["Ulm"] * 50})
    api.publish(table.to_arrow(), "log://arrow?format=arrow")
    table.write_csv("table.csv")
    table.write_csv("table.tsv", separator="\t")
    table.write_ndjson("table.ndjson")
    for number, source in enumerate(["log://arrow", "table.csv", "table.tsv", "table.ndjson"]):
        goal = f"log://out-{number}"
        tally = api.stream(api.pipeline(source, model=str(little), to=goal, once=True))
        assert (tally.rows, tally.dead) == (50, 0), source
        assert [int(one["n"]) for one in rows(goal)] == list(range(50))
        assert [float(one["amount"]) for one in rows(goal)] == list(range(50))


def test_csv_without_names_is_refused_at_once() -> None:
    with Log(Path("events"), 1, "csv") as log:
        log.append([b"1,2"])
    with pytest.raises(SourceError, match="columns"):
        watch(by=[])
