from __future__ import annotations

import pytest

from thalweg.core.errors import OptionError
from thalweg.training.schedules import NAMES, factor


@pytest.mark.parametrize("name", NAMES)
def test_rises_to_one_and_never_goes_below_zero(name: str) -> None:
    factors = [factor(name, step, 200, warmup=0.1) for step in range(200)]
    assert factors[19] == 1.0
    assert factors[:20] == sorted(factors[:20])
    assert all(0 <= one <= 1 for one in factors)


def test_cosine_ends_near_nothing() -> None:
    assert factor("cosine", 999, 1000) < 1e-4


def test_one_step_is_a_whole_training() -> None:
    assert factor("cosine", 0, 1) == 1.0


def test_unknown_schedule_names_near_ones() -> None:
    with pytest.raises(OptionError, match="'cosine'"):
        factor("cosin", 0, 1)
