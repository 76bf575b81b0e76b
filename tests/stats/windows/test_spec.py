from __future__ import annotations

import json

import pytest

from thalweg.core.errors import OptionError
from thalweg.stats.windows import WindowSpec


@pytest.mark.parametrize(
    "spec",
    [
        WindowSpec.tumbling(1000),
        WindowSpec.sliding(9000, 6000, by=("a", "b"), columns=("x",)),
        WindowSpec.session(5000, columns=()),
    ],
)
def test_there_and_back(spec: WindowSpec) -> None:
    assert WindowSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WindowSpec("hopping", 1000, 1000), "kind 'hopping'"),
        (lambda: WindowSpec.sliding(1000, 2000), "no longer than the window"),
        (lambda: WindowSpec.sliding(200_000_000, 1000), "Make the slide longer"),
        (lambda: WindowSpec.tumbling(0), "0 microseconds"),
        (lambda: WindowSpec("tumbling", 2000, 1000), "Use sliding windows"),
        (lambda: WindowSpec.tumbling(1000, by=("a", "a")), "'a' twice"),
        (lambda: WindowSpec.tumbling(1000, by=("a",), columns=("a",)), "'a' twice"),
    ],
)
def test_what_cannot_be(make, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
