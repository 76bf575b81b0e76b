"""What columns are taken for, and what a user may say instead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.data.infer import Given, fit_schema
from thalweg.data.schema import Schema
from thalweg.stats import TableSummary

ROWS = 300
RANDOM = np.random.default_rng(0)
ENGLISH = [f"the {n} quick brown foxes jump over the lazy dog number {n}" for n in range(ROWS)]
CHINESE = [f"这家餐厅的第{n}道菜味道非常好下次还会再来吃" for n in range(ROWS)]


def schema(cells: Any, target: str | None = None, **words: Any) -> Schema:
    summary = TableSummary()
    columns = cells if isinstance(cells, dict) else {"x": cells}
    summary.update(pa.table({**columns, "beside": RANDOM.normal(size=ROWS)}))
    return fit_schema(summary, target, **words)


def kind_of(cells: Any, name: str = "x") -> str:
    found = schema({name: cells})
    reasons = {one.name: f"ignored: {one.because}" for one in found.ignored}
    return reasons.get(name) or next(c.kind for c in found.columns if c.name == name)


def target(cells: Any, **words: Any) -> tuple[str, str | None]:
    found = schema(cells, "x", **words)
    assert found.target is not None
    return found.target.kind, found.task


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (RANDOM.normal(size=ROWS), "number"),
        (RANDOM.integers(0, 50, ROWS), "number"),
        ([f" {x:.2f} " for x in RANDOM.normal(size=ROWS)], "number"),
        (["?", "na", *[str(x) for x in range(ROWS - 2)]][::-1], "ignored: a row number"),
        (RANDOM.choice(["01234", "89073", "00501"], ROWS), "category"),
        (RANDOM.choice(["red", "green", "?"], ROWS), "category"),
        (RANDOM.random(ROWS) < 0.5, "boolean"),
        (RANDOM.choice(["yes", "no"], ROWS), "boolean"),
        ([f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(ROWS)], "datetime"),
        (np.datetime64("2024-01-01") + RANDOM.integers(0, 900, ROWS), "datetime"),
        (ENGLISH, "text"),
        (CHINESE, "text"),
        ([[n, n + 0.5] for n in range(ROWS)], "vector"),
        (["rock;jazz", "jazz", "folk;jazz", "rock;folk;pop"] * (ROWS // 4), "category"),
        ([["a", "b"][: n % 3] for n in range(ROWS)], "set"),
        ([f"u-{n:x}" for n in range(ROWS)], "ignored: an identifier"),
        (["same"] * ROWS, "ignored: constant"),
        ([7] * ROWS, "ignored: constant"),
        (pa.nulls(ROWS), "ignored: every value is missing"),
        (["?", " ", "NA"] * (ROWS // 3), "ignored: every value is missing"),
        (pa.array([None] * ROWS, pa.float64()), "ignored: every value is missing"),
    ],
)
def test_a_column_is_taken_for_what_a_person_would(cells: Any, kind: str) -> None:
    assert kind_of(cells).startswith(kind)


def test_a_constant_with_gaps_says_something() -> None:
    assert kind_of(["same", None] * (ROWS // 2)) == "category"


def test_row_numbers_are_known_by_their_training_part_alone() -> None:
    some = np.sort(RANDOM.permutation(np.arange(5000, 5000 + ROWS * 10 // 7))[:ROWS])
    assert kind_of(some).startswith("ignored: a row number")
    assert kind_of(RANDOM.permutation(np.arange(0, 40 * ROWS, 40))) == "number"


@pytest.mark.parametrize(
    "name", ["customer_id", "customerId", "CustomerID", "id", "Order No", "ID"]
)
def test_identifiers_are_known_by_their_names(name: str) -> None:
    numbers = RANDOM.choice(10**9, ROWS, replace=False)
    assert kind_of(numbers, name).startswith("ignored: an identifier by its name")


@pytest.mark.parametrize("name", ["paid", "humid", "amount", "width", "piano", "solid"])
def test_amounts_are_not_identifiers(name: str) -> None:
    assert kind_of(RANDOM.choice(10**9, ROWS, replace=False), name) == "number"


def test_short_chinese_names_are_categories() -> None:
    assert kind_of(RANDOM.choice(["北京", "上海", "广州"], ROWS)) == "category"


@pytest.mark.parametrize(
    ("cells", "kind", "task"),
    [
        (RANDOM.integers(0, 2, ROWS), "category", "binary"),
        (RANDOM.choice(["yes", "no", "?"], ROWS), "category", "binary"),
        (RANDOM.choice([" >50K", " <=50K"], ROWS), "category", "binary"),
        (RANDOM.random(ROWS) < 0.5, "boolean", "binary"),
        (RANDOM.integers(3, 11, ROWS), "category", "multiclass"),
        ([str(x) for x in RANDOM.integers(3, 11, ROWS)], "category", "multiclass"),
        (RANDOM.choice([-1, 1], ROWS), "category", "binary"),
        (RANDOM.choice([0, 10, 200], ROWS), "number", "regression"),
        (RANDOM.integers(0, 50, ROWS), "number", "regression"),
        (RANDOM.normal(size=ROWS), "number", "regression"),
        (RANDOM.choice(["a", "b", "c"], ROWS), "category", "multiclass"),
    ],
)
def test_a_target_sets_its_task(cells: Any, kind: str, task: str) -> None:
    assert target(cells) == (kind, task)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([f"name {n}" for n in range(ROWS)], "different texts"),
        ([f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(ROWS)], "a date or time"),
        (["yes"] * ROWS, "always 'yes'"),
        ([3.5] * ROWS, "always '3.5'"),
        ([5] * (ROWS - 1) + [None], "always '5'"),
        (pa.nulls(ROWS), "no value"),
        (["?"] * ROWS, "no value"),
    ],
)
def test_what_cannot_be_learned_is_refused(cells: Any, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        target(cells)


@pytest.mark.parametrize(
    ("said", "kind"), [("category", "category"), ("number", "number"), ("boolean", "boolean")]
)
def test_what_the_user_says_of_a_target_counts(said: str, kind: str) -> None:
    assert target(RANDOM.integers(0, 2, ROWS), given={"x": said})[0] == kind


@pytest.mark.parametrize("said", ["number", "category", "datetime", "boolean"])
@pytest.mark.parametrize("cells", [["same"] * ROWS, [f"u{n}" for n in range(ROWS)], pa.nulls(ROWS)])
def test_what_the_user_says_of_a_column_counts(said: str, cells: Any) -> None:
    found = schema(cells, given={"x": said})
    assert [(c.kind, c.because) for c in found.columns if c.name == "x"] == [(said, "given")]


def test_options_reach_the_state() -> None:
    given = {"x": "number, missing=mean,bins=7"}
    state: Any = schema(RANDOM.lognormal(size=ROWS), given=given).columns[0].state
    assert state.fill == pytest.approx(state.mean)
    assert len(state.edges) <= 8


def test_left_out_columns_say_why() -> None:
    found = schema(
        {"x": range(ROWS), "y": range(ROWS), "z": range(ROWS)},
        drop=["x"],
        given={"y": "ignore"},
        ignored={"z": "the column of the groups"},
    )
    reasons = {one.name: one.because for one in found.ignored}
    assert reasons == {
        "x": "dropped as asked",
        "y": "ignored as asked",
        "z": "the column of the groups",
    }
    assert found.names == ["beside"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numbr", r"'numbr'.*'number'"),
        ("Number", "'number'"),
        ("ignor", "'ignore'"),
        ("ignore,missing=mean", "ignore"),
        ("", "a kind of column"),
        ("number,mising=mean", r"'mising=mean'.*'missing'"),
        ("number,missing", "OPTION=VALUE"),
        ("number,missing=men", "missing='men'"),
        ("category,levels=0", "levels='0'"),
        ("number,missing=constant", "'x'.*constant"),
    ],
)
def test_misspelt_wishes_name_the_column_and_near_words(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        schema(RANDOM.normal(size=ROWS), given={"x": text})
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize(
    "words", [{"target": "bside"}, {"drop": ["bside"]}, {"given": {"bside": "number"}}]
)
def test_misspelt_columns_name_near_ones(words: Any) -> None:
    with pytest.raises(ColumnError, match=r"'bside'.*'beside'"):
        schema(RANDOM.normal(size=ROWS), **words)


@pytest.mark.parametrize("words", [{"drop": ["x"]}, {"given": {"x": "ignore"}}])
def test_a_target_that_is_left_out_is_refused(words: Any) -> None:
    with pytest.raises(OptionError, match="'x' is to be left out"):
        target(RANDOM.normal(size=ROWS), **words)


@pytest.mark.parametrize(("name", "along"), [("x", "beside"), ("beside", "x")])
def test_gaps_are_not_filled_along_the_target(name: str, along: str) -> None:
    given = {name: f"number,missing=interpolate,along={along}"}
    with pytest.raises(OptionError, match="the target is 'x'"):
        target(RANDOM.normal(size=ROWS), given=given)


def test_nothing_left_to_learn_from_lists_the_reasons() -> None:
    with pytest.raises(ColumnError, match=r"predict 'x' from.*beside \(dropped as asked\)"):
        schema(RANDOM.normal(size=ROWS), "x", drop=["beside"])


def test_parsing_is_what_fitting_uses() -> None:
    assert Given.parse("x", "ignore").kind == "ignore"
    options: Any = Given.parse("x", "category,rare=3").options
    assert options.rare == 3


@pytest.mark.parametrize("parts", [1, 7, 50])
def test_merged_shards_give_the_same_schema(parts: int) -> None:
    columns: dict[str, Sequence[Any]] = {
        "n": RANDOM.normal(size=ROWS),  # type: ignore[dict-item]
        "t": RANDOM.choice(["a", "b", "?"], ROWS),  # type: ignore[dict-item]
        "d": [f"2024-01-{1 + n % 28:02}" for n in range(ROWS)],
        "y": RANDOM.integers(0, 2, ROWS),  # type: ignore[dict-item]
    }
    rows = pa.table(columns)
    whole = TableSummary()
    whole.update(rows)
    wanted = fit_schema(whole, "y").to_json()
    cuts = np.linspace(0, ROWS, parts + 1).astype(int)
    shards = []
    for start, end in pairwise(cuts):
        shard = TableSummary()
        shard.update(rows.slice(start, end - start))
        shards.append(shard)
    first, *rest = (shards[place] for place in np.random.default_rng(parts).permutation(parts))
    for shard in rest:
        first.merge(shard)
    assert fit_schema(first, "y").to_json() == wanted
