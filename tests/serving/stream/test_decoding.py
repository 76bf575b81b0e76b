"""Whatever bytes come, each payload is rows or a refusal, and its neighbours change nothing."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import mutations
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import SourceError
from thalweg.serving.stream.decoding import CHUNK, Decoded, Decoder
from thalweg.serving.stream.layout import ColumnType, infer_types
from thalweg.sources.streams.payloads import payloads_of

TYPES: dict[str, ColumnType] = {
    "event": "whole",
    "city": "text",
    "amount": "number",
    "at": "text",
}
GOOD = mutations.good(3, random.Random(1))


def binary(payloads: Sequence[bytes]) -> pa.Array:
    return pa.array(payloads, pa.large_binary())


def outcomes(decoder: Decoder, payloads: Sequence[bytes]) -> list[Any]:
    """What became of each payload: its rows, or why it was refused; never both, never neither."""
    found = decoder.decode(binary(payloads))
    assert found.rows.schema == decoder.schema
    assert found.rows.num_rows == len(found.places)
    assert (np.diff(found.places) >= 0).all()
    assert list(found.refused) == sorted(found.refused)
    made: list[Any] = [None] * len(payloads)
    for place, why in found.refused.items():
        assert why
        made[place] = why
    for place, row in zip(found.places.tolist(), found.rows.to_pylist(), strict=True):
        assert not isinstance(made[place], str), "in rows and refused"
        made[place] = [*(made[place] or ()), row]
    assert None not in made, "in neither"
    return made


def told_apart(payloads: Sequence[bytes]) -> None:
    """Check a batch as a whole: what is no JSON object is refused, and nothing else is lost."""
    found = Decoder(TYPES, "json").decode(binary(payloads))
    both = np.concatenate([found.places, np.fromiter(found.refused, np.int64)])
    assert sorted(both.tolist()) == list(range(len(payloads)))


def test_mutated_payloads_are_rows_or_refused() -> None:
    payloads = list(mutations.mutated(20_000))
    told_apart(payloads)
    whole = [one for one in outcomes(Decoder(TYPES, "json"), payloads) if not isinstance(one, str)]
    assert 10_000 < len(whole) < 19_000


@pytest.mark.soak
def test_a_million_mutated_payloads() -> None:
    payloads = list(mutations.mutated(1_000_000, seed=5))
    for start in range(0, len(payloads), 50_000):
        told_apart(payloads[start : start + 50_000])


def test_a_good_payload_is_read_as_it_is() -> None:
    chance = random.Random(2)
    payloads = [mutations.good(number, chance) for number in range(2000)]
    found = outcomes(Decoder(TYPES, "json"), payloads)
    assert found == [[json.loads(one)] for one in payloads]


def test_a_good_payload_among_bad_ones_is_read_as_it_is() -> None:
    """In every place of its chunk, and over the bounds of chunks."""
    payloads = [mutations.ODD[number % len(mutations.ODD)][:400] for number in range(3 * CHUNK)]
    places = [*range(0, 3 * CHUNK, 97), CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK]
    for place in places:
        payloads[place] = GOOD
    found = outcomes(Decoder(TYPES, "json"), payloads)
    for place in places:
        assert found[place] == [json.loads(GOOD)]


def test_neighbours_change_nothing() -> None:
    payloads = list(mutations.mutated(500, seed=3))
    decoder = Decoder(TYPES, "json")
    together = outcomes(decoder, payloads)
    for payload, one in zip(payloads, together, strict=True):
        assert outcomes(decoder, [payload]) == [one], payload[:200]


def test_no_pair_of_odd_payloads_passes_for_another() -> None:
    """Such as an empty one beside two objects in one: two lines, two rows, and both wrong."""
    decoder = Decoder(TYPES, "json")
    some = [one for one in mutations.ODD if len(one) < 1000] + [GOOD]
    alone = {payload: outcomes(decoder, [payload])[0] for payload in some}
    apart = [GOOD] * 3
    for first in some:  # all pairs with one first payload in one batch, and each by itself
        batch = [payload for second in some for payload in (first, second)]
        assert outcomes(decoder, batch) == [alone[one] for one in batch]
    doubled = b'{"amount": 1}{"amount": 2}'
    for pair in product([b"", b" ", b"\n"], [doubled, doubled + GOOD]):
        assert all(isinstance(one, str) for one in outcomes(decoder, pair))
        assert outcomes(decoder, [*pair, *apart])[2:] == [[json.loads(GOOD)]] * 3


READ = [
    (b'{"amount": "12"}', 12.0),
    (b'{"amount": " 3.5 "}', 3.5),
    (b'{"amount": -1e308}', -1e308),
    (b'{"amount": 123456789012345678901234567890}', 123456789012345678901234567890.0),
    (b'{"amount": 1} ', 1.0),
    (b'{"amount": "many"}', None),
    (b'{"amount": [1, 2]}', None),
    (b'{"amount": {"a": 1}}', None),
    (b"{}", None),
]


@pytest.mark.parametrize(("payload", "amount"), READ)
def test_what_can_be_read_is(payload: bytes, amount: float | None) -> None:
    (found,) = outcomes(Decoder(TYPES, "json"), [payload])
    assert found == [{"event": None, "city": None, "at": None, "amount": amount}]


REFUSED = {
    b"": "empty",
    b" ": "empty",
    b"null": "no JSON object but a NoneType",
    b"3": "no JSON object but a int",
    b"[]": "no JSON object but a list",
    b'"text"': "no JSON object but a str",
    b"nope": "no JSON",
    b"\xff\xfe": "not UTF-8",
    b'{"amount": 1e400}': "too large",
    b'{"amount": NaN}': "NaN is no JSON",
    b'{"city": "\\ud800", "amount": 1}': "half a character",
    b'{"amount": 1}{"amount": 2}': "no JSON",
    b'{"amount": 01}': "no JSON",
    b'{"amount": 1,}': "no JSON",
}


@pytest.mark.parametrize("payload", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(payload: bytes) -> None:
    assert REFUSED[payload] in outcomes(Decoder(TYPES, "json"), [payload])[0]


def test_what_is_too_large_or_too_deep_stops_nothing() -> None:
    deep = [one for one in mutations.ODD if len(one) > 1000]
    assert len(deep) == 3
    found = outcomes(Decoder(TYPES, "json"), [GOOD, *deep, GOOD])
    assert found[0] == found[-1] == [json.loads(GOOD)]
    assert found[1][0]["city"] == "x" * 200_000
    assert isinstance(found[2], str)
    assert isinstance(found[3], str)


def test_characters_of_two_halves_are_whole() -> None:
    payloads = [
        json.dumps({"city": text}, ensure_ascii=True).encode() for text in ("𝄞", "a😀b", "\\ud83d")
    ]
    found = outcomes(Decoder({"city": "text"}, "json"), payloads)
    assert [one[0]["city"] for one in found] == ["𝄞", "a😀b", "\\ud83d"]


CELLS: list[tuple[ColumnType, bytes, Any]] = [
    ("number", b'"12"', 12.0),
    ("number", b'"x"', None),
    ("number", b"null", None),
    ("real", b"1", 1.0),
    ("real", b'"1.5"', 1.5),
    ("real", b"null", None),
    ("real", b'"x"', str),
    ("real", b"[1]", str),
    ("whole", b"7", 7),
    ("whole", b"9223372036854775807", 2**63 - 1),
    ("whole", b"null", None),
    ("whole", b'"8"', 8),
    ("whole", b'"x"', str),
    ("whole", b"9223372036854775808", str),
    ("text", b'"x"', "x"),
    ("text", b"null", None),
    ("text", b"7", "7"),
]


@pytest.mark.parametrize(("kind", "cell", "wanted"), CELLS)
def test_cells_by_the_type_of_their_column(kind: ColumnType, cell: bytes, wanted: Any) -> None:
    payload = b'{"a": ' + cell + b', "b": 1}'
    (found,) = outcomes(Decoder({"a": kind}, "json"), [payload])
    if wanted is str:
        assert "column 'a' holds" in found
    else:
        assert found == [{"a": wanted}]
    beside = outcomes(Decoder({"a": kind}, "json"), [payload, b'{"a": {"odd": [1]}}', payload, b""])
    assert [beside[0], beside[2]] == [found, found]


def test_unreadable_numbers_are_counted() -> None:
    payloads = [b'{"a": 1}', b'{"a": "x"}', b'{"a": null}', b'{"a": "NA"}', b'{"a": [2]}']
    found = Decoder({"a": "number"}, "json").decode(binary(payloads))
    assert found.rows.column(0).null_count == 4
    assert dict(found.unreadable) == {"a": 2}


def test_no_payloads() -> None:
    for form in ("json", "csv", "arrow"):
        found = Decoder(TYPES, form, list(TYPES)).decode(binary([]))
        assert found.rows.num_rows == 0
        assert found.rows.schema == Decoder(TYPES, form).schema
        assert dict(found.refused) == {}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
PAYLOADS = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.dictionaries(st.sampled_from([*TYPES, "other"]), JSON_VALUES).map(
        lambda row: json.dumps(row).encode()
    ),
    st.sampled_from([one for one in mutations.ODD if len(one) < 1000]),
)


@given(st.lists(PAYLOADS, max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_payloads_alone_and_together(payloads: list[bytes]) -> None:
    decoder = Decoder(TYPES, "json")
    together = outcomes(decoder, payloads)
    for payload, one in zip(payloads, together, strict=True):
        assert outcomes(decoder, [payload]) == [one]


CSV_LINES = {
    b"x,1,y": {"a": "x", "b": 1.0, "c": "y"},
    b'"x",1,"y ""q"" z"': {"a": "x", "b": 1.0, "c": 'y "q" z'},
    b'"x,y",1,z': {"a": "x,y", "b": 1.0, "c": "z"},
    b'x"y,1,z': {"a": 'x"y', "b": 1.0, "c": "z"},
    b"#,1,z": {"a": "#", "b": 1.0, "c": "z"},
    b"x,,": {"a": "x", "b": None, "c": None},
    b"x,many,z": {"a": "x", "b": None, "c": "z"},
    b"x,1": "2 cells instead of 3",
    b"x,1,y,z": "4 cells instead of 3",
    b'"x,1,y': "no line of CSV",
    b'x,1,"y"z': "no line of CSV",
    b"": "empty",
    b"\xff,1,x": "not UTF-8",
}
ABC: dict[str, ColumnType] = {"a": "text", "b": "number", "c": "text"}


def check_csv(lines: Sequence[bytes]) -> None:
    found = outcomes(Decoder(ABC, "csv", ["a", "b", "c"]), lines)
    for line, one in zip(lines, found, strict=True):
        wanted = CSV_LINES[line]
        assert wanted in one if isinstance(wanted, str) else [wanted] == one, (line, one)


@pytest.mark.parametrize("line", CSV_LINES)
def test_a_line_of_csv(line: bytes) -> None:
    check_csv([line])


@given(st.lists(st.sampled_from(list(CSV_LINES)), min_size=2, max_size=8))
@settings(deadline=None, max_examples=80)
def test_lines_of_csv_change_nothing_of_each_other(lines: list[bytes]) -> None:
    check_csv(lines)


def test_columns_of_csv_are_taken_by_name() -> None:
    types: dict[str, ColumnType] = {"c": "text", "none": "number", "a": "text"}
    (found,) = outcomes(Decoder(types, "csv", ["a", "b", "c"]), [b"x,1,y"])
    assert found == [{"c": "y", "none": None, "a": "x"}]


def arrow(rows: dict[str, Any]) -> bytes:
    payload: bytes = payloads_of(pa.record_batch(rows), "arrow")[0].as_py()
    return payload


def test_arrow_payloads_hold_many_rows() -> None:
    wholes = pa.array([1, None], pa.int32())
    payloads = [
        arrow({"event": wholes, "amount": pa.array([1, 2], pa.int8()), "more": ["x", "y"]}),
        b"no arrow",
        arrow({"city": pa.array(["Ulm"]).dictionary_encode(), "at": ["now"], "event": [3]}),
    ]
    found = outcomes(Decoder(TYPES, "arrow"), payloads)
    none = dict.fromkeys(TYPES)
    assert found[0] == [none | {"event": 1, "amount": 1.0}, none | {"amount": 2.0}]
    assert "no Arrow stream" in found[1]
    assert found[2] == [none | {"event": 3, "city": "Ulm", "at": "now"}]


def test_arrow_payloads_of_other_types() -> None:
    odd = arrow({"event": ["x"], "amount": [1.0]})
    texts = arrow({"event": ["7"], "amount": ["2.5"], "city": [3]})
    found = outcomes(Decoder(TYPES, "arrow"), [odd, texts])
    assert "column 'event' holds 'x'" in found[0]
    assert found[1] == [{"event": 7, "city": "3", "amount": 2.5, "at": None}]


def test_arrow_payloads_cut_off_anywhere() -> None:
    """What is read of a cut payload would be some of its rows: it is all or nothing."""
    whole = arrow({"event": [1, 2], "city": ["Ulm", "Köln"], "amount": [1.5, 2.5]})
    decoder = Decoder(TYPES, "arrow")
    rows = outcomes(decoder, [whole])[0]
    assert len(rows) == 2
    for length in range(len(whole)):
        (found,) = outcomes(decoder, [whole[:length]])
        assert isinstance(found, str), length


def test_arrow_payloads_of_several_batches_cut_between_them() -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"event": [1]})
    ends = []
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(3):
            writer.write_batch(batch)
            ends.append(sink.tell())
    whole = sink.getvalue().to_pybytes()
    decoder = Decoder({"event": "whole"}, "arrow")
    assert outcomes(decoder, [whole]) == [[{"event": 1}] * 3]
    for end in ends:
        assert isinstance(outcomes(decoder, [whole[:end]])[0], str)


def test_arrow_payloads_with_a_flipped_byte_stop_nothing() -> None:
    whole = arrow({"event": [1, 2], "city": ["Ulm", "Köln"], "amount": [1.5, 2.5]})
    decoder = Decoder(TYPES, "arrow")
    for place in range(0, len(whole), 3):
        hurt = bytearray(whole)
        hurt[place] ^= 0x55
        found: Decoded = decoder.decode(binary([whole, bytes(hurt), whole]))
        assert {0, 2} <= set(found.places.tolist())
        assert set(found.refused) <= {1}


def test_types_are_inferred() -> None:
    payloads = [
        b'{"a": 1, "b": 1, "c": "x", "d": null, "e": true, "f": [1]}',
        b"?",
        b'{"a": 2, "b": 2.5, "c": 3, "g": 1.0}',
        b"[1]",
        b"\xff",
    ]
    assert infer_types(binary(payloads), "json") == {
        "a": "whole",
        "b": "real",
        "c": "text",
        "e": "text",
        "f": "text",
        "g": "real",
    }
    assert infer_types(binary([b"x,1"]), "csv", ["a", "b"]) == {"a": "text", "b": "text"}
    rows = arrow({"a": [1], "b": [1.5], "c": ["x"], "d": pa.array([True])})
    kinds = {"a": "whole", "b": "real", "c": "text", "d": "text"}
    assert infer_types(binary([rows, b"?"]), "arrow") == kinds


@given(st.lists(PAYLOADS, max_size=8))
@settings(deadline=None, max_examples=60)
def test_types_of_anything_are_inferred_or_refused(payloads: list[bytes]) -> None:
    try:
        found = infer_types(binary(payloads), "json")
    except SourceError:
        return
    assert found
    rows = Decoder(found, "json").decode(binary(payloads))
    assert len(rows.places) + len(rows.refused) == len(payloads)


def test_nothing_that_can_be_read_is_a_mistake() -> None:
    with pytest.raises(SourceError, match="not one could be read as json"):
        infer_types(binary([b"a,b", b""]), "json")


def test_huge_numbers_stay_numbers() -> None:
    found = outcomes(Decoder({"a": "number"}, "json"), [b'{"a": 1.7976931348623157e308}'])
    assert math.isfinite(found[0][0]["a"])
