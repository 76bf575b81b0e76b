from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg.training.online.experts as room
from thalweg.models.model import Model
from thalweg.training.online import check
from thalweg.training.online.base import Expert, Script, State
from thalweg.training.online.experts import EXPERTS

TRAINED = ("champion", "frozen", "slow")
SORTS = [(name, classes) for name in EXPERTS for classes in (3, 0)]
Modelling = Callable[[int], Model]
Reading = Callable[[Script, Model], Script]


@pytest.fixture(params=SORTS, ids=lambda sort: f"{sort[0]}-{'classes' if sort[1] else 'numbers'}")
def given(request: Any, modelling: Modelling, readable: Reading) -> Any:
    """Give a way to make an expert, a way to make streams for it, and how close is equal."""
    name, classes = request.param
    found: Any = EXPERTS[name]

    def make() -> Expert:
        return found(modelling(classes)) if name in TRAINED else found(numbers=classes == 0)

    def stream(rows: int = 900, seed: int = 0, **words: Any) -> Script:
        script = check.stream(rows, classes, seed, **words)
        return readable(script, modelling(classes)) if name in TRAINED else script

    return make, stream, check.CLOSE * (50 if classes == 0 else 1) if name in TRAINED else 0.0


def test_every_expert_is_in_the_list() -> None:
    files = {path.stem for path in Path(room.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(EXPERTS)
    for name, found in EXPERTS.items():
        assert issubclass(found, Expert)
        assert found.__module__ == f"{room.__name__}.{name}"


@pytest.mark.parametrize(("delay", "odd"), [(0, False), (5, True)])
def test_any_cut(given: Any, delay: int, odd: bool) -> None:
    make, stream, close = given
    draw = np.random.default_rng(delay)
    cuts = sorted({1, 2, 700, *draw.integers(0, 1800, 12).tolist()})
    check.require_any_cut(make, stream(delay=delay, odd=odd), cuts, close)


@pytest.mark.parametrize("cut", [0, 301, 1200])
def test_survival(given: Any, cut: int) -> None:
    make, stream, close = given
    check.require_survival(make, stream(odd=cut == 301), cut, close)


def test_no_learning(given: Any) -> None:
    make, stream, _ = given
    check.require_no_learning(make, stream(600))


def test_sense(given: Any) -> None:
    make, stream, _ = given
    check.require_sense(make, stream(1200, seed=3, odd=True, delay=3))


def test_growth(given: Any) -> None:
    make, stream, _ = given
    check.require_growth(make, stream(600))


class Careless(Expert):
    """Counts what it predicts, and forgets to say so."""

    name = "careless"

    def __init__(self) -> None:
        self._seen = 0

    def run(self, script: Script, said: Any) -> None:
        self._seen += 1
        said[script.steps[script.steps >= 0]] = 1 / script.width + 1e-3 * self._seen

    def state(self) -> State:
        return State({"seen": self._seen})

    def restore(self, state: State) -> None:
        del state


def test_the_suite_can_fail() -> None:
    script = check.stream(600, 3)
    with pytest.raises(AssertionError):
        check.require_any_cut(Careless, script, [5, 90])
    with pytest.raises(AssertionError):
        check.require_survival(Careless, script, 300)
    with pytest.raises(AssertionError):
        check.require_no_learning(Careless, script)
    with pytest.raises(AssertionError):
        check.require_sense(Careless, script)
    with pytest.raises(AssertionError):
        check.require_growth(Careless, script)
