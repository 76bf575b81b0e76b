from __future__ import annotations

import collections
import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import tree
from river.tree.splitter import QOSplitter

from thalweg.core.errors import ArtifactError
from thalweg.training.online import graph
from thalweg.training.online.nominal import Classifier


def regressor() -> Any:
    made = tree.HoeffdingTreeRegressor(
        grace_period=50, delta=1e-2, leaf_prediction="mean", splitter=QOSplitter(0.25)
    )
    made.leaf_model = None
    return made


MAKERS: dict[str, Callable[[], Any]] = {
    "classes": lambda: Classifier(grace_period=50, delta=1e-2),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, delta=1e-2, seed=3),
    "numbers": regressor,
}


def records(seed: int, rows: int, numbers: bool) -> list[tuple[dict[Any, Any], Any]]:
    """Rows with numbers, categories, gaps and a rule that changes."""
    draw = np.random.default_rng(seed)
    found = []
    for row in range(rows):
        cells: dict[Any, Any] = {k: float(v) for k, v in enumerate(draw.normal(size=3))}
        cells |= {-1 - k: str(int(v)) for k, v in enumerate(draw.integers(0, 5 + row // 200, 2))}
        for key in [key for key in cells if draw.random() < 0.05]:
            del cells[key]
        rule = (
            3 * cells.get(0, 0.0) + 2 * (cells.get(-1) == "1") - 2 * (cells.get(-2) in {"3", "7"})
        )
        rule = rule if row < rows // 2 else -rule
        found.append((cells, rule if numbers else int(rule > 0) + int(rule > 1.5)))
    return found


def said(model: Any, cells: dict[Any, Any], numbers: bool) -> Any:
    return model.predict_one(cells) if numbers else list(model.predict_proba_one(cells).items())


@given(st.sampled_from(sorted(MAKERS)), st.integers(0, 1000), st.integers(0, 900))
@settings(max_examples=9, deadline=None)
def test_a_restored_tree_goes_on_bit_for_bit(name: str, seed: int, cut: int) -> None:
    numbers, one = name == "numbers", MAKERS[name]()
    rows = records(seed, 1200, numbers)
    for cells, label in rows[:cut]:
        one.learn_one(cells, label)
    other = graph.load(json.loads(json.dumps(graph.dump(one), allow_nan=False)))
    for cells, label in rows[cut:]:
        assert said(one, cells, numbers) == said(other, cells, numbers)
        one.learn_one(cells, label)
        other.learn_one(cells, label)
    assert json.dumps(graph.dump(one)) == json.dumps(graph.dump(other))


def test_trees_grow_in_that_test() -> None:
    for name, make in MAKERS.items():
        one = make()
        for cells, label in records(0, 1600, name == "numbers"):
            one.learn_one(cells, label)
        assert one.n_branches > 1, (name, one.n_branches)


def plain(value: Any) -> Any:
    return graph.load(json.loads(json.dumps(graph.dump(value), allow_nan=False)))


def test_plain_values_come_back() -> None:
    shared = [1.5, -0.0, math.inf, None, True, "text", 2**70]
    value = {
        "list": shared,
        (1, (2, "x")): shared,
        "set": {3, 1, 2},
        "counter": collections.Counter("abca"),
        "deque": collections.deque([1, 2], maxlen=4),
        "default": collections.defaultdict(dict, {1: {2: 3.0}}),
        "random": random.Random(5),
        "scalar": np.float32(0.1),
    }
    value["self"] = value
    found = plain(value)
    assert found["self"] is found
    assert found["list"] is found[1, (2, "x")]
    assert [repr(one) for one in found["list"]] == [repr(one) for one in shared]
    assert found["random"].random() == random.Random(5).random()
    assert found["scalar"].dtype == np.float32
    assert found["scalar"] == value["scalar"]
    assert found["default"].default_factory is dict
    assert found["deque"].maxlen == 4
    for key in ("set", "counter", "deque", "default"):
        assert found[key] == value[key]
        assert type(found[key]) is type(value[key])
    assert math.isnan(plain([math.nan])[0])


def test_depth_does_not_matter() -> None:
    deep: Any = ()
    for _ in range(20_000):
        deep = [deep]
    found = plain(deep)
    for _ in range(20_000):
        (found,) = found
    assert found == ()


class Stranger:
    pass


@pytest.mark.parametrize("value", [Stranger(), Stranger, print, lambda: 0, open, 1j, np.zeros(2)])
def test_strangers_are_not_written(value: Any) -> None:
    with pytest.raises(ArtifactError):
        graph.dump([value])


@pytest.mark.parametrize(
    "entry",
    [
        ["object", "os", "system", [], []],
        ["object", "subprocess", "Popen", ["args"], ["ls"]],
        ["object", "river.tree.nodes.leaf", "numbers", [], []],
        ["object", "river.tree.nodes.leaf", "abc", [], []],
        ["object", "river.tree.nodes.htc_nodes", "HTLeaf.__init__", [], []],
        ["object", "river.tree.nodes...leaf", "HTLeaf", [], []],
        ["object", "river.stats.nowhere", "Mean", [], []],
        ["object", 5, None, [], []],
        ["class", "builtins", "eval"],
        ["class", "river.base.base", "Base"],
        ["method", "river.tree.hoeffding_tree_classifier", "HoeffdingTreeClassifier", "draw", [1]],
        ["method", "os", "", "system", [None]],
        ["compiled", "os", "system", [], ""],
        ["compiled", "river._river_rust.stats", "RsQuantile", [], ""],
        ["keys", "collections", "OrderedDict", []],
        ["defaultdict", "eval", [[], []]],
        ["numpy", "O", "AAAAAAAAAAA="],
        ["numpy", "<f8", "AAAA"],
        ["random.Random", [1]],
        ["eval", "1"],
        ["tuple", [[0]]],
        ["list", [[7]]],
        ["list", [{"g": 1}]],
        ["list"],
        [],
        "list",
        None,
    ],
)
def test_what_is_foreign_or_damaged_is_refused(entry: Any) -> None:
    with pytest.raises(ArtifactError) as caught:
        graph.load([entry])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entries", [None, 5, {}, [], "text"])
def test_what_is_no_list_of_entries_is_refused(entries: Any) -> None:
    with pytest.raises(ArtifactError):
        graph.load(entries)
