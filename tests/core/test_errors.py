"""Errors say what was given, what was expected and how to mend it, in one line."""

from __future__ import annotations

import pytest

from thalweg.core import errors
from thalweg.core.errors import ThalwegError, near


def test_one_line_of_three_parts() -> None:
    error = ThalwegError("a\nb", "c", "Do d.")
    assert str(error) == "a b; expected c. Do d."
    assert (error.given, error.expected, error.mend) == ("a\nb", "c", "Do d.")
    assert str(ThalwegError("a", "b")) == "a; expected b."


@pytest.mark.parametrize("name", ["Option", "Source", "Column", "Target", "Artifact"])
def test_the_family(name: str) -> None:
    assert issubclass(getattr(errors, f"{name}Error"), ThalwegError)


def test_near_names() -> None:
    assert near("PRICE", ["price"]) == "Did you mean 'price'?"
    assert near("x", []) == "There are none."
    assert near("zzz", [f"a{i}" for i in range(14)]).endswith("a11 and 2 more.")
