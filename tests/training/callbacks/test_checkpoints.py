from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

import pytest
import torch

from thalweg.core.errors import ArtifactError
from thalweg.training.callbacks.base import Callback
from thalweg.training.callbacks.checkpoints import Checkpoints
from thalweg.training.loop import Loop
from thalweg.training.state import Snapshot, copy_weights

Build = Callable[..., Loop]


def test_short_epochs_share_one_and_the_end_has_its_own(building: Build, tmp_path: Path) -> None:
    loop = building()
    rare = Checkpoints(tmp_path / "rare", every=1e9)
    loop.run_epoch(0)
    rare.on_epoch(loop)
    assert not (tmp_path / "rare").exists()
    loop.stopped = "plan"
    rare.on_epoch(loop)
    assert Snapshot.load(tmp_path / "rare").facts["stopped"] == "plan"
    loop.stopped = ""
    often = Checkpoints(tmp_path / "often", every=0)
    often.on_epoch(loop)
    assert len(Snapshot.load(tmp_path / "often").facts["epochs"]) == 1


def test_a_long_epoch_has_some(building: Build, tmp_path: Path) -> None:
    loop = building(epochs=1)
    saved: list[int] = []

    @final
    class Look(Callback):
        name = "look"

        def on_step(self, loop: Loop) -> None:
            facts = Snapshot.load(tmp_path / "point").facts
            saved.append(facts["passing"]["steps"])

    loop.callbacks = [*loop.callbacks, Checkpoints(tmp_path / "point", every=0), Look()]
    loop.fit()
    assert saved == [1, 2, 3, 4, 5]
    assert "passing" not in Snapshot.load(tmp_path / "point").facts


def test_they_take_a_hundredth_of_the_time(
    building: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    saved: list[float] = []

    def save(_: Snapshot, __: Path) -> None:
        saved.append(clock[0])
        clock[0] += 3

    monkeypatch.setattr("thalweg.training.callbacks.checkpoints.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Snapshot, "save", save)
    loop, callback = building(), Checkpoints(tmp_path / "point", every=5)
    for _ in range(1000):
        clock[0] += 1
        callback.on_step(loop)
    assert saved == [5, 308, 611, 914]


def test_it_goes_on_from_the_last_one(building: Build, tmp_path: Path) -> None:
    loop, other = building(), building()
    callback = Checkpoints(tmp_path / "point", every=0)
    assert not callback.resume(other)
    for epoch in range(2):
        loop.run_epoch(epoch)
        callback.on_epoch(loop)
    assert callback.resume(other)
    assert other.epochs == loop.epochs
    wanted, found = copy_weights(loop.network), copy_weights(other.network)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["point"]


def test_a_checkpoint_of_another_network_is_refused(building: Build, tmp_path: Path) -> None:
    callback = Checkpoints(tmp_path / "point", every=0)
    loop = building(width=16)
    loop.run_epoch(0)
    callback.on_epoch(loop)
    with pytest.raises(ArtifactError, match="another network") as caught:
        callback.resume(building())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("facts", [{}, {"epochs": [{}], "stopped": ""}, {"epochs": 3}])
def test_facts_of_another_version_are_refused(
    building: Build, tmp_path: Path, facts: dict[str, object]
) -> None:
    loop = building()
    Snapshot(facts, {"network": copy_weights(loop.network)}).save(tmp_path / "point")
    with pytest.raises(ArtifactError, match="without --resume"):
        Checkpoints(tmp_path / "point").resume(loop)
