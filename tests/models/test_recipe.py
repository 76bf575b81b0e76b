from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from thalweg.core.errors import OptionError
from thalweg.data.arrays import Arrays
from thalweg.data.parts import Prepared
from thalweg.models.recipe import Recipe


class Table:
    """As much of a prepared table as a recipe looks at."""

    class _Part:
        arrays = Arrays({}, {"code": np.zeros((1, 1), dtype=np.int64)})
        rows = 0

    class _Schema:
        task = "binary"
        kinds = ("number",)
        common = False

        def by_kind(self) -> dict[str, list[Any]]:
            return {kind: [] for kind in self.kinds}

    def __init__(self, rows: int, task: str, kind: str, *, common: bool) -> None:
        self.train, self.schema = self._Part(), self._Schema()
        self.train.rows, self.schema.task = rows, task
        self.schema.kinds, self.schema.common = ("number", kind), common


def recipe(rows: int, task: str, kind: str = "category", *, common: bool = False) -> dict[str, Any]:
    return Recipe.for_table(cast("Prepared", Table(rows, task, kind, common=common))).model_dump()


def test_words_that_add_up_are_read_by_a_shallow_network_in_few_passes() -> None:
    plain, reading = (recipe(50_000, "binary", kind) for kind in ("category", "text"))
    assert (plain["depth"], reading["depth"]) == (2, 1)
    assert reading["epochs"] <= plain["epochs"]
    assert reading["learning_rate"] < plain["learning_rate"]
    assert reading["members"] == plain["members"]


def test_an_encoder_that_members_share_has_few_of_them() -> None:
    plain, looking = (recipe(50_000, "binary", "image", common=one) for one in (False, True))
    assert looking["members"] < plain["members"]
    assert looking["embedding"] > plain["embedding"]
    assert looking["batch_size"] == 128
    assert recipe(500, "regression", "audio", common=True)["batch_size"] == 32


def test_text_turns_a_dial() -> None:
    assert Recipe().turned({"dropout": "0.3", "members": "2"}).dropout == 0.3


def test_unknown_dial_names_near_ones() -> None:
    with pytest.raises(OptionError, match=r"no dial 'widht'.*'width'"):
        Recipe().turned({"widht": 3})


@pytest.mark.parametrize(("dial", "value"), [("width", 0), ("dropout", 1.0), ("epochs", "many")])
def test_impossible_values_are_refused(dial: str, value: object) -> None:
    with pytest.raises(OptionError, match=dial):
        Recipe().turned({dial: value})


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_dials_change_smoothly_where_tables_become_large(task: str) -> None:
    at, beyond = recipe(200_000, task), recipe(200_001, task)
    assert at["members"] == 8
    assert {name: value for name, value in beyond.items() if name != "warmup"} == {
        name: value for name, value in at.items() if name != "warmup"
    }


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_more_rows_take_fewer_members_and_larger_batches(task: str) -> None:
    found = [recipe(rows, task) for rows in (200_000, 800_000, 3_200_000, 10**9)]
    assert [one["members"] for one in found] == [8, 4, 2, 2]
    batches = [one["batch_size"] for one in found]
    assert batches == sorted(batches)
    assert batches[-1] == 4096
    assert all(one["epochs"] >= 1 and one["share"] == 1 for one in found)
