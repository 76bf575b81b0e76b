"""What a learner is after it was saved, gone back with, or given what nobody expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from thalweg import api
from thalweg.models.model import Model
from thalweg.stats.betting import Contest
from thalweg.training.online.base import State
from thalweg.training.online.learner import Learner, Promotion
from thalweg.training.online.start import cold, look, warm
from thalweg.training.online.wishes import Wishes

pytest.importorskip("numba")
pytest.importorskip("river")


def rows(count: int, seed: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    kinds = random.choice(["u", "v"], count)
    names = np.array(["no", "yes"])[(x > 0).astype(int)]
    return pa.record_batch({"x": x, "c": kinds, "class": names, "amount": 3 * x})


def begun(target: str, experts: Sequence[str] | None = None) -> Learner:
    wishes = Wishes(experts=experts, drop=[{"class": "amount", "amount": "class"}[target]])
    return cold(look(rows(200), target, wishes), wishes)


def learn(one: Learner, some: pa.RecordBatch, cells: pa.Array) -> None:
    targets = one.read(cells)
    here = np.arange(some.num_rows)
    one.run(some, targets, np.stack([here, ~here], axis=1).ravel())


def test_numbers_that_were_not_answered_do_not_spoil_what_is_saved() -> None:
    """Nothing is said of the first event, so nobody knows how wrong that was."""
    one, some = begun("amount"), rows(700)
    learn(one, some, some["amount"])
    other = begun("amount")
    other.restore(State.from_bytes(one.state().to_bytes()))
    more = rows(300, 1)
    for each in (one, other):
        learn(each, more, more["amount"])
    assert one.state().to_bytes() == other.state().to_bytes()
    assert one.state().facts["scale"] > 0


@pytest.mark.parametrize("large", [1e155, 1.7e308])
@pytest.mark.filterwarnings("ignore:overflow")
def test_an_enormous_number_stops_nothing(large: float) -> None:
    one, some = begun("amount"), rows(900)
    targets = some["amount"].to_numpy().copy()
    targets[[400, 500, 501]] = large, -large, large
    learn(one, some, pa.array(targets))
    assert np.isfinite(one.run(some, targets, np.arange(9)).answers[:9]).all()
    one.state().to_bytes()


def test_what_is_gone_back_to_knows_the_classes_that_came_since() -> None:
    one, some = begun("class", ["fast", "last"]), rows(300)
    learn(one, some, some["class"])
    early = State.from_bytes(one.state().to_bytes())
    third = pa.array(["perhaps", "no", "yes"] * 100)
    heard = one.run(some, one.read(third), np.arange(300))
    one.go_back(early, 1)
    assert one.classes[2:] == ["perhaps"]
    targets = one.read(pa.array(["no"] * 300))
    again = one.run(some, targets, ~np.arange(300), heard.said, heard.answers)
    assert again.said.shape == (300, 2, 3)


def test_a_version_that_is_gone_back_to_promotes_nobody_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[State] = []
    one = begun("class", ["fast", "challenger", "last"])

    def promoted(_: Promotion) -> None:
        kept.append(State.from_bytes(one.state().to_bytes()))

    monkeypatch.setattr(one, "_promoted", promoted)
    take = Contest._take

    def easy(self: Contest, apart: np.ndarray) -> None:
        take(self, apart)
        self._verdict = "promote" if self._pairs >= 64 else None

    monkeypatch.setattr(Contest, "_take", easy)
    some = rows(3000)
    cells = some["class"].to_numpy(zero_copy_only=False)
    turned = np.where(np.arange(3000) < 1500, cells, np.where(cells == "no", "yes", "no"))
    learn(one, some, pa.array(turned))
    assert kept
    assert kept[0].facts["contests"]["challenger"]["pairs"] == 0
    assert kept[0].facts["contests"]["challenger"]["verdict"] is None


def test_a_network_is_promoted_and_sent_back_and_both_are_remembered(tmp_path: Path) -> None:
    """The concept turns round and back: the one that learned on wins, then the trained one."""
    dials = {"members": 2, "width": 16, "embedding": 4}
    table = pa.table(rows(900)).drop_columns(["amount"])
    model = api.train(table, "class", recipe=dials, baselines=(), epochs=4)
    told: list[Promotion] = []
    one = warm(model, Wishes(experts=["slow", "champion", "frozen"]), told.append)
    some = rows(7000, 3).drop_columns(["amount"])
    labels = np.array(some["class"].to_pylist())
    turned = np.where(labels == "yes", "no", "yes")
    labels[:4000] = turned[:4000]
    for start in range(0, 7000, 1000):
        learn(one, some.slice(start, 1000), pa.array(labels[start : start + 1000]))
        # Saved and brought back with the network that answers then, as a stream does.
        if one.model is not None:
            one.model.save(tmp_path / "network")
        other = warm(model, Wishes(experts=["slow", "champion", "frozen"]), told.append)
        saved = State.from_bytes(one.state().to_bytes())
        other.restore(saved, Model.load(tmp_path / "network"))
        assert other.state().to_bytes() == one.state().to_bytes()
        one = other
    why = [promotion.because for promotion in told]
    assert "the network that went on learning does better than the one before" in why
    assert "the trained model does better than the network that took its place" in why
    assert [promotion.version for promotion in told] == list(range(2, len(told) + 2))
    assert one.version == told[-1].version
