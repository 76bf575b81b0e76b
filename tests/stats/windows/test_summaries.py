from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.windows.reference import SCHEMA, Row, batch, windows_of
from thalweg.core.errors import ArtifactError, OptionError
from thalweg.stats import TableSummary
from thalweg.stats.windows import WindowSpec, WindowSummaries

ROWS = st.lists(
    st.builds(
        Row,
        st.integers(-30_000, 40_000),
        st.sampled_from(["a", "b", None]),
        st.integers(0, 2),
        st.sampled_from([0.1, 2.0, None]),
        st.sampled_from(["u", "v"]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([WindowSpec.tumbling(9_000), WindowSpec.sliding(12_000, 8_000)]),
    ROWS,
    st.integers(0, 25),
    st.integers(-40_000, 50_000),
)
def test_a_window_is_the_summary_of_its_rows(spec, rows, cut, mark) -> None:
    windows = WindowSummaries(spec)
    windows.take(*batch(rows[:cut]))
    found = windows.close(mark)
    meta, table = windows.state()
    windows = WindowSummaries.from_state(json.loads(json.dumps(meta)), table)
    late = windows.take(*batch(rows[cut:])).tolist()
    kept = [row for row, is_late in zip(rows[cut:], late, strict=True) if not is_late]
    assert [row.time // spec.slide * spec.slide + spec.size <= mark for row in rows[cut:]] == late
    found += windows.flush()
    truth = windows_of(spec, rows[:cut])
    late_windows = {at for at in windows_of(spec, kept) if at[0] <= mark}
    for at, own in windows_of(spec, kept).items():
        if at not in late_windows:  # a window that has closed takes nothing any more
            truth[at] = [*truth.get(at, []), *own]
    assert [(one.end, one.start) for one in found] == [at[:2] for at in sorted(truth)]
    for one, at in zip(found, sorted(truth), strict=True):
        whole = TableSummary()
        whole.update(batch(truth[at])[0])
        assert one.summary == whole


def test_what_cannot_be() -> None:
    with pytest.raises(OptionError, match="sessions"):
        WindowSummaries(WindowSpec.session(1_000))
    meta, table = WindowSummaries(WindowSpec.tumbling(1_000, columns=("x",))).state()
    with pytest.raises(ArtifactError, match="version 2"):
        WindowSummaries.from_state(meta | {"version": 2}, table)


def test_only_the_columns_that_are_measured() -> None:
    windows = WindowSummaries(WindowSpec.tumbling(1_000, by=("key",), columns=("x",)))
    windows.take(pa.RecordBatch.from_pylist([{"x": 1.0}], schema=SCHEMA), np.zeros(1, np.int64))
    assert list(windows.flush()[0].summary.columns) == ["key", "x"]
    assert windows.flush() == []
