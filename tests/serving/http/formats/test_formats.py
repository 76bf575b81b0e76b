"""What every format keeps, whichever there are: this file names none."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from pretended import Pretended, homes
from thalweg.lab.contributions import Contributions
from thalweg.models.compiled import Run
from thalweg.serving.http.formats import FORMATS, format_sent, format_wanted
from thalweg.serving.http.formats.base import Format
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
ROW = {
    "size": 80.5,
    "rooms": 3,
    "town": "Ulm",
    "zone": 5,
    "garden": "yes",
    "day": "2024-03-01",
    "price": 300.0,
}
ROWS = [ROW, {**ROW, "town": "Rom", "size": None}, {**ROW, "rooms": 4}]

every_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def written(form: Format, rows: list[dict[str, Any]]) -> bytes:
    """Write rows as a client would, by the format's media type alone."""
    kind = form.media_types[0]
    if "arrow" in kind:
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return bytes(sink.getvalue())
    if "nd" in kind:
        return b"\n".join(map(orjson.dumps, rows))
    return orjson.dumps(rows)


def read(form: Format, body: bytes) -> list[dict[str, Any]]:
    """Read an answer as a client would: a row for each row, without what is null."""
    kind = form.media_types[0]
    if "arrow" in kind:
        with pa.ipc.open_stream(body) as stream:
            rows = stream.read_all().to_pylist()
        return [{name: cell for name, cell in row.items() if cell is not None} for row in rows]
    if "nd" in kind:
        return [orjson.loads(line) for line in body.splitlines()]
    found: list[dict[str, Any]] = orjson.loads(body)["predictions"]
    return found


def said(question: Question, model: Pretended = MODEL, **more: Any) -> Answer:
    run: Run = model.run(question.feed.inputs)
    return answer("homes", model, question, run, **more)  # type: ignore[arg-type]


@every_format
def test_rows_are_read_as_the_reader_reads_them(form: Format) -> None:
    question, wanted = form.question(written(form, ROWS), READER), READER.rows(ROWS)
    assert question.rows == 3
    assert question.places is None
    for name, array in wanted.feed.inputs.items():
        np.testing.assert_array_equal(question.feed.inputs[name], array)
    assert dict(question.warnings) == dict(wanted.warnings)
    assert [*question.warnings] == [1]


@every_format
def test_an_answer_has_a_row_for_each_row_with_the_columns_of_predict(form: Format) -> None:
    found = said(form.question(written(form, [ROW, ROW]), READER))
    assert read(form, form.answer(found)) == found.columns.to_pylist()


@every_format
def test_warnings_stand_at_their_rows(form: Format) -> None:
    rows = read(form, form.answer(said(READER.rows(ROWS))))
    assert ["warnings" in row for row in rows] == [False, True, False]
    assert rows[1]["warnings"] == [
        "column 'town': 'Rom' was never, or hardly ever, seen in training"
    ]
    assert rows[1]["prediction"] in {"quickly", "slowly"}


@every_format
def test_errors_stand_at_their_rows_and_nothing_else_does(form: Format) -> None:
    found = said(READER.rows([ROW, 3, ROW, {**ROW, "size": {}, "town": "Rom"}]))
    rows = read(form, form.answer(found))
    assert [[*row] == ["error"] for row in rows] == [False, True, False, True]
    answers = found.columns.to_pylist()
    assert [rows[0], rows[2]] == answers
    assert rows[3]["error"].startswith("column 'size' holds an object")


@every_format
def test_a_row_that_is_set_aside_after_all_has_its_error(form: Format) -> None:
    question = READER.rows([3, ROW, ROW])
    run = MODEL.run(question.feed.inputs)
    run.dropped[0] = True
    rows = read(form, form.answer(answer("homes", MODEL, question, run)))  # type: ignore[arg-type]
    assert [row.get("error") for row in rows][1:] == ["set aside by a cleaning option", None]
    assert [*rows[1]] == ["error"]


@every_format
def test_explanations_are_carried(form: Format) -> None:
    names = tuple(ROW)
    values = np.arange(14.0).reshape(2, 7)
    explained = Contributions(names, values, np.array([0.5, 0.25]), ("prediction", "other"))
    question = READER.rows([ROW, 3, ROW])
    rows = read(form, form.answer(said(question, contributions=explained)))
    assert rows[2]["contributions"] == dict(zip(names, values[1].tolist(), strict=True))
    assert rows[2]["baseline"] == 0.25
    assert rows[2]["explains"] == "other"
    assert [*rows[1]] == ["error"]


@every_format
def test_no_rows_are_refused(form: Format) -> None:
    body = b"[]" if form is FORMATS[0] else b""
    with pytest.raises(BodyError) as caught:
        form.question(body, READER)
    assert caught.value.status in {400, 422}


@every_format
def test_too_many_rows_are_refused(form: Format) -> None:
    with pytest.raises(BodyError, match="at most 2") as caught:
        form.question(written(form, ROWS), READER, most_rows=2)
    assert caught.value.status == 413
    assert form.question(written(form, ROWS), READER, most_rows=3).rows == 3


@every_format
def test_mutated_bodies_give_a_question_or_an_error_in_one_line(form: Format) -> None:
    random = np.random.default_rng(0)
    body = np.frombuffer(written(form, ROWS), np.uint8)
    refused: list[str] = []
    for _ in range(400):
        mutated = body.copy()
        places = random.integers(0, len(body), random.integers(1, 6))
        mutated[places] = random.integers(0, 256, len(places), dtype=np.uint8)
        if random.random() < 0.3:
            mutated = mutated[: random.integers(0, len(body))]
        try:
            question = form.question(mutated.tobytes(), READER)
        except BodyError as error:
            refused.append(str(error))
        else:
            if question.feed.rows:
                form.answer(said(question))
    assert not any("\n" in one or len(one) > 400 for one in refused)


@every_format
def test_a_format_is_found_by_its_media_types(form: Format) -> None:
    for kind in form.media_types:
        assert format_sent(f"{kind.upper()}; charset=utf-8") is form
        assert format_wanted(f"text/html, {kind};q=0.2", FORMATS[0]) is form
    assert format_wanted("*/*", form) is form
    assert format_wanted(None, form) is form
    assert format_wanted("application/*;q=0.1", form) is form


def test_what_is_not_spoken_is_none() -> None:
    assert format_sent("text/csv") is None
    assert format_sent(None) is FORMATS[0]
    assert format_wanted("text/html", FORMATS[0]) is None
    assert format_wanted("application/json;q=0", FORMATS[0]) is None
