from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.durations import LONGEST
from thalweg.core.errors import ArtifactError, ColumnError, OptionError
from thalweg.data.features.declare import (
    BARE,
    ENDLESS,
    FUNCTIONS,
    Feature,
    Features,
    parse,
)

names = st.text(st.sampled_from("abc XY_0-.,()äß"), min_size=1, max_size=12).map(str.strip)
columns = names.filter(bool)


@given(
    st.sampled_from(FUNCTIONS),
    columns,
    st.lists(columns, max_size=3, unique=True),
    st.integers(1, LONGEST // 1000).map(lambda size: size * 1000),
    st.booleans(),
)
def test_any_feature_is_read_as_it_is_written(
    function: str, column: str, by: list[str], over: int, endless: bool
) -> None:
    feature = Feature(
        "made",
        function,
        None if function in BARE else column,
        tuple(by),
        None if endless and function in ENDLESS else over,
    )
    assert parse(str(feature)) == feature
    whole = Features((feature,), "at")
    assert Features.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spend", "NAME = FUNCTION"),
        ("a = sum(x", "NAME = FUNCTION"),
        ("a = summ(x) over 1h", "Did you mean 'sum'"),
        ("a = sum(x)", "has no window"),
        ("a = count(x) over 1h", r"distinct\(x\)"),
        ("a = since(x)", r"since\(\) of no column"),
        ("a = max() over 1h", r"max\(COLUMN\)"),
        ("a = max(x) over 1 year", "a number and a unit"),
        ("a = max(x) over 0h", "to a century"),
        ("a = max(x) over 999999w", "to a century"),
        ("a = max(x) by b,, c over 1h", "different names"),
        ("a = max(x) by b, b over 1h", "different names"),
    ],
)
def test_what_cannot_be_is_said(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said) as found:
        parse(text)
    assert "\n" not in str(found.value)


def test_names_in_quotes_may_hold_anything() -> None:
    found = parse("""a = sum("net (sum) over 1h") by 'first, last', `by` over 15 m""")
    assert found == Feature("a", "sum", "net (sum) over 1h", ("first, last", "by"), 900_000_000)


def test_features_need_a_time_and_names_of_their_own() -> None:
    with pytest.raises(OptionError, match="Add --time COLUMN"):
        Features.parse(["a = count() over 1h"], None)
    with pytest.raises(OptionError, match="two features are named 'a'"):
        Features.parse(["a = count() over 1h", "a = count() over 2h"], "at")


def test_a_sum_of_what_is_no_number_is_refused() -> None:
    schema = pa.schema({"at": pa.timestamp("us"), "paid": pa.bool_()})
    with pytest.raises(ColumnError, match=r"'paid' of the feature 'a' holds bool.*numbers"):
        Features.parse(["a = sum(paid) over 1h"], "at").of(schema)
    with pytest.raises(ColumnError, match="'when', the time of the windowed features"):
        Features.parse(["a = count() over 1h"], "when").of(schema)


def test_the_last_value_is_a_number_or_a_text() -> None:
    schema = pa.schema({"at": pa.int64(), "x": pa.int32(), "y": pa.string(), "z": pa.bool_()})
    texts = [f"last_{name} = last({name})" for name in "xyz"]
    kinds = Features.parse(texts, "at").of(schema).schema.types
    assert kinds == [pa.float64(), pa.large_string(), pa.large_string()]


def test_another_version_is_refused() -> None:
    given = Features.parse(["a = count() over 1h"], "at").to_json()
    with pytest.raises(ArtifactError, match="format is 9"):
        Features.from_json({**given, "format": 9})
    features = [{**given["features"][0], "function": "mode"}]
    with pytest.raises(ArtifactError, match=r"mode\(\)"):
        Features.from_json({**given, "features": features})
