from __future__ import annotations

import orjson
import pytest

from pretended import homes
from thalweg.serving.http.formats.ndjson import NdJson
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
FORM = NdJson()
ROW = b'{"size": 80.5, "town": "Ulm"}'


def test_lines_that_are_no_row_are_errors_of_their_rows() -> None:
    lines = [ROW, b"{", b"[1]", ROW, b'{"size": NaN}', b"\xff", b"[" * 5000, b'{"size": 1e400}']
    question = FORM.question(b"\n".join(lines), READER)
    assert question.rows == len(lines)
    assert [*sorted(question.errors)] == [1, 2, 4, 5, 6]
    assert question.errors[1].startswith("a line that is no JSON (")
    assert question.errors[2].startswith("a list; expected an object")
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    told = [orjson.loads(line) for line in FORM.answer(found).splitlines()]
    assert ["error" in one for one in told] == [place in question.errors for place in range(8)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n"])
def test_blank_lines_are_no_rows(end: bytes) -> None:
    question = FORM.question(b"\xef\xbb\xbf" + ROW + b"\r\n\n" + ROW + end, READER)
    assert (question.rows, dict(question.errors)) == (2, {})


def test_a_long_number_in_one_line_spoils_no_other() -> None:
    lines = [ROW, b'{"zone": 12345678901234567890123}', b'{"zone": %b}' % (b"9" * 5000)]
    question = FORM.question(b"\n".join(lines), READER)
    assert [*question.errors] == [2]
    assert "4,300 digits" in question.errors[2]


def test_more_lines_than_rows_are_allowed_are_refused_before_they_are_cut() -> None:
    with pytest.raises(BodyError, match="at most 10"):
        FORM.question(b"\n" * 100, READER, 10)
    assert FORM.question((ROW + b"\n\n") * 10, READER, 10).rows == 10
