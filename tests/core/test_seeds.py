"""Seeds differ by place, and are the same on any machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.seeds import derive


@given(st.integers(), st.lists(st.integers() | st.text(st.characters(codec="utf-8")), max_size=3))
def test_a_seed_is_a_seed(seed: int, path: list[str | int]) -> None:
    assert 0 <= derive(seed, *path) < 2**63
    assert derive(seed, *path) == derive(seed, *path)
    assert derive(seed, *path) != derive(seed + 1, *path)


def test_it_stays_what_it_is() -> None:
    found = {derive(seed, "shuffle", epoch) for seed in range(30) for epoch in range(30)}
    assert len(found) == 900
    assert derive(0, "shuffle", 1) == FIRST


FIRST = 6_589_058_160_304_026_109
