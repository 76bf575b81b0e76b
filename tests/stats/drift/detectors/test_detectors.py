"""Every detector that is listed keeps the contract; what each alone does."""

from __future__ import annotations

import builtins
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.stats.drift.detectors import DEFAULT, DETECTORS, check, detector
from thalweg.stats.drift.detectors.check import NonconformityError, check_detector, errors


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("one", check.CHECKS, ids=lambda one: one.__name__)
def test_every_detector_conforms(name: str, one: Any) -> None:
    one(partial(detector, name))


class Forgetful(DETECTORS["page-hinkley"]):  # type: ignore[misc]
    def state(self) -> dict[str, Any]:
        return {**super().state(), "increase": 0.0}


class Clumsy(DETECTORS["page-hinkley"]):  # type: ignore[misc]
    def take(self, values: Any) -> list[int]:
        return super().take(values)[:1]


@pytest.mark.parametrize("broken", [Forgetful, Clumsy])
def test_the_suite_sees_what_it_forbids(broken: type) -> None:
    with pytest.raises(NonconformityError):
        check_detector(broken)


@given(st.lists(st.integers(0, 3000), max_size=4), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_adwin_is_the_same_for_any_cut(cuts: list[int], seed: int) -> None:
    values = errors(seed, 1000, 0.1, 0.4, 0.1)
    whole, cut = detector(), detector()
    found = [
        start + place
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 3000], strict=True)
        for place in cut.take(values[start:stop])
    ]
    assert found == whole.take(values)
    assert cut.state() == whole.state()


def test_adwin_is_quiet_and_quick() -> None:
    # The full size is in benchmarks/drift.py: one false alarm in 200,000 at most.
    assert sum(len(detector().take(errors(seed, 40_000, 0.1))) for seed in range(2)) == 0
    delays = []
    for seed in range(9):
        one = detector()
        one.take(errors(seed, 3000, 0.1))
        found = one.take(errors(seed + 50, 2000, 0.25))
        delays.append(found[0] if found else 2000)
        assert one.stretch == 1999 - found[-1]
    assert median(delays) < 300


def test_river_s_own_default_of_kswin_would_cry_wolf() -> None:
    values = np.random.default_rng(1).random(1500)
    assert len(DETECTORS["kswin"](alpha=0.005).take(values)) > len(detector("kswin").take(values))


def test_ddm_refuses_what_is_no_error_before_it_takes_any() -> None:
    one = detector("ddm")
    before = one.state()
    with pytest.raises(OptionError, match=r"ddm was given 3\.5; expected errors between 0 and 1"):
        one.take(np.array([0.0, 3.5]))
    assert one.state() == before


@pytest.mark.parametrize("name", DETECTORS)
def test_a_damaged_state_is_refused_and_changes_nothing(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    one = detector(name)
    one.take(errors(1, 200, 0.3))
    before = one.state()
    others = {**before, "name": "other"}, {}, {**before, "drifted": True, "window": "AAAA"}
    for state in others if name == "adwin" else others[:2]:
        with pytest.raises(ArtifactError, match="is damaged"):
            one.restore(state)
    assert one.state() == before


def test_a_state_that_is_not_what_it_says_is_refused() -> None:
    one, other = detector(), detector()
    one.take(errors(1, 200, 0.3))
    with pytest.raises(ArtifactError, match="is damaged"):
        other.restore({**one.state(), "total": 3.0})


def test_names() -> None:
    assert next(iter(DETECTORS)) == DEFAULT == "adwin"
    assert set(DETECTORS) == {"adwin", "page-hinkley", "kswin", "ddm"}
    with pytest.raises(OptionError, match="Did you mean 'kswin'"):
        detector("kwsin")


@pytest.mark.parametrize("name", DETECTORS)
def test_without_river_there_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(wanted: str, *rest: Any) -> Any:
        if wanted.startswith("river"):
            raise ImportError(wanted)
        return real(wanted, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OptionError, match=r"pip install 'thalweg\[online\]'"):
        detector(name)
