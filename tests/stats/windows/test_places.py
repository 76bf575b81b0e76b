from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.stats.windows.places import Places

HASHES = st.lists(st.sampled_from([1, 2, 256, 257, 512, 768, 2**40, 2**64 - 1]), max_size=40)


@given(st.lists(HASHES, max_size=5), st.sets(st.integers(0, 8)))
def test_it_numbers_as_a_dict_does(batches: list[list[int]], gone: set[int]) -> None:
    places, known = Places(), dict[int, int]()
    for number, batch in enumerate(batches):
        ids, first = places.find(np.array(batch, dtype=np.uint64))
        before = len(known)
        for one in batch:
            known.setdefault(one, len(known))
        assert ids.tolist() == [known[one] for one in batch]
        assert [batch[at] for at in first] == list(known)[before:]
        assert places.hashes.tolist() == list(known)
        if number == 2:
            places.keep(np.array([at not in gone for at in range(len(known))], dtype=np.bool_))
            kept = [one for at, one in enumerate(known) if at not in gone]
            known = {one: at for at, one in enumerate(kept)}


def test_many_in_one_neighbourhood_are_told_apart() -> None:
    places = Places()
    hashes = np.repeat(np.arange(500, dtype=np.uint64) << np.uint64(32), 3) + np.uint64(7)
    ids, first = places.find(hashes)
    assert ids.tolist() == np.repeat(np.arange(500), 3).tolist()
    assert (len(first), len(places)) == (500, 500)
    again, new = places.find(hashes[::-1])
    assert again.tolist() == ids[::-1].tolist()
    assert not len(new)
