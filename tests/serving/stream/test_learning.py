"""Learning on a stream: the same as offline, with labels that come late, apart, early or never."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chaos import payloads

from thalweg import api
from thalweg.core.errors import ColumnError, OptionError
from thalweg.monitor.tail import Tail
from thalweg.monitor.versions import VERSIONS, Versions
from thalweg.serving.stream import checkpoint
from thalweg.serving.stream.lane import Tally
from thalweg.serving.stream.learning import LEARNED
from thalweg.training.online.base import State

pytest.importorskip("numba")
pytest.importorskip("river")


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Make events whose class depends on both columns, and otherwise after two thirds."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        city = str(random.choice(["Ulm", "Bonn", "Kiel"]))
        amount = round(float(random.gamma(2.0, 30.0)), 2)
        large = (amount > 60) != (city == "Ulm" and number > 2 * count // 3)
        made.append(
            {"event": number, "city": city, "amount": amount, "large": "yes" if large else "no"}
        )
    return made


def send(events: Sequence[Mapping[str, Any]], to: Path) -> str:
    uri = f"log://{to}"
    names = dict.fromkeys(name for one in events for name in one)
    table = pa.Table.from_pylist([{name: one.get(name) for name in names} for one in events])
    api.publish(table, uri)
    return uri


def run(source: str, folder: Path, name: str, **options: Any) -> tuple[Tally, list[dict[str, Any]]]:
    to = f"log://{folder / name}"
    work = api.pipeline(source, to=to, state=folder / f"{name}-state", once=True, **options)
    tally = api.stream(work)
    return tally, [json.loads(one) for one in payloads(to)]


def learned(state: Path) -> bytes:
    """Give what was learned by the end, as bytes."""
    found = checkpoint.load_newest(state / "lanes" / "0", print)
    assert found is not None
    table = next(
        found.tables[name]
        for name, part in found.facts["tables"].items()
        if part == ["learning", "learned"]
    )
    given = table.column(0)[0].as_py()
    assert isinstance(given, bytes)
    return given


def without(event: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


def late(events: Sequence[Mapping[str, Any]], delay: int) -> list[dict[str, Any]]:
    """Put each event's label into a record of its own, so many events later."""
    found = []
    for number, event in enumerate(events):
        if number > delay:
            before = events[number - delay - 1]
            found.append({"event": before["event"], "large": before["large"]})
        found.append(without(event, "large"))
    rest = events[max(0, len(events) - delay - 1) :]
    return found + [{"event": one["event"], "large": one["large"]} for one in rest]


def test_a_stream_is_scored_as_its_table(tmp_path: Path) -> None:
    events = rows(1500)
    tally, out = run(send(events, tmp_path / "in"), tmp_path, "out", target="large")
    table = pa.Table.from_pylist(events)
    flow = api.prequential(table, target="large")
    assert tally.standing is not None
    assert tally.standing.metrics == flow.standing.metrics
    assert tally.standing.baselines == flow.standing.baselines
    assert tally.standing.metrics["accuracy"] > tally.standing.baselines["majority"]["accuracy"]
    assert [one["event"] for one in out] == list(range(1500))
    assert all(one["version"] >= 1 for one in out)
    right = [one["prediction"] == one["large"] for one in out if one["prediction"] is not None]
    assert np.mean(right) == pytest.approx(tally.standing.metrics["accuracy"], abs=2e-3)


@pytest.mark.parametrize("apart", [False, True])
def test_labels_that_come_later_are_learned_from_as_offline(tmp_path: Path, apart: bool) -> None:
    events = rows(900)
    flow = api.prequential(pa.Table.from_pylist(events), target="large", delay=20, drop=["event"])
    options: dict[str, Any] = {"target": "large", "key": "event"}
    if apart:
        source = send([without(one, "large") for one in events], tmp_path / "in")
        labels = send(
            [{"event": one["event"], "large": one["large"]} for one in events], tmp_path / "labels"
        )
        tally, _ = run(source, tmp_path, "out", **options, labels=labels)
    else:
        source = send(late(events, 20), tmp_path / "in")
        tally, _ = run(source, tmp_path, "out", **options)
    assert tally.standing is not None
    assert tally.standing.labels == tally.standing.events == 900
    assert tally.dead == 0
    if not apart:  # the same order, so the same figures in every bit
        assert tally.standing.metrics == flow.standing.metrics
        assert tally.standing.delays is not None
        assert tally.standing.delays.median == 20


def test_batches_do_not_matter(tmp_path: Path) -> None:
    source = send(late(rows(1200), 30), tmp_path / "in")
    options: dict[str, Any] = {"target": "large", "key": "event"}
    run(source, tmp_path, "large", **options)
    run(source, tmp_path, "small", **options, latency="1ms")
    first, second = (learned(tmp_path / f"{name}-state") for name in ("large", "small"))
    assert first == second


def test_an_early_label_waits_for_its_event(tmp_path: Path) -> None:
    events = rows(400)
    sent: list[dict[str, Any]] = []
    for event in events:
        if event["event"] % 2:
            sent += [{"event": event["event"], "large": event["large"]}, without(event, "large")]
        else:
            sent.append(event)
    tally, out = run(send(sent, tmp_path / "in"), tmp_path, "out", target="large", key="event")
    assert tally.standing is not None
    assert (tally.standing.labels, tally.standing.events, len(out)) == (400, 400, 400)


def test_labels_that_never_come_are_counted(tmp_path: Path) -> None:
    events = [one if one["event"] % 4 else without(one, "large") for one in rows(400)]
    tally, _ = run(send(events, tmp_path / "in"), tmp_path, "out", target="large", key="event")
    assert tally.standing is not None
    assert tally.standing.seen == 0.75


def test_what_is_neither_event_nor_label_is_a_dead_letter(tmp_path: Path) -> None:
    sent = [*rows(50), {"event": 7, "city": None, "amount": None, "large": None}]
    tally, _ = run(send(sent, tmp_path / "in"), tmp_path, "out", target="large", key="event")
    assert tally.dead == 1


def test_a_new_class_and_a_new_category_are_learned(tmp_path: Path) -> None:
    events = rows(1600)
    for event in events[1000:]:
        event["city"] = "Köln" if event["event"] % 2 else event["city"]
        event["large"] = "perhaps" if event["city"] == "Köln" else event["large"]
    tally, out = run(send(events, tmp_path / "in"), tmp_path, "out", target="large", drop=["event"])
    last = [one for one in out[1300:] if one["large"] == "perhaps"]
    assert np.mean([one["prediction"] == "perhaps" for one in last]) > 0.8
    assert tally.standing is not None


def test_a_column_that_vanishes_is_missing_and_a_new_one_is_passed_over(tmp_path: Path) -> None:
    events = rows(1500)
    whole = events[:1100]
    fewer = [{**without(one, "amount"), "mood": 3} for one in events[1100:]]
    source = f"log://{tmp_path / 'in'}"
    api.publish(pa.Table.from_pylist(whole), source)
    api.publish(pa.Table.from_pylist(fewer), source)
    tally, out = run(source, tmp_path, "out", target="large", drop=["event"])
    assert len(out) == 1500
    assert tally.dead == 0
    assert all(one["prediction"] in {"yes", "no"} for one in out[10:])
    assert "mood" not in out[-1]


def test_a_trained_model_goes_on_learning(tmp_path: Path, little: Path) -> None:
    events = rows(1600)
    tally, out = run(
        send(events, tmp_path / "in"), tmp_path, "out", model=little, learn=True, key="event"
    )
    assert tally.standing is not None
    experts = tally.standing.experts
    assert {"fast", "slow", "frozen"} <= set(experts)
    assert tally.standing.metrics["log_loss"] < experts["frozen"]["log_loss"]
    assert {"prediction", "probability", "probability_yes", "version"} <= set(out[0])
    assert (tmp_path / "out-state" / "versions" / "0001" / "model" / "model.json").exists()


def test_what_was_learned_can_be_gone_back_to(tmp_path: Path, little: Path) -> None:
    events = rows(1800)
    source = send(events[:600], tmp_path / "in")
    options: dict[str, Any] = {"model": little, "learn": True}
    run(source, tmp_path, "out", **options)
    state = tmp_path / "out-state"
    first = (state / "versions" / "0001" / LEARNED).read_bytes()
    assert State.from_bytes(first).facts["seen"] == 0
    assert State.from_bytes(learned(state)).facts["seen"] == 600
    # Another version, as a promotion makes one; then the order to go back.
    Versions(state / VERSIONS).add(2, lambda folder: (folder / "x").write_text("x"), "a test")
    api.rollback(state)
    send(events[600:900], tmp_path / "in")
    tally, out = run(source, tmp_path, "out", **options)
    assert State.from_bytes(learned(state)).facts["seen"] == 300
    assert [one["version"] for one in out[600:]] == [1] * 300
    assert tally.standing is not None
    assert tally.standing.labels == 900
    # The order was followed once.
    send(events[900:1000], tmp_path / "in")
    run(source, tmp_path, "out", **options)
    assert State.from_bytes(learned(state)).facts["seen"] == 400


def test_a_stopped_stream_goes_on_learning_where_it_was(tmp_path: Path) -> None:
    events = rows(1400)
    source = send(events[:500], tmp_path / "in")
    run(source, tmp_path, "parted", target="large", key="event")
    send(events[500:], tmp_path / "in")
    run(source, tmp_path, "parted", target="large", key="event")
    whole = send(events, tmp_path / "whole-in")
    shutil.copy(  # what the columns are is told by the first records
        tmp_path / "parted-state" / "pipeline.json", tmp_path / "pipeline.json"
    )
    run(whole, tmp_path, "whole", target="large", key="event")
    parted, entire = (learned(tmp_path / f"{name}-state") for name in ("parted", "whole"))
    assert State.from_bytes(parted).facts["seen"] == 1400
    assert State.from_bytes(parted).facts["parts"] == State.from_bytes(entire).facts["parts"]


def test_what_counts_as_odd_follows_the_stream(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    usual = pa.table({"x": random.normal(size=600), "y": random.normal(size=600)})
    dials = {"members": 2, "width": 16, "embedding": 4}
    model = api.train(usual, out=tmp_path / "odd", recipe=dials, epochs=2, baselines=())
    later = random.normal(size=(3000, 2)) * 2  # twice as wide as what was learned
    events = [{"x": float(x), "y": float(y)} for x, y in later]
    source = send(events[:1300], tmp_path / "in")
    options: dict[str, Any] = {"model": tmp_path / "odd", "learn": True}
    run(source, tmp_path, "out", **options)
    send(events[1300:], tmp_path / "in")
    _, out = run(source, tmp_path, "out", **options)
    _, frozen = run(source, tmp_path, "frozen", model=tmp_path / "odd")
    scores = np.array([one["anomaly_score"] for one in out])
    assert model.calibration.tail is not None
    threshold = model.calibration.threshold
    assert isinstance(threshold, float)
    likely = Tail(model.calibration.tail, threshold).take(scores)
    np.testing.assert_allclose([one["anomaly_probability"] for one in out], likely, rtol=1e-6)
    assert [one["prediction"] == "anomaly" for one in out] == (likely <= threshold).tolist()
    called = [
        np.mean([one["prediction"] == "anomaly" for one in some[1500:]]) for some in (out, frozen)
    ]
    assert called[0] < called[1]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"learn": True}, "learning without a target"),
        ({"target": "large", "labels": "log://x"}, "labels on a stream of their own without a key"),
        ({"target": "large", "lanes": 2}, "2 lanes of a stream that is learned from"),
        ({}, "neither a model nor a target nor windows"),
        ({"window": "1m", "key": "event"}, "key for a stream that is not learned from"),
        ({"target": "large", "key": "large"}, "'large' is the target, and the key"),
        ({"target": "large", "drop": ["large"]}, "'large' is the target, and to be dropped"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, options: dict[str, Any], given: str) -> None:
    source = send(rows(20), tmp_path / "in")
    with pytest.raises(OptionError, match=given):
        run(source, tmp_path, "out", **options)
    assert not (tmp_path / "out-state").exists()


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"target": "lrage"}, "the target 'lrage' is not a column"),
        ({"target": "large", "key": "evnet"}, "the key 'evnet' is not a column"),
    ],
)
def test_a_mistyped_column_is_told(tmp_path: Path, options: dict[str, Any], given: str) -> None:
    source = send(rows(20), tmp_path / "in")
    with pytest.raises(ColumnError, match=given):
        run(source, tmp_path, "out", **options)
    assert not (tmp_path / "out-state").exists()


def test_a_trained_model_is_given_its_own_labels(tmp_path: Path, little: Path) -> None:
    source = send(rows(20), tmp_path / "in")
    with pytest.raises(OptionError, match="the target is 'city', which the model reads"):
        run(source, tmp_path, "out", model=little, target="city")
    with pytest.raises(ColumnError, match="the target 'nope' is not a column"):
        run(source, tmp_path, "out", model=little, target="nope")
    assert not (tmp_path / "out-state").exists()
