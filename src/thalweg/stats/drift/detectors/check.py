"""The conformance suite of detectors: what each promises, as functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.stats.drift.detectors.base import Detector

_SEEDS: Final = 2


class NonconformityError(AssertionError):
    """A promise of the contract that is broken."""


def check_detector(make: Callable[[], Detector]) -> None:
    """Run every check of a detector.

    Parameters
    ----------
    make
        Makes a new one, the same each time.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """
    for check in CHECKS:
        check(make)


def any_cut_gives_the_same(make: Callable[[], Detector]) -> None:
    """Require the same drifts, stretch and state however the values are cut."""
    values = errors(3, 200, 0.05, 0.7, 0.05)
    whole = make()
    found = whole.take(values)
    _require(found == sorted(set(found)), "the places are not ascending")
    for seed in range(_SEEDS):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(values), 9)).tolist()
        one, places = make(), []
        for start, stop in pairwise([0, *cuts, len(values)]):
            places += [start + place for place in one.take(values[start:stop])]
        _require(places == found, f"cut into pieces it finds {places}, else {found}")
        _require(one.state() == whole.state(), "cut into pieces it ends in another state")
        _require(one.stretch == whole.stretch, "cut into pieces it ends with another stretch")


def a_restored_one_goes_on(make: Callable[[], Detector]) -> None:
    """Require a state to survive JSON, and what is restored to go on bit for bit."""
    values = errors(4, 150, 0.1, 0.8, 0.1)
    for cut in (0, 40, 190, 310):
        one, other = make(), make()
        one.take(values[:cut])
        other.take(values[:-200:-1])  # nothing of what was there before may stay
        text = json.dumps(one.state(), allow_nan=False)
        other.restore(json.loads(text))
        _require(other.state() == json.loads(text), f"after {cut} values a state is not restored")
        _require(other.stretch == one.stretch, f"after {cut} values a stretch is not restored")
        _require(json.dumps(one.state()) == text, "to give a state changes it")
        _require(
            one.take(values[cut:]) == other.take(values[cut:]),
            f"restored after {cut} values it finds other drifts",
        )
        _require(one.state() == other.state(), f"restored after {cut} values it ends elsewhere")


def the_unchanged_is_quiet(make: Callable[[], Detector]) -> None:
    """Require hardly a drift where nothing changes."""
    count = 0
    for seed in range(_SEEDS):
        one = make()
        found = one.take(errors(seed, 1000, 0.2))
        count += len(found)
        since = 1000 - 1 - found[-1] if found else 1000
        _require(one.stretch == since, f"the stretch is {one.stretch} after {since} quiet values")
    _require(count <= 1, f"{count} drifts in {_SEEDS} times 1,000 values that do not change")


def a_jump_is_found(make: Callable[[], Detector]) -> None:
    """Require a jump of the error rate from .1 to .7 to be found within 300 values, every time."""
    for seed in range(_SEEDS):
        one = make()
        one.take(errors(seed, 400, 0.1))
        found = one.take(errors(seed + 100, 300, 0.7))
        _require(bool(found), "a jump from .1 to .7 is not found within 300 values")


def what_is_not_finite_is_passed_over(make: Callable[[], Detector]) -> None:
    """Require values that are no numbers to leave no trace, and strange ones to be refused."""
    values = errors(7, 160, 0.1, 0.8)
    holes = np.insert(values, [0, 50, 50, 170, 320], [np.nan, np.inf, -np.inf, np.nan, np.inf])
    plain, holed = make(), make()
    found, other = plain.take(values), holed.take(holes)
    places = np.flatnonzero(np.isfinite(holes))
    _require(bool(found), "a jump is not found")
    _require(other == places[found].tolist(), "what is not finite changes what is found")
    _require(plain.state() == holed.state(), "what is not finite leaves a trace")
    before = holed.state()
    _require(holed.take(np.empty(0)) == [], "of no values it finds a drift")
    _require(holed.state() == before, "no values leave a trace")
    try:
        holed.take(np.array([0.0, 1e300, -1e300, 5e-324]))
    except OptionError:
        _require(holed.state() == before, "values that are refused leave a trace")
    json.dumps(holed.state(), allow_nan=False)


CHECKS: Final = (
    any_cut_gives_the_same,
    a_restored_one_goes_on,
    the_unchanged_is_quiet,
    a_jump_is_found,
    what_is_not_finite_is_passed_over,
)


def errors(seed: int, each: int, *rates: float) -> NDArray[np.float64]:
    """Draw errors, 0 or 1: so many at each of the rates, one rate after the other."""
    drawn = np.random.default_rng(seed).random((len(rates), each))
    found: NDArray[np.float64] = (drawn < np.array(rates)[:, None]).ravel().astype(np.float64)
    return found


def _require(holds: bool, broken: str) -> None:  # noqa: FBT001 - what it is about
    if not holds:
        raise NonconformityError(broken)
