from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.features.values import Hasher
from thalweg.data.features.words import Words
from thalweg.stats.hashing import MISSING, hash_values
from thalweg.stats.moments import NO_TIME, read_moments
from thalweg.stats.parsing import canonical_text, is_missing_text

texts = st.one_of(
    st.none(), st.text(max_size=30), st.text(st.sampled_from("naZ09 .-e\x7f\n"), max_size=20)
)


@given(st.lists(texts, max_size=12))
def test_any_few_texts_hash_as_many_do(cells: list[str | None]) -> None:
    array = pa.array(cells, pa.large_string())
    hasher = Hasher()
    for _ in range(2):
        assert hasher.hash(array).tolist() == hash_values(array).tolist()
        valued = np.where(is_missing_text(array), MISSING, hash_values(array))
        assert hasher.values(array).tolist() == valued.tolist()


@given(st.lists(texts, max_size=12))
def test_any_few_words_are_kept_as_many_are(cells: list[str | None]) -> None:
    array = pa.array(cells, pa.string())
    words = Words()
    found = words.take(words.add(array)).to_pylist()
    missing = is_missing_text(array)
    wanted = canonical_text(array).to_pylist()
    assert found == [None if no else text for text, no in zip(wanted, missing, strict=True)]


def test_moments_are_exact_to_the_microsecond() -> None:
    when = datetime(2024, 5, 31, 8, 26, 59, 123_457, tzinfo=UTC)
    micros = 1_717_144_019_123_457
    for array in (
        pa.array([when]),
        pa.array([when]).cast(pa.timestamp("ns", "UTC")),
        pa.array(["2024-05-31T08:26:59.123457Z"]),
        pa.array(["2024-05-31 08:26:59.123457"]).dictionary_encode(),
        pa.array([micros / 1e6]),
        pa.array([str(micros / 1e6)]),
    ):
        assert read_moments(array).tolist() == [micros]
    assert read_moments(pa.array([date(1970, 1, 2)])).tolist() == [86_400_000_000]


def test_what_is_no_moment_is_none() -> None:
    far = pa.array([2**62, -(2**62)], pa.int64())
    beyond = pa.array([1e22, -1e22])  # as nanoseconds too
    for array in (pa.array(["soon", None, ""]), beyond, far.cast(pa.timestamp("us"))):
        assert set(read_moments(array).tolist()) == {NO_TIME}
    assert read_moments(pa.array([np.inf, np.nan])).tolist() == [NO_TIME, NO_TIME]
