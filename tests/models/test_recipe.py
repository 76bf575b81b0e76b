from __future__ import annotations

import pytest

from thalweg.core.errors import OptionError
from thalweg.models.recipe import Recipe


def test_text_turns_a_dial() -> None:
    assert Recipe().turned({"dropout": "0.3", "members": "2"}).dropout == 0.3


def test_unknown_dial_names_near_ones() -> None:
    with pytest.raises(OptionError, match=r"no dial 'widht'.*'width'"):
        Recipe().turned({"widht": 3})


@pytest.mark.parametrize(("dial", "value"), [("width", 0), ("dropout", 1.0), ("epochs", "many")])
def test_impossible_values_are_refused(dial: str, value: object) -> None:
    with pytest.raises(OptionError, match=dial):
        Recipe().turned({dial: value})
