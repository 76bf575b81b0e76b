from __future__ import annotations

import math

import orjson
import pytest

from pretended import homes
from thalweg.serving.http.formats.json import Json, parse
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
FORM = Json()
ROW = b'{"size": 80.5, "town": "Ulm"}'


@pytest.mark.parametrize(
    "body",
    [ROW, b"[%b]" % ROW, b'{"rows": [%b]}' % ROW, b"\xef\xbb\xbf" + ROW, b" \r\n" + ROW + b"\n"],
    ids=["a row", "a list", "rows", "a byte order mark", "blanks"],
)
def test_a_row_may_come_alone_or_in_a_list(body: bytes) -> None:
    question = FORM.question(body, READER)
    assert question.rows == 1
    assert question.feed.inputs["number"][0, 0] == 80.5


def test_rows_beside_others_is_a_column() -> None:
    question = FORM.question(b'{"rows": [1], "size": 2}', READER)
    assert question.rows == 1
    assert "'rows' is not known" in " ".join(question.warnings[0])


def test_the_answer_says_who_answers() -> None:
    question = FORM.question(ROW, READER)
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    told = orjson.loads(FORM.answer(found))
    assert [*told] == ["model", "version", "predictions"]
    assert (told["model"], told["version"]) == ("homes", "0123456789ab")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "no JSON"),
        (b"{", "line 1 column 2"),
        (b'{\n"a": 1,\n}', "line 2 column 7"),
        (b'{"a": NaN}', "line 1 column 7"),
        (b'{"a": 12345678901234567890123, "b": Infinity}', "Infinity is no JSON"),
        (b"{'a': 1}", "no JSON"),
        (ROW + ROW, "no JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": 12345678901234567890123, "b": "\xff"}', "not UTF-8 (at byte 37)"),
        (b"[" * 100_000, "no JSON"),
        (b"[" * 100_000 + b"1" * 20, "nested too deep"),
        (b"[%b]" % (b"9" * 5000), "a whole number of more than 4,300 digits"),
        (b'"text"', "a body that is a text"),
        (b"null", "a body that is null"),
        (b"true", "a body that is true or false"),
        (b"1", "a body that is a number"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(body: bytes, error: str) -> None:
    with pytest.raises(BodyError) as caught:
        FORM.question(body, READER)
    assert error in str(caught.value)
    assert 'expected one row {"column": cell, ...}' in str(caught.value)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551616", 2**64),
        (b"-123456789012345678901234567890", -123456789012345678901234567890),
        (b"1e400", math.inf),
        (b"-1e400", -math.inf),
        (b'"\\ud800"', "\ud800"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"0.1000000000000000000001", 0.1),
        (b'"a\\u0000b"', "a\0b"),
    ],
)
def test_all_that_json_allows_is_read_as_from_a_file(text: bytes, value: object) -> None:
    found = parse(b"[%b]" % text, "anything")
    assert found == [value]
    assert type(found[0]) is type(value)


def test_half_a_character_is_an_error_of_its_row_alone() -> None:
    rows = b'[%b, {"town": "\\ud800"}, {"\\ud800": 1, "town": "Ulm"}]' % ROW
    question = FORM.question(rows, READER)
    assert [*question.errors] == [1]
    assert "'\\ud800' is not known" in " ".join(question.warnings[2])
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    assert len(orjson.loads(FORM.answer(found))["predictions"]) == 3
