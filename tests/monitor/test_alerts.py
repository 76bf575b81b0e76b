"""One row as something begins, one as it ends: hysteresis, cool-down, restarts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError
from thalweg.monitor.alerts import ALERT_SCHEMA, Alerts
from thalweg.monitor.finding import Finding, Level, What

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LEVELS: list[Level] = ["quiet", "between", "high", "confirmed"]


def finding(level: Level, rows: int = 0, what: What = "input", column: str = "x") -> Finding:
    return Finding(what, column, "ks", 0.3, 0.05, level, "words", rows)


def states(alerts: Alerts, levels: str, start: datetime = NOON, step: float = 60) -> list[str]:
    """Take one finding after the other, each some seconds later, by the letters of the levels."""
    named = {level[0]: level for level in LEVELS}
    found = []
    for place, letter in enumerate(levels):
        time = start + timedelta(seconds=step * place)
        rows = alerts.take([finding(named[letter], place)], time)
        found.append("".join(one[0] for one in rows["state"].to_pylist()) or ".")
    return found


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("hqhqbhh", "......r"),
        ("hhhhq", ".r..."),
        ("hhqqq", ".r.c."),
        ("hhqbqhqq", ".r.....c"),
        ("hbh", "..."),
        ("c", "r"),
        ("ccqq", "r..c"),
    ],
)
def test_hysteresis(levels: str, expected: str) -> None:
    assert "".join(states(Alerts(), levels)) == expected


def test_after_it_was_cleared_it_cools_down_and_is_then_raised_if_it_still_is_high() -> None:
    alerts = Alerts(cool=300)
    #                            cleared at 180 s, so cool at 480 s
    assert "".join(states(alerts, "hhqqhhhhhh")) == ".r.c....r."
    assert "".join(states(Alerts(cool=0), "hhqqhh")) == ".r.c.r"
    assert "".join(states(Alerts(cool=300), "hhqqc")) == ".r.cr"


def test_rows_say_it_all() -> None:
    alerts = Alerts()
    alerts.take([finding("high", 5000)], NOON)
    rome = timezone(timedelta(hours=2))
    found = alerts.take([finding("high", 10_000)], NOON.astimezone(rome), "v3")
    assert found.schema == ALERT_SCHEMA
    assert found.to_pylist() == [
        {
            "time": NOON,
            "name": "input",
            "column": "x",
            "state": "raised",
            "value": 0.3,
            "threshold": 0.05,
            "words": "words",
            "version": "v3",
            "rows": 10_000,
        }
    ]
    assert alerts.raised == [("input", "x")]
    assert alerts.take([], NOON).schema == ALERT_SCHEMA


def test_each_thing_stands_for_itself() -> None:
    alerts = Alerts()
    both = [finding("high", 1, "input", "x"), finding("high", 1, "new values", "x")]
    alerts.take(both, NOON)
    found = alerts.take([both[0], finding("quiet", 2, "new values", "x")], NOON)
    assert found["name"].to_pylist() == ["input"]
    # Two windows may come at once.
    assert alerts.take([both[1], both[1]], NOON)["name"].to_pylist() == ["new values"]


def test_what_was_confirmed_is_over_when_nothing_more_comes() -> None:
    alerts = Alerts(calm=1000)
    error = finding("confirmed", 500, "error", "")
    assert alerts.take([error], NOON)["state"].to_pylist() == ["raised"]
    assert alerts.take([finding("quiet", 1400)], NOON).num_rows == 0
    assert alerts.take([finding("confirmed", 1450, "error", "")], NOON).num_rows == 0
    assert alerts.take([finding("quiet", 2000)], NOON).num_rows == 0
    found = alerts.take([finding("quiet", 2500)], NOON).to_pylist()
    assert [(one["name"], one["state"], one["words"]) for one in found] == [
        ("error", "cleared", "no other change in 1,050 rows")
    ]


def test_what_does_not_matter_is_forgotten() -> None:
    alerts = Alerts()
    for place in range(1000):
        alerts.take([finding("quiet", place, column=str(place))], NOON)
    assert alerts.state()["standings"] == []


@given(st.lists(st.sampled_from("qbhc"), max_size=30), st.integers(0, 30))
def test_any_restart_gives_the_same_and_states_take_turns(levels: list[str], at: int) -> None:
    text = "".join(levels)
    whole = states(Alerts(), text)
    one, other = Alerts(), Alerts()
    found = states(one, text[:at])
    other.restore(json.loads(json.dumps(one.state())))
    found += states(other, text[at:], NOON + timedelta(seconds=60 * len(text[:at])))
    # Rows are counted from the restart here: only what was confirmed looks at them.
    assert found == whole
    told = [state for state in whole if state != "."]
    assert told == ["r", "c"] * (len(told) // 2) + ["r"] * (len(told) % 2)


def test_a_damaged_state_is_refused() -> None:
    for state in ({}, {"version": 2, "standings": []}, {"version": 1, "standings": [{"what": 1}]}):
        with pytest.raises(ArtifactError, match="is damaged"):
            Alerts().restore(state)
