from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, OptionError
from thalweg.core.progress import Silent
from thalweg.lab import prequential as module
from thalweg.lab.opponents import River
from thalweg.lab.prequential import prequential
from thalweg.sources import open_source
from thalweg.training.online.record import Flow


@dataclass
class Heard:
    answers: np.ndarray
    said: np.ndarray
    dropped: np.ndarray
    drifts: tuple[int, ...] = ()
    weights: np.ndarray | None = None


@dataclass
class Simple:
    """Says how often each class came so far, one step after the other; writes down what it did."""

    confirms: tuple[int, ...] = ()
    numbers: bool = False
    names: list[str] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    done: list[tuple[str, int]] = field(default_factory=list)
    seen: int = 0
    experts: tuple[str, ...] = ("counts", "frozen")

    @property
    def classes(self) -> list[str]:
        return self.names

    @property
    def weights(self) -> np.ndarray:
        return np.array([0.75, 0.25])

    def read(self, cells: pa.Array) -> np.ndarray:
        found = []
        for one in cells.to_pylist():
            if one is not None and one not in self.names:
                self.names.append(one)
            found.append(np.nan if one is None else float(self.names.index(one)))
        return np.array(found)

    def run(
        self,
        rows: pa.RecordBatch,
        targets: np.ndarray,
        steps: np.ndarray,
        said: np.ndarray | None = None,
        answers: np.ndarray | None = None,
    ) -> Heard:
        width = max(1, len(self.names))
        assert rows.num_rows == len(targets)
        assert "y" not in rows.schema.names
        numbers = rows.column("row").to_pylist()
        whole = np.full((len(targets), 2, width), np.nan)
        drifts = []
        if said is not None and answers is not None:
            np.testing.assert_array_equal(said[:, 0], answers)
            whole[:, :, : said.shape[2]] = said
            whole[:, :, said.shape[2] :] = np.where(np.isnan(said[:, :, :1]), np.nan, 0)
        for step in steps.tolist():
            if step >= 0:
                self.done.append(("predict", numbers[step]))
                counts = np.array([self.counts.get(code, 0) for code in range(width)], float)
                if counts.sum():
                    whole[step, 0] = counts / counts.sum()
                    whole[step, 1] = np.eye(width)[0]
            else:
                self.done.append(("learn", numbers[~step]))
                known = whole[~step, 0]
                code = targets[~step]
                if not np.isnan(code):
                    assert np.isnan(known).any() or known.sum() == pytest.approx(1)
                    self.counts[int(code)] = self.counts.get(int(code), 0) + 1
                    self.seen += 1
                    if self.seen in self.confirms:
                        drifts.append(self.seen)
        return Heard(whole[:, 0], whole, np.zeros(len(targets), bool), tuple(drifts))


def stream(labels: list[str | None], **more: Any) -> Any:
    return open_source(pl.DataFrame({"row": range(len(labels)), "y": labels, **more}))


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=60),
    delay=st.integers(0, 70),
    size=st.integers(1, 30),
)
def test_each_row_is_predicted_and_then_learned_when_its_label_comes(
    labels: list[str | None], delay: int, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", size)
        pupil = Simple()
        flow = prequential(pupil, stream(labels), "y", delay, Silent())
    expected = []
    for row in range(len(labels)):
        expected.append(("predict", row))
        if row >= delay:
            expected.append(("learn", row - delay))
    expected += [("learn", row) for row in range(max(0, len(labels) - delay), len(labels))]
    assert pupil.done == expected
    _same_as_by_hand(flow, labels, delay)


def _same_as_by_hand(flow: Flow, labels: list[str | None], delay: int) -> None:
    standing = flow.standing
    known = [label for label in labels if label is not None]
    assert standing.labels == len(known)
    assert standing.events == len(labels)
    if not known:
        return
    same = 0
    for row, label in enumerate(labels):
        past = [one for one in labels[: max(0, row - delay)] if one is not None]
        same += label is not None and bool(past) and past[-1] == label
    assert standing.baselines["no change"]["accuracy"] == pytest.approx(same / len(known))
    assert standing.delays is not None
    late = [min(delay, len(labels) - 1 - row) for row, one in enumerate(labels) if one]
    assert standing.delays.mean == pytest.approx(np.mean(late))


def test_answers_are_those_of_the_moment_of_prediction() -> None:
    labels = ["a"] * 10 + ["b"] * 30
    for delay, right in ((0, 9 + 19), (5, 4 + 14)):
        # The commonest class so far: b from the 21st b on, delay later; a wins a tie.
        flow = prequential(Simple(), stream(list(labels)), "y", delay, Silent())
        assert flow.standing.metrics["accuracy"] == right / 40


def test_changes_are_marked_where_they_are() -> None:
    labels: list[str | None] = (["a"] * 1999 + [None]) + ["b"] * 3000
    pupil = Simple(confirms=(2100,))
    flow = prequential(pupil, stream(labels), "y", 3, Silent(), changes=[2000])
    assert [(one.at, one.kind) for one in flow.standing.marks] == [
        (1999, "given"),
        (2100, "confirmed"),
    ]
    given = flow.standing.marks[0]
    # The commonest class is b from 1,999 b's on, and labels come 3 rows later.
    assert given.before == 0
    assert given.recovered is not None
    assert given.recovered == 2002  # 1,999 wrong until as many, and 3 rows late
    assert given.cost == 2002
    assert flow.frozen == "frozen"
    assert set(flow.standing.experts) == {"counts", "frozen"}


def test_times_must_not_go_back() -> None:
    labels: list[str | None] = ["a", "b", "a", "b"]
    later = stream(labels, t=[1e9, 2e9, 2e9, 4e9])
    flow = prequential(Simple(), later, "y", 1, Silent(), when="t")
    assert flow.standing.delays is not None
    assert flow.standing.delays.mean_seconds == pytest.approx(3e9 / 4)
    with pytest.raises(ColumnError, match=r"'t' goes back in time at row 3.*Sort them by 't'"):
        prequential(Simple(), stream(labels, t=[1e9, 2e9, 1.5e9, 4e9]), "y", 1, Silent(), when="t")


def test_what_cannot_be_is_told() -> None:
    source = stream(["a", "b"])
    with pytest.raises(ColumnError, match="no column 'z'"):
        prequential(Simple(), source, "z", 0, Silent())
    with pytest.raises(OptionError, match="the delay is -1"):
        prequential(Simple(), source, "y", -1, Silent())
    with pytest.raises(OptionError, match=r"no rival 'forrest'.*Did you mean 'forest'"):
        prequential(Simple(), source, "y", 0, Silent(), ["forrest"])


def test_river_gets_the_labels_as_late_and_sees_no_target() -> None:
    pytest.importorskip("river")
    random = np.random.default_rng(0)
    x = random.normal(size=1500)
    labels = ["up" if value > 0 else "down" for value in x]
    found = {}
    for delay in (0, 1200):
        source = stream(list(labels), x=[None if i % 9 == 0 else str(v) for i, v in enumerate(x)])
        flow = prequential(Simple(), source, "y", delay, Silent(), ["hoeffding tree"])
        rival = flow.rivals["hoeffding tree"]
        assert rival.standing.labels == 1500
        assert rival.events_per_second > 0
        assert rival.standing.delays == flow.standing.delays
        found[delay] = rival.standing
    assert found[0].metrics["accuracy"] > 0.8
    assert found[0].silent == 1
    assert found[1200].silent == 1201
    assert found[1200].metrics["accuracy"] < 0.35  # it knew nothing for most of the time


def test_river_predicts_numbers() -> None:
    pytest.importorskip("river")
    river = River("hoeffding tree", numbers=True, delay=1)
    records = [{"x": float(value % 2)} for value in range(400)]
    answers = river.run(records, np.array([value % 2 * 3.0 for value in range(400)]), 1)
    assert answers.shape == (400, 1)
    assert abs(answers[-1, 0] - 3) < 0.5
