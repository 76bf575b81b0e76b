"""Labels meet their events in the order in which they came, however a stream is cut."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from thalweg.monitor.versions import Versions
from thalweg.serving.stream.learning import Learning
from thalweg.serving.stream.lessons import Came, Lessons
from thalweg.serving.stream.meetings import Meetings
from thalweg.training.online.start import look
from thalweg.training.online.wishes import Wishes

pytest.importorskip("numba")

Step = tuple[str, int, int]

COLUMNS = pa.schema({"x": pa.float64(), "k": pa.string(), "y": pa.string()})
KEYS = ("a", " b", "c", "")


def make(folder: Path) -> Learning:
    sample = pa.record_batch({"x": [0.5, 1.5, 2.5], "k": ["a", "b", "c"], "y": ["p", "q", "p"]})
    wishes = Wishes(experts=("fast", "last"), drop=("k",))
    lessons = Lessons("y", "k", wait=10**12, wishes=wishes)
    return Learning(lessons, folder, Versions(folder / "versions"), None, look(sample, "y", wishes))


def events(some: Sequence[tuple[int, Step]]) -> pa.RecordBatch:
    rows = [
        {"x": number * 0.37 % 1, "k": KEYS[key], "y": f"y{label}" if kind == "own" else None}
        for number, (kind, key, label) in some
    ]
    return pa.RecordBatch.from_pylist(rows, COLUMNS)


def take(one: Learning, steps: Sequence[tuple[int, Step]]) -> list[Any]:
    """Let a batch be worked on, as it comes from a stream; give what is answered."""
    rows = [step for step in steps if step[1][0] != "label"]
    before = np.cumsum([step[1][0] != "label" for step in steps])
    labels = [
        (number, step, int(place))
        for (number, step), place in zip(steps, before, strict=True)
        if step[0] == "label"
    ]
    came = Came(
        pa.array([KEYS[key] for _, (_, key, _), _ in labels], pa.string()),
        pa.array([f"y{label}" for _, (_, _, label), _ in labels], pa.string()),
        np.array([number for number, _, _ in labels], np.int64),
        np.array([place for _, _, place in labels], np.int64),
    )
    times = np.array([number for number, _ in rows], np.int64)
    made = one.take(events(rows), times, [came] if labels else [], 1)
    answers: list[Any] = made.prediction.columns.select(["prediction", "probability"]).to_pylist()
    return answers


def everything(steps: Sequence[Step], cuts: set[int], *, again: bool) -> Any:
    """Work on a stream in some batches, perhaps each with all that was learned read anew."""
    with tempfile.TemporaryDirectory() as folder:
        one, answers = make(Path(folder)), []
        numbered = list(enumerate(steps))
        bounds = [0, *sorted(cut for cut in cuts if cut < len(steps)), len(steps)]
        for start, stop in pairwise(bounds):
            answers += take(one, numbered[start:stop])
            if again:
                facts, tables = one.state()
                one = make(Path(folder))
                one.restore(json.loads(json.dumps(facts, allow_nan=False)), tables)
        scores = one.scores.state()
        del scores["points"], scores["faded"]  # rounded where batches end
        counts = dict(one.counts)
        return answers, one.learner.state().to_bytes(), scores, counts, one.waiting


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["event", "event", "label", "label", "own"]),
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        max_size=16,
    ),
    cuts=st.sets(st.integers(1, 15), max_size=5),
    again=st.booleans(),
)
@example(  # the first label is of an event of the same batch, the second of an older one
    steps=[("event", 0, 0), ("event", 1, 0), ("label", 1, 1), ("label", 0, 2), ("event", 2, 0)],
    cuts={1},
    again=False,
)
@example(  # a label that is there before its event is learned from before the next event
    steps=[("own", 2, 0), ("own", 2, 1), ("label", 0, 1), ("event", 0, 0), ("event", 1, 0)],
    cuts={3},
    again=False,
)
@example(  # an event that comes again takes the place of the one that waits
    steps=[("event", 0, 0), ("event", 0, 0), ("label", 0, 1), ("label", 0, 2), ("event", 0, 0)],
    cuts={1},
    again=False,
)
@example(  # classes have their codes by the order of labels
    steps=[("event", 0, 0), ("label", 0, 2), ("own", 1, 1)], cuts={2}, again=False
)
def test_any_cut_gives_the_same(steps: list[Step], cuts: set[int], again: bool) -> None:
    whole = everything(steps, set(), again=False)
    each = everything(steps, set(range(1, len(steps))), again=False)
    some = everything(steps, cuts, again=again)
    assert whole == each
    assert some == each


def test_who_comes_after_whom() -> None:
    found = Meetings.of(
        pa.array(["a", "a", None, "b"]), pa.array(["b", "a", "a", "d"]), np.array([0, 2, 4, 4])
    )
    assert found.asks.tolist() == [0, 3]
    assert found.events.tolist() == [1]
    assert found.labels.tolist() == [1]
    assert found.again.tolist() == [2]
    assert found.replaced.tolist() == [0]
    assert found.stays.tolist() == [False, False, True, True]
    assert dict(zip(found.firsts.tolist(), found.before.tolist(), strict=True)) == {0: -1, 3: 0}
