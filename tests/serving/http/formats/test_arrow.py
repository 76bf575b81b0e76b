from __future__ import annotations

import resource
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pretended import homes, pretended
from thalweg.serving.http.formats import arrow
from thalweg.serving.http.formats.arrow import ArrowStream
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
FORM = ArrowStream()
CELLS: dict[str, Any] = {
    "size": 80.5,
    "rooms": 3,
    "town": "Ulm",
    "zone": 5,
    "garden": "yes",
    "day": "2024-03-01",
    "price": 300.0,
}


def stream(table: pa.Table, compression: str | None = None, pieces: int = 1) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        for batch in table.to_batches(max_chunksize=-(-len(table) // pieces)):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def table(rows: int = 4, **changes: Any) -> pa.Table:
    cells = {name: [cell] * rows for name, cell in CELLS.items()}
    return pa.table(cells | changes)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_compressed_stream_in_pieces_is_read(compression: str) -> None:
    question = FORM.question(stream(table(100), compression, 3), READER)
    wanted = READER.table(table(100))
    assert question.rows == 100
    for name, array in wanted.feed.inputs.items():
        np.testing.assert_array_equal(question.feed.inputs[name], array)
    assert not question.warnings


def test_the_answer_says_who_answers_and_has_no_column_without_need() -> None:
    question = FORM.question(stream(table()), READER)
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    with pa.ipc.open_stream(FORM.answer(found)) as answers:
        told = answers.read_all()
    assert told.schema.names == ["prediction", "probability_quickly", "probability_slowly"]
    assert told.schema.metadata == {b"model": b"homes", b"version": b"0123456789ab"}


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_what_would_unpack_to_more_than_memory_holds_is_refused(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = stream(table(200_000, size=np.zeros(200_000)), compression)
    assert len(body) < 3_000_000
    FORM.question(body, READER, 200_000)
    monkeypatch.setattr(arrow, "MOST_BYTES", 1 << 20)
    with pytest.raises(BodyError, match="1 MiB once it is unpacked") as caught:
        FORM.question(body, READER, 200_000)
    assert caught.value.status == 413


@pytest.mark.parametrize("kind", ["dictionary", "view", "dictionary of views"])
def test_one_long_value_that_is_shown_many_times_is_refused(kind: str) -> None:
    rows, long = 10_000, "x" * 100_000
    if kind == "view":
        few = pa.array([long], pa.string_view())
        views = np.tile(np.frombuffer(few.buffers()[1], np.uint8)[:16], rows)
        buffers = [None, pa.py_buffer(views), *few.buffers()[2:]]
        towns = pa.Array.from_buffers(pa.string_view(), rows, buffers)
    else:
        values = pa.array([long], pa.string_view() if "views" in kind else pa.string())
        towns = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), values)
    body = stream(table(rows, town=towns))
    assert len(body) < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BodyError, match="more than 256 MiB"):
        FORM.question(body, READER)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def views(long: str, times: int) -> pa.Array:
    """Show one long text many times."""
    few = pa.array([long], pa.string_view())
    shown = np.tile(np.frombuffer(few.buffers()[1], np.uint8)[:16], times)
    buffers = [None, pa.py_buffer(shown), *few.buffers()[2:]]
    return pa.Array.from_buffers(pa.string_view(), times, buffers)


def codes(long: str | bytes, times: int) -> pa.Array:
    """Show one long value many times by its number."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int8)), pa.array([long]))


def lists(items: pa.Array) -> pa.Array:
    """Hold each item in a list of its own."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(items) + 1, dtype=np.int32)), items)


def opaque(cells: pa.Array) -> pa.Array:
    """Call cells what only Arrow's own extension types say."""
    return pa.ExtensionArray.from_storage(pa.opaque(cells.type, "any", "one"), cells)


@pytest.mark.parametrize(
    "cells",
    [
        lists(views("x" * 1_000_000, 800)),
        lists(lists(views("x" * 1_000_000, 800))),
        pa.FixedSizeListArray.from_arrays(views("x" * 1_000_000, 800), 2),
        lists(codes("x" * 1_000_000, 800)),
        lists(codes(b"x" * 1_000_000, 800)),
        codes(b"x" * 1_000_000, 800),
        opaque(views("x" * 1_000_000, 800)),
        opaque(codes("x" * 1_000_000, 800)),
        opaque(lists(views("x" * 1_000_000, 800))),
        pa.ListArray.from_arrays([0, 8_000_000], pa.nulls(8_000_000)),
    ],
    ids=[
        "views in lists",
        "views in lists in lists",
        "views in lists of one length",
        "dictionary in lists",
        "bytes in a dictionary in lists",
        "bytes in a dictionary",
        "views in an extension",
        "dictionary in an extension",
        "views in lists in an extension",
        "nulls in a list",
    ],
)
def test_what_lists_and_extensions_show_is_summed_up(cells: pa.Array) -> None:
    body = stream(pa.table({"town": cells}))
    assert len(body) < 1_100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BodyError, match="a column of more than 256 MiB") as caught:
        FORM.question(body, READER)
    assert caught.value.status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_what_columns_show_together_is_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given = table(100, town=views("x" * 6_000, 100), zone=codes("y" * 6_000, 100))
    FORM.question(stream(given), READER)
    monkeypatch.setattr(arrow, "MOST_BYTES", 1 << 20)
    with pytest.raises(BodyError, match="columns of more than 1 MiB"):
        FORM.question(stream(given), READER)


@pytest.mark.parametrize("length", [-(2**31), -1])
def test_a_null_of_negative_length_is_refused(length: int) -> None:
    few = pa.array(["Ulm", "Rom", None, "Köln"], pa.string_view())
    shown = np.frombuffer(few.buffers()[1], np.int32)[:16].copy()
    shown[8] = length
    buffers = [few.buffers()[0], pa.py_buffer(shown), *few.buffers()[2:]]
    towns = pa.Array.from_buffers(pa.string_view(), 4, buffers)
    wild = pa.DictionaryArray.from_arrays(pa.array([0, 1, 3, 3], pa.int8()), towns)
    for cells in (towns, wild, lists(towns)):
        with pytest.raises(BodyError, match="negative length"):
            FORM.question(stream(table(town=cells)), READER)


@pytest.mark.parametrize(
    ("column", "cells", "plain"),
    [
        ("rooms", pa.array([1, 2, None, 4], pa.time32("s")), [1, 2, None, 4]),
        ("rooms", pa.array([1, 2, None, 4], pa.time64("us")), [1e-6, 2e-6, None, 4e-6]),
        ("rooms", pa.array([1, 2, None, 4], pa.duration("ms")), [1e-3, 2e-3, None, 4e-3]),
        ("rooms", opaque(pa.array(["1", "2", None, "4"])), [1, 2, None, 4]),
        ("rooms", opaque(pa.array(["1", "2", None, "4"], pa.string_view())), [1, 2, None, 4]),
        (
            "garden",
            pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None, 1], pa.int8())),
            [1, 0, None, 1],
        ),
        (
            "town",
            pa.ExtensionArray.from_storage(pa.json_(), pa.array(["Ulm", "Rom", None, "Köln"])),
            ["Ulm", "Rom", None, "Köln"],
        ),
    ],
    ids=["time32", "time64", "duration", "opaque", "opaque views", "bool8", "json"],
)
def test_times_spans_and_extensions_mean_what_they_are_stored_as(
    column: str, cells: pa.Array, plain: list[Any]
) -> None:
    question = FORM.question(stream(table(**{column: cells})), READER)
    changes: dict[str, Any] = {column: plain}
    wanted = READER.table(table(**changes))
    for name, array in wanted.feed.inputs.items():
        np.testing.assert_array_equal(question.feed.inputs[name], array)
    assert dict(question.warnings) == dict(wanted.warnings)


@pytest.mark.parametrize(
    "tags",
    [
        lists(pa.array(["red", "big", "red"], pa.string_view())),
        lists(pa.array(["red", "big", "red"]).dictionary_encode()),
        pa.FixedSizeListArray.from_arrays(pa.array(["red", "big", "red"], pa.string_view()), 1),
        lists(pa.array(["red", "big", "red"], pa.string_view())).cast(
            pa.large_list(pa.string_view())
        ),
    ],
    ids=["views", "dictionary", "one length", "large"],
)
def test_lists_of_views_and_of_dictionaries_mean_lists_of_texts(tags: pa.Array) -> None:
    random = np.random.default_rng(0)
    labels = [["red", "big"][: i % 3] for i in range(50)]
    model = pretended(pa.table({"tags": labels, "price": random.random(50)}), "price")
    reader = Reader(model)  # type: ignore[arg-type]
    question = FORM.question(stream(pa.table({"tags": tags})), reader)
    wanted = reader.table(pa.table({"tags": [["red"], ["big"], ["red"]]}))
    for name, array in wanted.feed.inputs.items():
        np.testing.assert_array_equal(question.feed.inputs[name], array)
    nothing = FORM.question(stream(pa.table({"tags": lists(pa.nulls(3))})), reader)
    assert not nothing.errors


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_what_stands_after_the_end_of_a_stream_is_refused(compression: str | None) -> None:
    whole = stream(table(), compression)
    for rest in (b"x", whole, bytes(8)):
        with pytest.raises(BodyError, match=f"{len(rest):,} bytes after the end of the") as caught:
            FORM.question(whole + rest, READER)
        assert caught.value.status == 400
    assert FORM.question(whole[:-8], READER).rows == 4  # the mark of the end may be left out


@pytest.mark.parametrize(
    "towns",
    [
        pa.array(["Ulm", "Rom", None, "Köln"], pa.string_view()),
        pa.array(["Ulm", "Rom", None, "Köln"]).dictionary_encode(),
        pa.array(["Ulm", "Rom", None, "Köln"], pa.large_string()).dictionary_encode(),
        pa.array(["x", "Ulm", "Rom", None, "Köln"], pa.string_view())[1:],
    ],
    ids=["view", "dictionary", "large", "slice"],
)
def test_views_and_dictionaries_mean_what_texts_mean(towns: pa.Array) -> None:
    question = FORM.question(stream(table(town=towns)), READER)
    wanted = READER.table(table(town=["Ulm", "Rom", None, "Köln"]))
    for name, array in wanted.feed.inputs.items():
        assert question.feed.inputs[name].tolist() == array.tolist()
    assert dict(question.warnings) == dict(wanted.warnings)


def test_rows_that_take_no_bytes_are_counted_before_they_are_read() -> None:
    nothing = pa.table({"size": pa.nulls(10_000_000)})
    with pytest.raises(BodyError, match="10,000,000 rows"):
        FORM.question(stream(nothing), READER)


@pytest.mark.parametrize(
    "cells",
    [
        pa.FixedSizeListArray.from_arrays(pa.nulls(4_000_000), 1_000_000),
        pa.array([{"a": 1}] * 4),
        pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int8())),
        pa.UnionArray.from_dense(
            pa.array([0] * 4, pa.int8()), pa.array([0] * 4, pa.int32()), [pa.array([1])]
        ),
        pa.RunEndEncodedArray.from_arrays(pa.array([4], pa.int32()), pa.array([1.0])),
        pa.DictionaryArray.from_arrays(pa.array([0] * 4), pa.array([[1]])),
        pa.array([[1]] * 4, pa.list_view(pa.int8())),
    ],
    ids=["lists of nothing", "record", "map", "union", "runs", "dictionary of lists", "list view"],
)
def test_columns_of_other_types_are_refused(cells: pa.Array) -> None:
    with pytest.raises(BodyError, match="'size'") as caught:
        FORM.question(stream(table(size=cells)), READER)
    assert caught.value.status == 422


def test_lists_of_many_bits_are_refused_before_they_become_numbers() -> None:
    random = np.random.default_rng(0)
    learned = pa.table({"place": random.normal(size=(50, 3)).tolist(), "price": random.random(50)})
    model = pretended(learned, "price")
    bits = pa.array(np.zeros(40_000_000, dtype=bool))
    places = pa.FixedSizeListArray.from_arrays(bits, 10_000_000)
    with pytest.raises(BodyError, match="more than 256 MiB"):
        FORM.question(stream(pa.table({"place": places})), Reader(model))  # type: ignore[arg-type]
    nothing = pa.FixedSizeListArray.from_arrays(pa.nulls(8_000_000), 1_000_000)
    with pytest.raises(BodyError, match="more than 256 MiB"):
        FORM.question(stream(pa.table({"place": nothing})), Reader(model))  # type: ignore[arg-type]


def test_columns_that_nobody_reads_are_not_looked_at() -> None:
    question = FORM.question(stream(table(note=[[1], [2], [3], [4]])), READER)
    assert question.rows == 4
    assert not question.warnings


def test_no_text_that_is_not_utf8_and_no_offset_that_leads_elsewhere_is_read() -> None:
    whole = stream(table(town=["Ulm-" * 10] * 4))
    with pytest.raises(BodyError, match="no Arrow stream"):
        FORM.question(whole.replace(b"Ulm-Ulm-", b"Ulm\xffUlm-"), READER)
    offsets = np.arange(5, dtype=np.int32) * 40
    wild = np.array([0, 40, 2**31 - 1, 120, 160], dtype=np.int32)
    assert offsets.tobytes() in whole
    with pytest.raises(BodyError, match="no Arrow stream"):
        FORM.question(whole.replace(offsets.tobytes(), wild.tobytes()), READER)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("seed", range(3))
def test_streams_that_lie_end_in_an_error_of_one_line(compression: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    towns = pa.array(["Ulm", "Rom", None, "Köln"] * 5)
    mixed = table(20, town=towns.dictionary_encode(), day=pa.array(["a"] * 20, pa.string_view()))
    body = np.frombuffer(stream(mixed, compression, 2), np.uint8)
    refused: list[str] = []
    for _ in range(500):
        bad = body.copy()
        if random.random() < 0.5:  # a number of 8 bytes, where lengths and offsets stand
            at = 8 * random.integers(0, len(bad) // 8)
            value = random.choice([2**62, -1, -(2**63), 2**31, 2**40, 7])
            bad[at : at + 8] = np.frombuffer(np.int64(value).tobytes(), np.uint8)[: len(bad) - at]
        else:
            places = random.integers(0, len(bad), 3)
            bad[places] = random.integers(0, 256, 3, dtype=np.uint8)
        try:
            FORM.question(bad.tobytes(), READER)
        except BodyError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not any("\n" in one for one in refused)
