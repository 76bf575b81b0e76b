from __future__ import annotations

import sys

import numpy as np
import pytest

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.training.online.base import News, Script, State
from thalweg.training.online.check import play, require_equal, stream, through_disk
from thalweg.training.online.experts.tree import REST, Tree
from thalweg.training.online.nominal import Nominal


def right(said: np.ndarray, script: Script, rows: slice) -> float:
    return float((said[rows].argmax(axis=1) == script.targets[rows]).mean())


def test_it_learns_classes_and_numbers() -> None:
    script = stream(2000, 3)
    assert right(play(Tree(numbers=False), script).said, script, slice(600, 1000)) > 0.6
    script = stream(2000, 0)
    said = play(Tree(numbers=True), script).said[600:1000, 0]
    wrong = np.abs(said - script.targets[600:1000]).mean()
    assert wrong < 0.97 * np.abs(script.targets[600:1000] - script.targets[:600].mean()).mean()


def test_after_a_change_another_tree_may_take_its_place() -> None:
    script = stream(4000, 2)
    late = slice(2800, 4000)
    there = play(Tree(numbers=False), script).said
    told = play(Tree(numbers=False), script, drifts=(9,)).said  # the change came at 8
    assert right(told, script, late) > right(there, script, late) + 0.03


def test_unheard_it_sleeps_and_a_change_wakes_it() -> None:
    script, expert = stream(600, 2), Tree(numbers=False)
    play(expert, script)
    for labels in range(4):
        assert spoken(expert, script)
        expert.weight = 0.009
        expert.settle(News(labels, 1000))
    assert not spoken(expert, script)
    asleep = expert.state()
    expert.run(script, np.zeros((600, 2)))
    require_equal(expert.state(), asleep)
    other = Tree(numbers=False)
    other.restore(through_disk(asleep))
    for one in (expert, other):
        for labels in range(REST - 1):  # too early to be woken up
            one.settle(News(labels, 1000, drift=True))
            assert not spoken(one, script)
        one.settle(News(10, 1000, drift=True))
        assert not spoken(one, script)  # a fresh one has nothing to say yet
        said = np.full((600, 2), np.nan)
        one.run(script, said)
        assert np.isfinite(said[5:]).all()
    require_equal(expert.state(), other.state())


def spoken(expert: Tree, script: Script) -> bool:
    said = np.full((600, 2), np.nan)
    expert.run(script.part(0, 1), said)
    return bool(np.isfinite(said[0]).all())


def test_where_columns_and_classes_are_many_it_sleeps_for_good() -> None:
    expert, script = Tree(numbers=False), stream(600, 30)
    expert.run(script, np.full((600, 30), np.nan))
    expert.weight = 1.0
    for labels in range(9):
        expert.settle(News(labels, 1000, drift=True))
    assert expert.state().facts["asleep"]


def test_heard_now_and_then_it_stays_awake() -> None:
    expert = Tree(numbers=False)
    for labels in range(40):
        expert.weight = 0.9 if labels % 2 == 0 else 0.1
        expert.settle(News(labels, 1000))
    assert not expert.state().facts["asleep"]


def test_of_equally_good_splits_the_first_seen_wins() -> None:
    # Units are text to River, which looks at them in the order of a set: see `nominal`.
    counts = Nominal()
    for unit in ("7", "12", "3", "44", "5", "21", "12"):
        counts.update(unit, 0, 1.0)
    assert list(counts._att_values) == ["7", "12", "3", "44", "5", "21"]
    expert = Tree(numbers=False)
    play(expert, stream(600, 3))
    entries = expert.state().facts["main"]
    assert "Nominal" in {entry[2] for entry in entries if entry[0] == "object"}


def test_a_strangers_state_is_refused() -> None:
    state = Tree(numbers=False).state()
    bad = State({**state.facts, "main": [["object", "os", "system", [], []]]}, state.arrays)
    with pytest.raises(ArtifactError, match=r"names os\.system"):
        Tree(numbers=False).restore(bad)


def test_without_river_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(OptionError, match=r"pip install 'thalweg\[online\]'"):
        Tree(numbers=False)
