from __future__ import annotations

import base64
import json
import string
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiled_models import pair
from pretended import Pretended, homes, pretended
from thalweg.models.compiled import Feed
from thalweg.serving.http import reading
from thalweg.serving.http.question import Question
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError
from thalweg.serving.http.remarks import MOST_NAMED, shown
from thalweg.sources import open_source

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
CAREFUL = homes()
CAREFUL.quickly = False
ROW = {
    "size": 80.5,
    "rooms": 3,
    "town": "Ulm",
    "zone": 5,
    "garden": "yes",
    "day": "2024-03-01",
    "price": 300.0,
}


def ask(*rows: object, model: Pretended = MODEL) -> Question:
    return Reader(model).rows(rows)  # type: ignore[arg-type]


def same(one: Feed, other: Feed) -> None:
    """Check that two feeds are equal in every bit, and in what could not be read."""
    assert one.rows == other.rows
    assert one.inputs.keys() == other.inputs.keys()
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype, name
        if array.dtype == object:
            assert array.tolist() == other.inputs[name].tolist(), name
        else:
            np.testing.assert_array_equal(array, other.inputs[name], err_msg=name)
    for mine, theirs in ((one.unreadable, other.unreadable), (one.refused, other.refused)):
        there = {name: mask.tolist() for name, mask in mine.items() if mask.any()}
        assert there == {name: mask.tolist() for name, mask in theirs.items() if mask.any()}
    assert one.dropped.tolist() == other.dropped.tolist()


def first(feed: Feed, row: int) -> Feed:
    """Give one row of a feed."""
    at = slice(row, row + 1)
    return Feed(
        {name: array[at] for name, array in feed.inputs.items()},
        1,
        feed.dropped[at],
        {name: mask[at] for name, mask in feed.unreadable.items()},
        {name: mask[at] for name, mask in feed.refused.items()},
    )


# ---- what is amiss about a row is told at that row ---------------------------------------------


def test_a_plain_row_has_nothing_to_tell_and_takes_the_quick_way() -> None:
    before = MODEL.asked
    question = ask(ROW, ROW)
    assert (question.rows, question.places, dict(question.errors)) == (2, None, {})
    assert not question.warnings
    assert MODEL.asked == before


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"sise": 3}, "column 'sise' is not known to the model"),
        ({"town": "Rom"}, "column 'town': 'Rom' was never, or hardly ever, seen in training"),
        ({"zone": 4}, "column 'zone': 4 was never, or hardly ever, seen in training"),
        ({"size": "abc"}, "column 'size': 'abc' cannot be read; taken as missing"),
        ({"garden": "maybe"}, "column 'garden': 'maybe' cannot be read; taken as missing"),
        ({"day": "soon"}, "column 'day': 'soon' cannot be read; taken as missing"),
    ],
)
def test_what_the_model_can_cope_with_is_a_warning(change: dict[str, Any], warning: str) -> None:
    question = ask(ROW, {**ROW, **change})
    assert dict(question.warnings) == {1: (warning,)}
    assert not question.errors
    assert question.feed.rows == 2


@pytest.mark.parametrize(
    "change",
    [
        {"size": None, "town": None, "garden": None, "day": None, "zone": None},
        {"size": "", "town": "", "garden": "", "day": "", "zone": ""},
        {"size": "n/a", "town": "?"},
        {"size": "80.5", "rooms": "3", "zone": "5"},
        {"sold": "quickly", "note": 3},
    ],
    ids=["null", "empty", "words for missing", "numbers as text", "target and ignored"],
)
def test_what_means_nothing_new_is_no_warning(change: dict[str, Any]) -> None:
    assert not ask({**ROW, **change}).warnings


def test_a_missing_column_is_taken_as_missing_and_a_near_name_is_told() -> None:
    row = {name: cell for name, cell in ROW.items() if name != "size"}
    question = ask({**row, "sise": 80})
    assert dict(question.warnings) == {
        0: (
            "column 'sise' is not known to the model; did you mean 'size'?",
            "column 'size' is missing",
        )
    }
    same(question.feed, ask({**ROW, "size": None}).feed)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (3, "a number; expected an object"),
        (None, "null; expected an object"),
        ([ROW], "a list; expected an object"),
        ({**ROW, "size": [1]}, "column 'size' holds a list; expected one flat value"),
        ({**ROW, "town": {"a": 1}}, "column 'town' holds an object; expected one flat value"),
        ({**ROW, "town": "\ud800"}, "column 'town' holds half a character"),
    ],
)
def test_what_is_no_row_is_an_error_of_that_row_alone(row: object, error: str) -> None:
    question = ask(ROW, row, {**ROW, "town": "Rom"})
    assert [*question.errors] == [1]
    assert question.errors[1].startswith(error)
    assert question.places is not None
    assert question.places.tolist() == [0, 2]
    assert [*question.warnings] == [2]
    same(question.feed, ask(ROW, {**ROW, "town": "Rom"}).feed)


def test_where_all_rows_are_wrong_nothing_is_asked() -> None:
    question = ask(1, {**ROW, "size": {}})
    assert len(question.errors) == question.rows == 2
    assert question.feed.rows == 0


def test_a_request_without_rows_is_refused() -> None:
    with pytest.raises(BodyError, match="without rows") as caught:
        ask()
    assert caught.value.status == 422


def test_a_cell_is_quoted_but_not_at_length() -> None:
    (told,) = ask({**ROW, "size": "x" * 1000}).warnings[0]
    assert told.count("x") < 40
    (told,) = ask({**ROW, "zone": 10**3000}).warnings[0]
    assert len(told) < 120


def test_names_that_nobody_knows_are_counted_after_the_first_few() -> None:
    told = ask({**ROW, **{f"other{i}": i for i in range(1000)}}).warnings[0]
    assert len(told) == MOST_NAMED + 1
    assert told[-1] == f"{1000 - MOST_NAMED} more columns are not known to the model"


def test_many_unknown_names_take_no_time() -> None:
    rows = [{**ROW, f"{'x' * 300}{i}": 1} for i in range(3000)]
    question = ask(*rows)
    assert len(question.warnings) == 3000
    assert all(len(one) < 120 for told in question.warnings.values() for one in told)


def test_more_mixtures_of_types_than_anybody_sends_are_errors_of_their_rows() -> None:
    kinds: list[Any] = [1, "1", True, 2**60, 2**70]
    random = np.random.default_rng(0)
    names = [*ROW]
    drawn = random.integers(0, 5, (300, 7)).tolist()
    rows = [{name: kinds[i] for name, i in zip(names, row, strict=True)} for row in drawn]
    question = ask(*rows, model=CAREFUL)
    assert question.errors
    assert all("mixtures" in why for why in question.errors.values())
    assert question.places is not None
    assert len(question.places) + len(question.errors) == 300
    for at, place in enumerate(question.places.tolist()[:20]):
        same(first(question.feed, at), ask(rows[place], model=CAREFUL).feed)


# ---- law 1: the same cell means the same as in a file ------------------------------------------

WORDS = """Ulm| Ulm |ulm|Rom||n/a|?|yes|NO|t|3|3.0|005|1e3|-7,5|80.25|inf|nan|true|20240301|
2024-03-01|2024-03-01T10:00:00Z|01.02.2024|a\0b|\0|☃☃☃"""
words = st.sampled_from(WORDS.split("|"))
cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.sampled_from([2**31, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 10**25]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([3.0, 5.0, 900.0, 0.1, -0.0, 1e22, 1e300]),
    words,
    st.text(string.printable, max_size=6),
)
rows_of_cells = st.lists(
    st.dictionaries(st.sampled_from([*ROW, "sold", "other"]), cells), min_size=1, max_size=6
)


@settings(max_examples=120)
@given(rows_of_cells)
def test_the_quick_way_and_the_careful_way_say_the_same(rows: list[dict[str, Any]]) -> None:
    quick, careful = ask(*rows), ask(*rows, model=CAREFUL)
    same(quick.feed, careful.feed)
    assert dict(quick.warnings) == dict(careful.warnings)
    assert dict(quick.errors) == dict(careful.errors)


@settings(max_examples=80)
@given(rows_of_cells)
def test_a_row_means_the_same_whatever_rows_stand_around_it(rows: list[dict[str, Any]]) -> None:
    together = ask(*rows, model=CAREFUL)
    for place, row in enumerate(rows):
        alone = ask(row, model=CAREFUL)
        same(first(together.feed, place), alone.feed)
        assert together.warnings.get(place, ()) == alone.warnings.get(0, ())


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*ROW]), cells, min_size=1))
def test_a_row_means_the_same_as_in_a_file_of_one_line(row: dict[str, Any]) -> None:
    path = Path("row.ndjson")
    path.write_text(json.dumps(row) + "\n")
    source = open_source(path)
    there = source.schema().names
    (batch,) = source.batches([name for name in MODEL.columns if name in there], 10)
    table = pa.Table.from_batches([batch.rows])
    for name in MODEL.columns:
        if name not in there:
            table = table.append_column(name, pa.nulls(1))
    same(ask(row).feed, MODEL.feed(table))


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("name", ["sold", "wide"])
def test_an_answer_over_http_is_that_of_predict_on_a_file(name: str) -> None:
    model, compiled = pair(name)
    row = {"x": 0.5, "z": "1.5", "count": 3, "town": "Ulm", "open": True, "when": "2024-03-01"}
    row |= {"text": "a few words, and more", "set": "a", "vector": "[1, 2, 3, 4, 5, 6]"}
    row |= {"image": None}
    row = {name: cell for name, cell in row.items() if name in compiled.columns}
    changes: list[dict[str, Any]] = [
        {},
        {"town": "Rom", "text": "ß\0☃"},
        {"x": "80,5", "z": 5, "text": 5},
        {"when": None, "open": "yes"},
        {"when": "01.02.2024", "z": 1e300},
        {"town": "a\0b", "x": 2**70},
        {"town": "", "open": "maybe", "text": ""},
        {"count": None, "text": None},
    ]
    rows = [{k: change.get(k, cell) for k, cell in row.items()} for change in changes]
    for some in (rows[:1], rows, rows[:1] * 3):
        question = Reader(compiled).rows(some)
        found = answer("some", compiled, question, compiled.run(question.feed.inputs))
        for place, one in enumerate(some):
            Path("row.ndjson").write_text(json.dumps(one) + "\n")
            (batch,) = open_source(Path("row.ndjson")).batches(None, 10)
            wanted = model.predict(batch.rows)
            assert (place in found.errors) == wanted.dropped[0]
            mine, theirs = found.columns.to_pylist()[place], wanted.columns.to_pylist()[0]
            assert mine["prediction"] == theirs["prediction"]
            assert mine["probability_yes"] == pytest.approx(theirs["probability_yes"], abs=1e-5)
            unreadable = {name for name, mask in wanted.unreadable.items() if mask[0]}
            told = " ".join(question.warnings.get(place, ()))
            assert unreadable == {name for name in row if f"{name!r}" in told and "read" in told}


# ---- tables ----------------------------------------------------------------------------------


def table(**changes: Any) -> pa.Table:
    return pa.table({name: changes.get(name, [cell] * 2) for name, cell in ROW.items()} | changes)


def test_a_table_means_what_rows_mean() -> None:
    rows = [ROW, {**ROW, "town": "Rom", "size": None}]
    question = READER.table(pa.Table.from_pylist(rows))
    same(question.feed, ask(*rows).feed)
    assert dict(question.warnings) == dict(ask(*rows).warnings)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("town", pa.dictionary(pa.int8(), pa.string())),
        ("town", pa.large_string()),
        ("size", pa.float16()),
        ("size", pa.float32()),
        ("rooms", pa.uint8()),
        ("zone", pa.int64()),
        ("day", pa.date32()),
    ],
)
def test_a_table_may_hold_a_column_in_another_type(column: str, kind: pa.DataType) -> None:
    given = table()
    place = given.schema.get_field_index(column)
    cells = given.column(column)
    cells = cells.cast(pa.timestamp("us")).cast(kind) if column == "day" else cells.cast(kind)
    question = READER.table(given.set_column(place, column, cells))
    same(question.feed, ask(ROW, ROW).feed)


def test_a_table_without_a_column_and_with_another_is_answered_with_warnings() -> None:
    question = READER.table(table().drop_columns(["size"]).append_column("sise", pa.array([1, 2])))
    told = (
        "column 'sise' is not known to the model; did you mean 'size'?",
        "column 'size' is missing",
    )
    assert dict(question.warnings) == {0: told, 1: told}


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([[1.0], [2.0]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"a", b"\xff"]),
        pa.array([b"ab", b"cd"], pa.binary(2)),
        pa.array([[(1, 2)], []], pa.map_(pa.int8(), pa.int8())),
    ],
    ids=["list", "record", "bytes", "bytes of one length", "map"],
)
def test_a_column_that_can_never_be_right_is_refused(cells: pa.Array) -> None:
    with pytest.raises(BodyError, match="'size'") as caught:
        READER.table(table(size=cells))
    assert caught.value.status == 422


def test_a_table_of_other_columns_is_refused_as_such_rows_are() -> None:
    question = Reader(MODEL).table(pa.table({"nobody": [1, 2]}))  # type: ignore[arg-type]
    assert question.errors == ask({"nobody": 1}, {"nobody": 2}).errors
    assert [*question.errors] == [0, 1]


@pytest.mark.parametrize(
    ("cells", "quoted"),
    [
        (pa.array([2**62] * 2).view(pa.timestamp("s")), "<value out of range: 46116860184273879…"),
        (
            pa.array([2**31 - 1] * 2, pa.int32()).view(pa.date32()),
            "<value out of range: 2147483647>'",
        ),
        (pa.array([1] * 2).view(pa.timestamp("s", "Mars/Base")), "1970-01-01 00:00:01Z'"),
        (pa.array([1] * 2).view(pa.timestamp("s", "Europe/Berlin")), "1970-01-01 00:00:01Z'"),
        (
            pa.array([1709251200123456789] * 2).view(pa.timestamp("ns")),
            "2024-03-01 00:00:00.123456789'",
        ),
        (pa.array([1] * 2, pa.timestamp("s")).dictionary_encode(), "1970-01-01 00:00:01'"),
        (pa.array([1] * 2, pa.time32("s")), "00:00:01'"),
        (pa.array([Decimal("1.50")] * 2), "1.50'"),
        (pa.array([Decimal("1.50")] * 2, pa.decimal32(5, 2)), "1.50'"),
        (pa.array([Decimal("1.50")] * 2, pa.decimal64(5, 2)), "1.50'"),
    ],
)
def test_cells_that_python_may_not_hold_are_quoted(cells: pa.Array, quoted: str) -> None:
    question = READER.table(table(town=cells))
    assert not question.errors
    told = f"column 'town': '{quoted} was never, or hardly ever, seen in training"
    assert dict(question.warnings) == {0: (told,), 1: (told,)}


def test_a_list_of_such_cells_is_quoted(shop: Pretended) -> None:
    places = pa.array([[2**62, None]] * 2).cast(pa.list_(pa.timestamp("s")))
    question = Reader(shop).table(pa.table({"place": places}))  # type: ignore[arg-type]
    assert question.warnings[0][0].startswith("column 'place': ['<value out of range: 461168601842")


def test_what_has_no_text_is_quoted_all_the_same() -> None:
    interval = pa.scalar((1, 2, 3), pa.month_day_nano_interval())
    assert shown(interval) == "what has no text"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(1)])
def test_lists_of_bytes_are_no_pictures(shop: Pretended, kind: pa.DataType) -> None:
    given = pa.table({"photo": pa.array([[b"a"]], pa.list_(kind))})
    with pytest.raises(BodyError, match="column 'photo' holds list<item: ") as caught:
        Reader(shop).table(given)  # type: ignore[arg-type]
    assert caught.value.status == 422
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pa.decimal32(5, 2), pa.decimal64(5, 2)])
def test_sets_of_narrow_decimals_are_read(shop: Pretended, kind: pa.DataType) -> None:
    tags = [[Decimal("1.50")], []]
    asked = Reader(shop)  # type: ignore[arg-type]
    question = asked.table(pa.table({"tags": pa.array(tags, pa.list_(kind))}))
    same(question.feed, asked.table(pa.table({"tags": [[1.5], []]})).feed)


@pytest.mark.parametrize("column", ["town", "garden"])
@pytest.mark.parametrize(
    "cells",
    [
        pa.array([Decimal("1.00"), None], pa.decimal32(5, 2)),
        pa.array([Decimal("1.00"), None], pa.decimal64(5, 2)),
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", None])),
    ],
    ids=["decimal32", "decimal64", "bool8", "json"],
)
def test_odd_types_mean_the_same_in_process(column: str, cells: pa.Array) -> None:
    given = table(**{column: cells})
    same(READER.table(given).feed, MODEL.feed(given))


def test_sets_of_odd_types_mean_the_same_in_process(shop: Pretended) -> None:
    tags = pa.array([Decimal("1.50"), None], pa.decimal32(5, 2))
    for cells in (tags, pa.ListArray.from_arrays([0, 1, 2], tags)):
        given = pa.table({"tags": cells, "place": pa.nulls(2), "photo": pa.nulls(2)})
        same(Reader(shop).table(given).feed, shop.feed(given))  # type: ignore[arg-type]


def test_a_table_with_two_columns_of_one_name_is_refused() -> None:
    given = table().append_column("size", pa.array([1, 2]))
    with pytest.raises(BodyError, match="'size' is there twice"):
        READER.table(given)


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(BodyError, match="without rows"):
        Reader(MODEL).table(table().slice(0, 0))  # type: ignore[arg-type]


# ---- kinds that no graph reads as they come ----------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Pretended:
    """Pretend a model of vectors, sets, texts and pictures."""
    pillow = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    rows = 60
    pictures = []
    for _ in range(rows):
        pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        path = Path(f"{len(pictures)}.png")
        pillow.fromarray(pixels).save(path)
        pictures.append(path.read_bytes())
        path.unlink()
    given = pa.table(
        {
            "place": pa.array(random.normal(size=(rows, 3)).tolist()),
            "tags": pa.array([["red", "big"][: i % 3] for i in range(rows)]),
            "photo": pa.array(pictures),
            "price": random.normal(size=rows),
        }
    )
    return pretended(given, "price")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GOODS = {"place": [1, 2.5, 3], "tags": ["red"], "photo": base64.b64encode(PNG).decode()}


def test_lists_and_pictures_are_read(shop: Pretended) -> None:
    question = ask(GOODS, {**GOODS, "photo": "data:image/png;base64," + GOODS["photo"]}, model=shop)  # type: ignore[operator]
    assert not question.errors
    assert not question.warnings
    same(first(question.feed, 0), first(question.feed, 1))
    whole = pa.table({"place": [[1, 2.5, 3]], "tags": [["red"]], "photo": [PNG]})
    same(first(question.feed, 0), shop.feed(whole))


@pytest.mark.parametrize("path", ["/etc/passwd.png", "../cat.jpg", "cat.png", "C:\\cat.png"])
def test_a_text_that_names_a_file_is_an_error_of_that_row(shop: Pretended, path: str) -> None:
    question = ask(GOODS, {**GOODS, "photo": path}, model=shop)
    assert [*question.errors] == [1]
    assert "no file of the server is read" in question.errors[1]


def test_a_table_that_names_files_has_errors_at_these_rows(shop: Pretended) -> None:
    rows = [{**GOODS, "photo": path} for path in ("a/cat.png", GOODS["photo"], None)]
    question = Reader(shop).table(pa.Table.from_pylist(rows))  # type: ignore[arg-type]
    assert [*question.errors] == [0]
    same(first(question.feed, 1), ask(GOODS, model=shop).feed)


def test_a_broken_picture_is_an_error_of_that_row(shop: Pretended) -> None:
    broken = base64.b64encode(PNG[:30]).decode()
    question = ask(GOODS, {**GOODS, "photo": broken}, model=shop)
    assert [*question.errors] == [1]
    assert question.errors[1].startswith("column 'photo': ")


@pytest.mark.parametrize("photo", [1.5, True, [1]])
def test_what_can_be_no_picture_is_an_error_of_that_row(shop: Pretended, photo: object) -> None:
    question = ask(GOODS, {**GOODS, "photo": photo}, GOODS, model=shop)
    assert [*question.errors] == [1]
    assert "as pictures; expected" in question.errors[1]
    same(first(question.feed, 1), ask(GOODS, model=shop).feed)


def test_rows_that_would_take_too_much_memory_are_refused(
    shop: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_FED", 1000)
    with pytest.raises(
        BodyError, match=r"5 rows of 211 bytes each, .*; expected at most 4"
    ) as caught:
        ask(*[{"place": None}] * 5, model=shop)
    assert caught.value.status == 413
    with pytest.raises(BodyError, match="5 rows of 211 bytes each"):
        Reader(shop).table(pa.table({"place": pa.nulls(5)}))  # type: ignore[arg-type]
    assert ask(*[GOODS] * 4, model=shop).feed.rows == 4


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"place": [1, "a"]}, "a list of several kinds of values"),
        ({"place": [{"a": 1}]}, "a list of objects"),
        ({"place": [[[[[[1]]]]]]}, "lists more than 4 deep"),
        ({"tags": ["\ud800"]}, "a list of several kinds of values"),
        ({"place": {"a": 1}}, "an object; expected a list or one flat value"),
    ],
)
def test_a_list_that_is_none_is_an_error_of_that_row(
    shop: Pretended, change: dict[str, Any], error: str
) -> None:
    question = ask(GOODS, {**GOODS, **change}, GOODS, model=shop)
    assert [*question.errors] == [1]
    assert error in question.errors[1]
    assert question.feed.rows == 2


@pytest.mark.parametrize(
    "change",
    [{"tags": [1]}, {"tags": "red"}, {"tags": []}, {"place": "[1, 2.5, 3]"}, {"tags": None}],
)
def test_mixed_lists_mean_what_each_means_alone(shop: Pretended, change: dict[str, Any]) -> None:
    together = ask(GOODS, {**GOODS, **change}, GOODS, model=shop)
    assert not together.errors
    same(first(together.feed, 0), ask(GOODS, model=shop).feed)
    same(first(together.feed, 1), ask({**GOODS, **change}, model=shop).feed)
    same(first(together.feed, 2), ask(GOODS, model=shop).feed)


# ---- answers ---------------------------------------------------------------------------------


def test_rows_that_a_cleaning_option_sets_aside_are_errors_with_the_reason() -> None:
    question = ask(ROW, 3, ROW)
    run = MODEL.run(question.feed.inputs)
    run.dropped[1] = True
    found = answer("homes", MODEL, question, run)  # type: ignore[arg-type]
    assert found.columns.column("prediction").to_pylist()[1] is None
    assert found.errors[2] == "set aside by a cleaning option"
    assert [*sorted(found.errors)] == [1, 2]
