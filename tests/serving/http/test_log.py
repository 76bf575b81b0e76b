from __future__ import annotations

import io
import json
import logging
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.serving.http.log import Log


def told(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_its_time_in_utc() -> None:
    stream = io.StringIO()
    log = Log(stream, clock=lambda: 1_700_000_000.9876)
    log.info("swapped", model="adult", seconds=0.5, rows=3, odd=float("nan"), why=None, some=["a"])
    assert told(stream) == [
        {
            "time": "2023-11-14T22:13:20.987Z",
            "level": "info",
            "event": "swapped",
            "model": "adult",
            "seconds": 0.5,
            "rows": 3,
            "odd": "nan",
            "why": None,
            "some": ["a"],
        }
    ]


@given(st.text(max_size=200))
def test_any_text_is_one_line_of_json(text: str) -> None:
    stream = io.StringIO()
    Log(stream).error("x", reason=text)
    lines = stream.getvalue().split("\n")
    assert len(lines) == 2
    assert set(json.loads(lines[0])) == {"time", "level", "event", "reason"}
    Log(stream := io.StringIO(), lines="text").error("x", reason=text)
    assert len(stream.getvalue().splitlines()) == 1


def test_people_get_words() -> None:
    stream = io.StringIO()
    Log(stream, lines="text", clock=lambda: 0.0).warning("odd", reason="a b", rows=3)
    assert stream.getvalue() == '00:00:00.000 warning odd reason="a b" rows=3\n'


def test_secrets_are_struck_out() -> None:
    stream = io.StringIO()
    log = Log(stream)
    key = "tw_" + secrets.token_urlsafe(32)
    log.error(
        "x", reason=f"header is 'Bearer {key}'", inside=[key], key=key, other="Bearer abc.def"
    )
    with log.adopting("some.library"):
        logging.getLogger("some.library").warning("got authorization: bearer %s", key)
    assert key[3:] not in stream.getvalue()
    assert "abc.def" not in stream.getvalue()
    assert stream.getvalue().count("(secret)") == 5


def test_levels() -> None:
    stream = io.StringIO()
    log = Log(stream, level="warning")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [line["event"] for line in told(stream)] == ["c", "d"]


def test_requests_are_told_if_wanted_and_always_if_slow_or_failed() -> None:
    stream = io.StringIO()
    log = Log(stream, slow=1.0)
    log.request("POST", "/v1/predict", 200, 0.2)
    log.request("POST", "/v1/predict", 429, 0.2)
    assert told(stream) == []
    log.request("POST", "/v1/predict", 200, 1.0, rows=2, model="adult", version="v1", who="mobile")
    log.request("POST", "/v1/predict", 500, 0.2)
    slow, failed = told(stream)
    assert (slow["milliseconds"], slow["rows"], slow["key"]) == (1000.0, 2, "mobile")
    assert (slow["level"], failed["level"], "rows" in failed) == ("info", "error", False)
    Log(stream := io.StringIO(), requests=True).request("GET", "/v1/models", 200, 0.01)
    assert told(stream)[0]["path"] == "/v1/models"


def test_a_fault_tells_where_and_not_the_cell() -> None:
    stream = io.StringIO()
    log = Log(stream)

    def stumble() -> None:
        raise ValueError("cannot read 'Mr Secret'")

    try:
        stumble()
    except ValueError as error:
        log.fault("failed", error, path="/v1/predict")
        with log.adopting("some.server"):
            logging.getLogger("some.server").exception("Exception in ASGI application")
    assert "Secret" not in stream.getvalue()
    for line in told(stream):
        assert line["error"] == "ValueError"
        assert "stumble" in str(line["where"])


def test_loggers_are_adopted_and_given_back(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    log = Log(stream)
    logger = logging.getLogger("uvicorn.error")
    before = (logger.handlers, logger.propagate, logger.level)
    root = logging.getLogger()
    roots = list(root.handlers)
    with log.adopting("uvicorn.error"):
        logger.debug("not wanted")
        logger.info("Started %s", "x")
        logger.warning("w")
        logger.error("e")
        assert list(root.handlers) == roots
    assert (logger.handlers, logger.propagate, logger.level) == before
    assert [(line["level"], line["event"]) for line in told(stream)] == [
        ("info", "Started x"), ("warning", "w"), ("error", "e"),
    ]  # fmt: skip
    assert caplog.records == []


def test_a_reader_that_has_gone_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Log(Gone()).error("x")
    stream = io.StringIO()
    log = Log(stream)
    stream.close()
    # A closed stream cannot be asked whether it is a terminal; the log asked before.
    log.error("x")
